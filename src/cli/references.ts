/** What a configuration names and does not hold: secrets by reference, and variables with the addresses of queues. */
import { type KubernetesConfig, type RelayConfig, resolveQueue, resolveSqs, resolveTable, type SecretRef } from "../config.ts";
import { pathText } from "../config/problem.ts";

/** `isSecret`: one that we chose, and so one that can be too short. */
export interface Reference {
  readonly path: string;
  readonly ref: SecretRef;
  readonly isSecret: boolean;
}
/** In characters. */
export const SHORT_SECRET = 16;

/** Secrets, and texts that stand beside them. */
export function references(config: RelayConfig): Reference[] {
  const ofWebhooks = Object.entries(config.webhooks).flatMap(([name, { secret, previousSecret, oidc }]) => [
    { path: `webhooks.${name}.secret`, ref: secret, isSecret: true },
    { path: `webhooks.${name}.previousSecret`, ref: previousSecret, isSecret: true },
    { path: `webhooks.${name}.oidc.keys`, ref: oidc?.keys?.kind === "url" ? null : (oidc?.keys ?? null), isSecret: false },
  ]);
  const ofClusters = Object.entries(config.clusters).flatMap(([name, { kubernetes, hub }]) => [
    ...Object.entries(kubernetesRefs(kubernetes)).map(([key, ref]) => ({
      path: `clusters.${name}.kubernetes.${key}`,
      ref,
      isSecret: false,
    })),
    { path: `clusters.${name}.hubToken`, ref: hub?.token ?? null, isSecret: true },
    { path: `clusters.${name}.previousHubToken`, ref: hub?.previousToken ?? null, isSecret: true },
    { path: `clusters.${name}.hubCa`, ref: hub?.ca ?? null, isSecret: false },
  ]);
  const ofSources = config.sources.flatMap(({ registry }, index) =>
    (["password", "dockerConfig", "ca"] as const).map((key) => ({
      path: pathText(["sources", index, "registry", key]),
      ref: registry?.[key] ?? null,
      isSecret: false, // of another's making, however short
    })),
  );
  const ofHub = Object.entries(config.hub?.tls ?? {}).map(([key, ref]) => ({ path: `hub.${key}`, ref, isSecret: false }));
  return [...ofWebhooks, ...ofSources, ...ofClusters, ...ofHub].flatMap(({ path, ref, isSecret }) =>
    ref === null ? [] : [{ path, ref, isSecret }],
  );
}

function kubernetesRefs(kubernetes: KubernetesConfig | null): Record<string, SecretRef | null> {
  if (kubernetes?.kind === "server") return { ca: kubernetes.ca, token: kubernetes.token };
  if (kubernetes?.kind !== "kubeconfig" || kubernetes.kubeconfig === null) return {};
  const { kubeconfig } = kubernetes;
  return { kubeconfig: kubeconfig.kind === "path" ? { kind: "file", path: kubeconfig.path } : kubeconfig };
}

/** Queues and the journal: `resolve` throws an Error that names the variable which is not set, or holds something else. */
export function variables(config: RelayConfig): { path: string; resolve: (env: NodeJS.ProcessEnv) => unknown }[] {
  const ofWebhooks = Object.entries(config.webhooks).flatMap(([name, { queue }]) =>
    queue === null ? [] : [{ path: `webhooks.${name}.queue`, resolve: (env: NodeJS.ProcessEnv) => resolveSqs(queue, env) }],
  );
  const ofClusters = Object.entries(config.clusters).flatMap(([name, { queue, deadLetters }]) => [
    { path: `clusters.${name}.queue`, form: queue },
    { path: `clusters.${name}.deadLetters`, form: deadLetters },
  ]);
  const others = [...ofClusters, { path: "unparsed", form: config.unparsed }].flatMap(({ path, form }) =>
    form === null ? [] : [{ path, resolve: (env: NodeJS.ProcessEnv) => resolveQueue(form, env) }],
  );
  const { journal } = config;
  const ofJournal = journal?.kind === "env" ? [{ path: "journal", resolve: (env: NodeJS.ProcessEnv) => resolveTable(journal, env) }] : [];
  return [...ofWebhooks, ...others, ...ofJournal];
}
