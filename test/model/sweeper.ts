/** The real sweeper in a process of its own, every five minutes, over the model's ports: what no sender told of is its to find. */
import { createCircuit } from "../../src/circuit.ts";
import type { Observer } from "../../src/observe.ts";
import { RelayError, toRelayError } from "../../src/outcome.ts";
import { createSweeper, type Sweeper } from "../../src/sweeper.ts";
import type { ClusterModel } from "./cluster.ts";
import { CLUSTER, TUNING } from "./consumer.ts";
import type { QueueModel } from "./queue.ts";
import type { RegistryModel } from "./registry.ts";
import { CONFIG } from "./senders.ts";
import { Process, type World } from "./world.ts";

/** Until well after the last push, and after the hours in which what was nudged already is left alone. */
const SWEEPS = 84;

export interface SweeperParts {
  readonly queue: QueueModel;
  readonly cluster: ClusterModel;
  readonly registry: RegistryModel;
  readonly observer: Observer;
}

export function startSweeps(world: World, { queue, cluster, registry, observer }: SweeperParts): void {
  const { random, timeline, faults, tell } = world;
  let sweeper: Sweeper | null = null;
  const begin = (): Sweeper => {
    const process = new Process(world, random.between(-1, 1) * faults.skewMs, () => {
      tell?.("the sweep is killed");
      sweeper = null;
    });
    const port = cluster.portFor(process);
    return createSweeper({
      cluster: CLUSTER,
      sources: CONFIG.sources.map((source) => ({
        ...source,
        registry: { username: null, password: null, dockerConfig: null, ca: null, plainHttp: false },
      })),
      overrides: { list: port.list, state: async () => null },
      registry: {
        async resolve({ module, tag }) {
          await process.step();
          if (process.unlucky(faults.queueDown)) throw new RelayError("REGISTRY_UNAVAILABLE", "away");
          const image = registry.resolve(module, tag);
          return { digest: image, image };
        },
      },
      send: queue.portFor(process).send,
      observer,
      circuit: createCircuit(
        CLUSTER,
        () => port.probe(),
        observer,
        (thrown) => toRelayError(thrown, "CLUSTER_ERROR"),
      ),
      now: process.now,
      everyMs: TUNING.sweepMs,
      tellTroubles: () => undefined,
    });
  };
  for (let nth = 0; nth < SWEEPS; nth++) {
    timeline.at(nth * TUNING.sweepMs, () => timeline.wake(() => void (sweeper ??= begin()).sweep()));
  }
}
