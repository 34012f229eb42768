/** What a consumer needs, put together the same way for a worker and for Lambda: the cluster's overrides, and the context of `consume`. */
import { adoptAfter, followSilence } from "./adopt.ts";
import { createCircuit } from "./circuit.ts";
import type { ClusterPort } from "./cluster/channels.ts";
import type { Override, Overrides } from "./cluster/overrides.ts";
import type { RelayConfig } from "./config.ts";
import type { ConsumeContext } from "./consume.ts";
import type { Note } from "./journal/journal.ts";
import { RUNS_FOR_EACH_PATCH } from "./limits.ts";
import type { Observer } from "./observe.ts";
import { RelayError, toRelayError } from "./outcome.ts";
import { createPace } from "./pace.ts";
import type { Queue } from "./queue/queue.ts";
import { createRegistry } from "./registries.ts";
import { createSecretReader } from "./secrets.ts";
import { heardSourcesOf, isServed } from "./silence.ts";
import type { Swept } from "./sweep.ts";
import { createSweeper, nameOf, type Sweeper, type SweeperContext, sweptSources } from "./sweeper.ts";
import { watchTokenEnd } from "./token-end.ts";
import { noteOnOverrides } from "./told.ts";

/**
 * The cluster's overrides by the configured way in; throws where there is none. Nothing is opened yet: see {@link openLate}.
 * `observer` is told when the credential is about to end. With a `uid` in the configuration nothing is asked of the cluster, also not after an outage, before it has shown that it is the one.
 */
export function openCluster(config: RelayConfig, cluster: string, observer?: Observer): ClusterPort {
  const { kubernetes, uid } = config.clusters[cluster] ?? {};
  if (!kubernetes) throw new Error(`cluster ${cluster} has no \`kubernetes\` in the configuration: this process cannot consume for it`);
  const open = async () => {
    const { openKubernetes } = await import("./cluster/kubernetes.ts");
    const onToken = observer && watchTokenEnd(cluster, observer);
    return openKubernetes({ cluster, kubernetes, readSecret: createSecretReader(), ...(onToken && { onToken }) });
  };
  return openLate(cluster, open, async (overrides) => {
    if (uid) await verify(overrides, uid);
  });
}

/** Throws OTHER_CLUSTER, CLUSTER_UNVERIFIED where RBAC forbids the look, or why the API server gave no answer. */
async function verify(overrides: Overrides, wanted: string): Promise<void> {
  const uid = await overrides.uid().catch((thrown: unknown) => {
    const error = toRelayError(thrown, "CLUSTER_ERROR");
    throw error.code === "FORBIDDEN" ? new RelayError("CLUSTER_UNVERIFIED", error.message) : error;
  });
  if (uid === wanted) return;
  throw new RelayError("OTHER_CLUSTER", `the kube-system of ${overrides.cluster} has the UID ${uid}, the configuration says ${wanted}`);
}

export interface Consumer {
  readonly cluster: string;
  readonly queue: Pick<Queue, "send" | "acknowledge" | "defer" | "bury">;
  readonly overrides: ClusterPort;
  readonly observer: Observer;
  readonly note?: Note;
}

export function consumeContext(config: RelayConfig, { cluster, queue, overrides, observer, note }: Consumer): ConsumeContext {
  const { patchesPerSecond } = config.tuning;
  const pace = createPace(patchesPerSecond);
  const now = () => new Date();
  const tell = config.clusters[cluster]?.events ? noteOnOverrides(overrides, observer, createPace(patchesPerSecond)) : null;
  const noteAll: Note = async (entries) => {
    await note?.(entries);
    await tell?.(entries);
  };
  const isServedHere = (override: Override) => config.sources.length === 0 || isServed(override, cluster, config.sources);
  const adoption = {
    overrides,
    observer,
    note: noteAll,
    now,
    pace,
    interval: config.clusters[cluster]?.adopt ?? null,
    isServed: isServedHere,
  };
  return {
    cluster,
    queue,
    overrides,
    channels: overrides.channels,
    observer,
    note: noteAll,
    adopt: (request, override) => adoptAfter(request, override, adoption),
    ...(config.sources.some(({ registry }) => registry !== null) && { registry: createRegistry(config.sources, createSecretReader()) }),
    send: (records) => queue.send(records),
    now,
    tuning: config.tuning,
    pace,
    turn: createPace(RUNS_FOR_EACH_PATCH * patchesPerSecond),
    circuit: createCircuit(
      cluster,
      () => overrides.probe(),
      observer,
      (thrown) => toRelayError(thrown, "CLUSTER_ERROR"),
    ),
  };
}

