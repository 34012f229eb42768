import { expect, it } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import type { Overrides } from "../src/cluster/overrides.ts";
import { consume } from "../src/consume.ts";
import { encode } from "../src/event.ts";
import { RelayError, toRelayError } from "../src/outcome.ts";
import type { Queue, QueueRecord, ReceiveOptions } from "../src/queue/queue.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import { work } from "../src/worker.ts";
import { at, fakeCluster, fakeContext, fakeObserver, overrideOf, requestOf, start } from "./support/relay.ts";

const recordOf = (body: string, id = "1"): QueueRecord => ({ id, receipt: id, body, receiveCount: 1, sentAt: at(0) });

/** A queue that gives one batch after the other and then stops the worker. */
function queueOf(batches: QueueRecord[][], stop: () => void) {
  const deferred: string[] = [];
  const queue: Queue = {
    name: "dev",
    deadLetters: {
      put: async () => {},
      list: async () => ({ letters: [], more: false }),
      sweep: async () => ({ removed: 0, kept: 0 }),
      count: async () => 0,
    },
    send: async () => {},
    async receive(_options: ReceiveOptions) {
      const batch = batches.shift();
      if (!batch) stop();
      return batch ?? [];
    },
    acknowledge: async () => {},
    defer: async (moves) => void deferred.push(...moves.map(({ next }) => next.body)),
    bury: async () => {},
    extend: async () => {},
    ready: async () => {},
    depth: async () => ({ records: 0, oldestSeconds: null }),
    close: async () => {},
  };
  return { queue, deferred };
}

function world(overrides: Partial<Overrides> = {}) {
  const base = fakeContext();
  const observed = fakeObserver();
  const cluster = { ...base.cluster.overrides, ...overrides };
  const circuit = createCircuit("dev", () => cluster.probe(), observed.observer, toRelayError);
  const context = { ...base.context, overrides: cluster, cluster: "dev", observer: observed.observer, circuit, random: () => 0 };
  return { ...base, ...observed, context, circuit };
}

it("goes on after what nobody foresaw, and says so", async () => {
  const { context, codes, outcomes } = world();
  const controller = new AbortController();
  const { queue } = queueOf([[recordOf(encode(requestOf()))], [recordOf(encode(requestOf()))]], () => controller.abort());
  const observer = { ...context.observer };
  let isFirst = true;
  const now = () => {
    if (!isFirst) return start;
    isFirst = false;
    throw new RangeError("Invalid time value");
  };
  await work({ ...context, now, observer, queue }, controller.signal);
  expect(codes()).toEqual(["INTERNAL"]);
  expect(outcomes()).toEqual(["NUDGED"]);
});

it("a server that answers probes and nothing else is told of once, and asked ever more rarely", async () => {
  const { circuit, codes } = world();
  const waits: number[] = [];
  for (let n = 0; n < 9; n++) {
    circuit.open(new RelayError("CLUSTER_ERROR", "500 conversion webhook failed"));
    waits.push(circuit.waitMs);
    expect(await circuit.probe()).toBe(true);
  }
  expect(codes()).toEqual(["CLUSTER_ERROR"]);
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  circuit.succeeded();
  circuit.open(new RelayError("CLUSTER_ERROR", "500 again"));
  expect([codes().length, circuit.waitMs]).toEqual([2, 500]);
});

it("tells when the reason has become another, which asks for something else to be done", async () => {
  const { circuit, codes } = world({
    async probe() {
      throw new RelayError("CLUSTER_UNAUTHORIZED", "401");
    },
  });
  circuit.open(new RelayError("CLUSTER_UNREACHABLE", "no answer in time"));
  await circuit.probe();
  await circuit.probe();
  expect(codes()).toEqual(["CLUSTER_UNREACHABLE", "CLUSTER_UNAUTHORIZED"]);
});

it("waits no longer than a quarter of an hour, whatever a proxy asks for", () => {
  const { circuit } = world();
  circuit.open(new RelayError("CLUSTER_BUSY", "429", { retryAfterSeconds: 1e9 }));
  expect(circuit.waitMs).toBe(900_000);
});

it("gives back the rest of a group when its time is over, each of whose runs may take seconds", async () => {
  const newest = nudgeAnnotations(requestOf({ key: "nnnnnnnnnnnn", pushedAt: at(100) }), 0, null, new Date(at(10)));
  const annotations = Object.fromEntries(Object.entries(newest).filter((each): each is [string, string] => each[1] !== null));
  const cluster = fakeCluster(overrideOf({ annotations }));
  const { context, wait } = world({
    async get(module) {
      wait(5);
      return cluster.overrides.get(module);
    },
  });
  wait(100);
  const ends = context.now().getTime() + 12_000;
  const records = Array.from({ length: 9 }, (_, n) => recordOf(encode(requestOf({ key: `kkkkkkkkkkk${n}`, pushedAt: at(n) })), String(n)));
  const acknowledged: string[] = [];
  const queue = { acknowledge: async (each: readonly QueueRecord[]) => void acknowledged.push(...each.map(({ id }) => id)) };
  const settling = { ...queue, defer: async () => {}, bury: async () => {} };
  const { failed, untouched } = await consume(records, { ...context, queue: settling }, () => context.now().getTime() < ends);
  expect(acknowledged).toEqual(["8", "7", "6"]);
  expect([failed, untouched.map(({ id }) => id)]).toEqual([[], ["5", "4", "3", "2", "1", "0"]]);
});

it("a newer relay's record waits, also one with text that not every queue takes", async () => {
  const { context, codes } = world();
  const { queue, deferred } = queueOf([], () => {});
  const { failed } = await consume([recordOf('{"v":2,"kind":"renew","note":"é"}')], { ...context, queue });
  expect([failed, deferred, codes()]).toEqual([[], ['{"v":2,"kind":"renew","note":"\\u00e9"}'], ["WORKER_TOO_OLD"]]);
});
