/** Which function reads which secrets: what its role allows, and what must be a reference that it can read at all. */
import type { RelayConfig, SecretRef } from "../../src/config.ts";
import { pathText } from "../../src/config/problem.ts";

/** A reference, and where it stands in relay.yaml. */
export interface Reference {
  readonly path: string;
  readonly ref: SecretRef;
}

/** Who sends: each webhook's secret, the previous one too, and an issuer's keys. */
export function edgeSecrets({ webhooks }: RelayConfig): Reference[] {
  return Object.entries(webhooks).flatMap(([name, { secret, previousSecret, oidc }]) =>
    given(["webhooks", name], { secret, previousSecret, "oidc.keys": oidc?.keys && oidc.keys.kind !== "url" ? oidc.keys : null }),
  );
}

/** The way into the cluster, and into the registries of its sources. */
export function clusterSecrets({ clusters, sources }: RelayConfig, cluster: string): Reference[] {
  const kubernetes = clusters[cluster]?.kubernetes;
  const own = sources.map((source, index) => ({ source, index })).filter(({ source }) => source.clusters.includes(cluster));
  return [
    ...given(["clusters", cluster, "kubernetes"], {
      kubeconfig: kubernetes?.kind === "kubeconfig" && kubernetes.kubeconfig?.kind !== "path" ? kubernetes.kubeconfig : null,
      ca: kubernetes?.kind === "server" ? kubernetes.ca : null,
      token: kubernetes?.kind === "server" ? kubernetes.token : null,
    }),
    ...own.flatMap(({ source, index }) => {
      const { password = null, dockerConfig = null, ca = null } = source.registry ?? {};
      return given(["sources", index, "registry"], { password, dockerConfig, ca });
    }),
  ];
}

function given(at: readonly PropertyKey[], refs: Readonly<Record<string, SecretRef | null | undefined>>): Reference[] {
  return Object.entries(refs).flatMap(([key, ref]) => (ref ? [{ path: `${pathText(at)}.${key}`, ref }] : []));
}