/** The cluster's sweeper; null where the configuration switches it off, or names no registry that it could ask, which is told. */
export function openSweeper(
  config: RelayConfig,
  context: ConsumeContext,
  tellTroubles: (swept: Swept) => void,
): { readonly sweeper: Sweeper; readonly context: SweeperContext } | null {
  const { cluster, registry, observer } = context;
  const { sweepMs } = config.tuning;
  if (sweepMs === 0 || !registry || sweptSources(config, cluster).length === 0) {
    const hint =
      sweepMs === 0 ? "tuning.sweep is off" : "no source of this cluster has `registry`, so nobody can be asked whether a push got lost";
    observer.outcome({ event: "process", outcome: "SWEEP_OFF", cluster, hint });
    return null;
  }
  const adoption = { ...context, interval: config.clusters[cluster]?.adopt ?? null };
  const hear: SweeperContext["hear"] = (overrides, hearings) => {
    const heardOf = (override: Override) => {
      if (!isServed(override, cluster, config.sources)) return [];
      const own = heardSourcesOf(override, cluster, config.sources);
      return hearings
        .filter(({ source }) => own.includes(source))
        .map(({ source, heardAt, missed }) => ({ source: nameOf(source), heardAt, isSilent: missed.length > 0 }));
    };
    return followSilence(overrides, heardOf, adoption);
  };
  const swept = { ...context, registry, sources: config.sources, everyMs: sweepMs, tellTroubles, hear };
  return { sweeper: createSweeper(swept), context: swept };
}

/**
 * Opens the cluster when something is first asked of it, and again after a failure. So a cold start does not wait for the Kubernetes
 * client, and a credential that cannot be read opens this cluster's circuit: as an error at start it would stop the other clusters too,
 * and in Lambda use up the receive counts of whatever waits.
 */
function openLate(cluster: string, open: () => Promise<ClusterPort>, verified: (overrides: Overrides) => Promise<void>): ClusterPort {
  let opening: Promise<ClusterPort> | null = null;
  const openVerified = async () => {
    const opened = await open();
    try {
      await verified(opened);
      return opened;
    } catch (thrown) {
      opened.close();
      throw thrown;
    }
  };
  const overrides = () => {
    opening ??= openVerified().catch((thrown: unknown) => {
      opening = null;
      throw thrown;
    });
    return opening;
  };
  return {
    cluster,
    get: async (module) => (await overrides()).get(module),
    annotate: async (override, annotations) => (await overrides()).annotate(override, annotations),
    setScanInterval: async (override, interval, annotations) => (await overrides()).setScanInterval(override, interval, annotations),
    list: async () => (await overrides()).list(),
    async probe() {
      const known = opening; // opened just now, it is verified already
      const opened = await overrides();
      await opened.probe();
      if (known) await verified(opened);
    },
    uid: async () => (await overrides()).uid(),
    tell: async (module, event) => (await overrides()).tell(module, event),
    state: async (module) => (await overrides()).state(module),
    channels: {
      source: async (name) => (await overrides()).channels.source(name),
      respell: async (source, scanInterval) => (await overrides()).channels.respell(source, scanInterval),
      releases: async (module) => (await overrides()).channels.releases(module),
    },
    close: () => void opening?.then((opened) => opened.close()),
  };
}
