/** Runs the real `consume` as the worker and the Lambda function do, in a process that may be killed at any step and starts anew. */
import { createCircuit } from "../../src/circuit.ts";
import { consume, type ConsumeContext } from "../../src/consume.ts";
import { START_WITHIN_MS } from "../../src/limits.ts";
import type { Observer } from "../../src/observe.ts";
import { toRelayError } from "../../src/outcome.ts";
import type { Registry } from "../../src/registry/registry.ts";
import type { QueueRecord } from "../../src/queue/queue.ts";
import type { ClusterModel, ClusterPort } from "./cluster.ts";
import type { QueueModel, QueuePort } from "./queue.ts";
import type { RegistryModel } from "./registry.ts";
import { Process, SECOND, type World } from "./world.ts";
import { fakeChannels } from "../support/channels.ts";

export const CLUSTER = "dev";
export const TUNING = {
  cooldownMs: 5 * SECOND,
  looksMs: [10, 30, 90, 300, 900, 3_600].map((seconds) => seconds * SECOND),
  patchesPerSecond: 20,
  sweepMs: 300 * SECOND,
};

/** A mistake put between the real code and its ports, to show that the audit sees it. */
export interface Mistake {
  queue?(port: QueuePort): QueuePort;
  cluster?(port: ClusterPort): ClusterPort;
}

export interface ConsumerParts {
  readonly queue: QueueModel;
  readonly cluster: ClusterModel;
  readonly registry: RegistryModel;
  readonly observer: Observer;
  readonly mistake: Mistake;
}

export class Consumer {
  #life: Life;
  readonly #isLambda: boolean;
  readonly #world: World;
  readonly #parts: ConsumerParts;
  readonly #skewMs: number;

  constructor(world: World, parts: ConsumerParts) {
    this.#world = world;
    this.#parts = parts;
    this.#isLambda = world.random.chance(0.4);
    this.#skewMs = world.random.between(-1, 1) * world.faults.skewMs;
    this.#life = this.#begin();
  }

  /** Records may be visible. */
  wake(): void {
    const life = this.#life;
    if (life.isBusy) return;
    life.isBusy = true;
    this.#world.timeline.wake(() => void (this.#isLambda ? this.#invoke(life) : this.#work(life)));
  }

  #begin(): Life {
    const { queue, cluster, registry, observer, mistake } = this.#parts;
    const { random, timeline, tell, faults } = this.#world;
    const process = new Process(this.#world, this.#skewMs, () => {
      tell?.("a consumer is killed");
      timeline.at(random.between(1 * SECOND, 20 * SECOND), () => {
        this.#life = this.#begin();
        this.wake();
      });
    });
    const port = mistake.queue?.(queue.portFor(process)) ?? queue.portFor(process);
    const seen = mistake.cluster?.(cluster.portFor(process)) ?? cluster.portFor(process);
    const overrides = {
      ...seen,
      cluster: CLUSTER,
      list: async () => cluster.list(),
      setScanInterval: async () => null, // no cluster of the model adopts
      uid: async () => CLUSTER,
      tell: async () => undefined,
      state: async () => null,
      close: () => undefined,
    };
    const context = {
      cluster: CLUSTER,
      overrides,
      channels: fakeChannels().channels,
      queue: this.#isLambda ? lambdaPort(port) : port,
      observer,
      ...(faults.lookUp && {
        registry: { resolve: ({ module, tag }: Parameters<Registry["resolve"]>[0]) => process.call(() => registry.named(module, tag)) },
      }),
      send: port.send,
      now: process.now,
      tuning: TUNING,
      pace: () => process.sleep(random.between(0, 1_000 / TUNING.patchesPerSecond)),
      circuit: createCircuit(
        CLUSTER,
        () => overrides.probe(),
        observer,
        (thrown) => toRelayError(thrown, "CLUSTER_ERROR"),
      ),
      random: () => random.next(),
    };
    return { process, port, context, isBusy: false };
  }

  /** As src/worker.ts. */
  async #work(life: Life): Promise<void> {
    const { process, context, port } = life;
    for (;;) {
      if (context.circuit.error !== null) {
        await process.sleep(context.circuit.waitMs);
        if (!(await context.circuit.probe())) continue;
      }
      const records = await this.#take(life, 200);
      if (records.length === 0) return;
      const { untouched } = await this.#consume(records, life);
      if (untouched.length === 0) continue;
      await port.defer(untouched.map((record) => ({ record, next: { body: record.body } }))).catch(() => undefined);
    }
  }

  /** As functions/consumer.ts, and the service in front of it: what the function does not give back is deleted. */
  async #invoke(life: Life): Promise<void> {
    for (let records = await this.#take(life, 10); records.length > 0; records = await this.#take(life, 10)) {
      const { failed, untouched } = await this.#consume(records, life);
      await life.process.step();
      const back = new Set([...failed, ...untouched]);
      for (const record of records) if (!back.has(record)) this.#parts.queue.remove(record, life.process);
    }
  }

  #consume(records: readonly QueueRecord[], life: Life) {
    const { timeline } = this.#world;
    const started = timeline.now;
    return consume(records, life.context, () => timeline.now - started < START_WITHIN_MS);
  }

  /** A long poll; some records gather meanwhile, sometimes. */
  async #take(life: Life, max: number): Promise<QueueRecord[]> {
    const { random } = this.#world;
    if (random.chance(0.3)) await life.process.sleep(random.between(0, 15 * SECOND));
    await life.process.step();
    const records = this.#parts.queue.take(random.whole(1, max), life.process);
    if (records.length === 0) life.isBusy = false;
    else await life.process.step();
    return records;
  }
}

interface Life {
  readonly process: Process;
  readonly port: QueuePort;
  readonly context: ConsumeContext;
  isBusy: boolean;
}

/** Lambda's service deletes. */
function lambdaPort(port: QueuePort): QueuePort {
  return {
    ...port,
    acknowledge: async () => undefined,
    defer: (moves) => port.send(moves.map(({ next }) => next)),
    bury: (record, letter) => port.bury({ ...record, id: "" }, letter),
  };
}
