/** What a consumer needs, put together the same way for a worker and for Lambda: the cluster's overrides, and the context of `consume`. */
import { createCircuit } from "./circuit.ts";
import type { Overrides } from "./cluster/overrides.ts";
import type { RelayConfig } from "./config.ts";
import type { ConsumeContext } from "./consume.ts";
import type { Observer } from "./observe.ts";
import { toRelayError } from "./outcome.ts";
import { createPace } from "./pace.ts";
import type { Queue } from "./queue/queue.ts";
import { createSecretReader } from "./secrets.ts";

/** The cluster's overrides by the configured way in. Throws where there is none, or RelayError CLUSTER_UNAUTHORIZED where its credential cannot be read. */
export async function openCluster(config: RelayConfig, cluster: string): Promise<Overrides> {
  const kubernetes = config.clusters[cluster]?.kubernetes;
  if (!kubernetes) throw new Error(`cluster ${cluster} has no \`kubernetes\` in the configuration: this process cannot consume for it`);
  const { openKubernetes } = await import("./cluster/kubernetes.ts");
  return openKubernetes({ cluster, kubernetes, readSecret: createSecretReader() });
}

export interface Consumer {
  readonly cluster: string;
  readonly queue: Pick<Queue, "send" | "acknowledge" | "defer" | "bury">;
  readonly overrides: Overrides;
  readonly observer: Observer;
}

export function consumeContext(config: RelayConfig, { cluster, queue, overrides, observer }: Consumer): ConsumeContext {
  return {
    cluster,
    queue,
    overrides,
    observer,
    send: (records) => queue.send(records),
    now: () => new Date(),
    tuning: config.tuning,
    pace: createPace(config.tuning.patchesPerSecond),
    circuit: createCircuit(
      cluster,
      () => overrides.probe(),
      observer,
      (thrown) => toRelayError(thrown, "CLUSTER_ERROR"),
    ),
  };
}
