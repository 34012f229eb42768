/** What the checks share: the configuration, and each cluster opened once, when a first check asks for it. */
import type { Inspection } from "../../cluster/inspect.ts";
import type { Override, Overrides } from "../../cluster/overrides.ts";
import type { RelayConfig } from "../../config.ts";
import { within } from "../../patience.ts";
import { createSecretReader, type SecretReader } from "../../secrets.ts";
import type { Terminal } from "../terminal.ts";

/** One cluster that the configuration has a way to. Everything here rejects with a RelayError. */
export interface Sight {
  inspection(): Promise<Inspection>;
  /** Asked for once. */
  overrides(): Promise<readonly Override[]>;
  state: Overrides["state"];
  uid: Overrides["uid"];
}
export interface Surroundings {
  readonly config: RelayConfig;
  readonly env: NodeJS.ProcessEnv;
  readonly now: () => Date;
  readonly readSecret: SecretReader;
  /** Clusters that have `kubernetes`, by name. */
  readonly sights: ReadonlyMap<string, Sight>;
  /** ` --config FILE` as the next command needs it, or nothing. */
  readonly same: string;
  close(): void;
}

/** Of each request to an API server; a check makes some of them one after the other. */
const PATIENCE_MS = 4_000;
/** A kubeconfig's plugin may never end, which no request's limit is for. Shorter than a check's, so that the cluster's own check tells it alone. */
const SIGHT_MS = 12_000;
/** The same for what is asked of a cluster beside its own check. Throws RelayError CLUSTER_UNREACHABLE. */
export const inSight = <T>(work: Promise<T>): Promise<T> => within(SIGHT_MS, work, "CLUSTER_UNREACHABLE");

export function openSurroundings(config: RelayConfig, { env, now }: Pick<Terminal, "env" | "now">, same: string): Surroundings {
  const readSecret = createSecretReader({ env });
  const closers: (() => void)[] = [];
  const sights = new Map<string, Sight>();
  for (const [cluster, { kubernetes }] of Object.entries(config.clusters)) {
    if (!kubernetes) continue;
    const inspection = once(async () => {
      const { openInspection } = await import("../../cluster/inspect.ts");
      const opened = await openInspection({ kubernetes, readSecret, timeoutMs: PATIENCE_MS, now });
      closers.push(() => opened.close());
      return opened;
    });
    const port = once(async () => {
      const { openKubernetes } = await import("../../cluster/kubernetes.ts");
      const opened = await openKubernetes({ cluster, kubernetes, readSecret, timeoutMs: PATIENCE_MS });
      closers.push(() => opened.close());
      return opened;
    });
    sights.set(cluster, {
      inspection,
      overrides: once(() => inSight(port().then((opened) => opened.list()))),
      state: async (module) => (await port()).state(module),
      uid: async () => (await port()).uid(),
    });
  }
  return { config, env, now, readSecret, sights, same, close: () => closers.forEach((close) => close()) };
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => (made ??= make());
}
