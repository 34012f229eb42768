import { describe, expect, it } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import { consume } from "../src/consume.ts";
import { decode, encode, type RenewRequest } from "../src/event.ts";
import type { NewEntry } from "../src/journal/journal.ts";
import { RelayError, toRelayError } from "../src/outcome.ts";
import type { NewDeadLetter, NewRecord, QueueRecord } from "../src/queue/queue.ts";
import { at, digestOf, fakeCluster, fakeContext, fakeObserver, requestOf } from "./support/relay.ts";

function world(cluster = fakeCluster()) {
  const base = fakeContext(cluster);
  const observed = fakeObserver();
  const acknowledged: string[] = [];
  const deferred: { id: string; next: NewRecord }[] = [];
  const buried: { id: string; letter: NewDeadLetter }[] = [];
  let isDown = false;
  const check = () => {
    if (isDown) throw new RelayError("QUEUE_UNAVAILABLE", "down");
  };
  const queue = {
    async acknowledge(records: readonly QueueRecord[]) {
      check();
      acknowledged.push(...records.map(({ id }) => id));
    },
    async defer(moves: readonly { record: QueueRecord; next: NewRecord }[]) {
      check();
      deferred.push(...moves.map(({ record, next }) => ({ id: record.id, next })));
    },
    async bury(record: QueueRecord, letter: NewDeadLetter) {
      check();
      buried.push({ id: record.id, letter });
    },
  };
  const circuit = createCircuit("dev", () => cluster.overrides.probe(), observed.observer, toRelayError);
  const notes: NewEntry[] = [];
  const settledBefore: number[] = [];
  const note = async (entries: readonly NewEntry[]) => {
    notes.push(...entries);
    settledBefore.push(acknowledged.length + deferred.length + buried.length);
  };
  const context = { ...base.context, cluster: "dev", queue, observer: observed.observer, note, circuit, random: () => 0 };
  const ids = { acknowledged, deferred: () => deferred.map(({ id }) => id), buried: () => buried.map(({ id }) => id) };
  return { ...base, ...observed, context, circuit, deferred, buried, notes, settledBefore, ids, breakQueue: () => (isDown = true) };
}
const recordOf = (request: RenewRequest | string, part: Partial<QueueRecord> = {}): QueueRecord => ({
  id: typeof request === "string" ? "raw" : request.key,
  receipt: "r",
  body: typeof request === "string" ? request : encode(request),
  receiveCount: 1,
  sentAt: at(0),
  ...part,
});
const b = (part: Partial<RenewRequest> = {}) =>
  requestOf({ key: "bbbbbbbbbbbb", pushedAt: at(1), receivedAt: at(1), digest: digestOf("b"), ...part });

describe("consume: what the journal is told", () => {
  it("is told before the record is settled, so that a crash in between hides nothing", async () => {
    const w = world();
    await consume([recordOf(requestOf())], w.context);
    expect(w.notes).toMatchObject([{ key: requestOf().key, cluster: "dev", stage: "NUDGED", detail: { nudge: 0 } }]);
    expect(w.settledBefore).toEqual([0]);
    expect(w.ids.acknowledged).toEqual([requestOf().key]);
  });

  it("does not call a redelivery of the same push covered by itself", async () => {
    const w = world();
    await consume([recordOf(requestOf()), recordOf(requestOf({ receivedAt: at(1) }), { id: "again" })], w.context);
    expect(w.notes.map(({ stage }) => stage)).toEqual(["NUDGED", "REPEATED"]);
    expect(w.cluster.patches).toHaveLength(1);
  });

  it("is each stage of each push: the covering key, why it waits, and whether it was buried", async () => {
    const w = world();
    await consume([recordOf(requestOf()), recordOf(b())], w.context);
    await consume([recordOf(requestOf({ key: "cccccccccccc", pushedAt: at(9), receivedAt: at(9) }))], w.context);
    await consume([recordOf(requestOf({ key: "dddddddddddd" }), { receiveCount: 8 })], w.context);
    expect(w.notes.map(({ key, stage, detail }) => [key.slice(0, 1), stage, detail["coveredBy"] ?? detail["buried"] ?? null])).toEqual([
      ["b", "NUDGED", null],
      ["a", "JOINED", b().key],
      ["c", "DEFERRED", null],
      ["d", "LAST_RECEIVE", true],
    ]);
  });
});

describe("consume: records that need no look at the cluster", () => {
  it("buries what no relay wrote, what belongs to another cluster, and what was received too often", async () => {
    const w = world();
    await consume([recordOf("{"), recordOf(requestOf({ cluster: "stage" })), recordOf(b(), { receiveCount: 8 })], w.context);
    expect(w.buried.map(({ letter }) => letter.code)).toEqual(["MALFORMED", "WRONG_CLUSTER", "LAST_RECEIVE"]);
    expect(w.codes()).toEqual(["MALFORMED", "WRONG_CLUSTER", "LAST_RECEIVE"]);
    expect(w.cluster.patches).toEqual([]);
  });

  it("defers a newer version's record as it is, with an alarm", async () => {
    const w = world();
    const body = JSON.stringify({ ...requestOf(), v: 2 });
    await consume([recordOf(body)], w.context);
    expect(w.deferred).toEqual([{ id: "raw", next: { body, delaySeconds: 300 } }]);
    expect(w.codes()).toEqual(["WORKER_TOO_OLD"]);
  });

  it("hops a record that is not due", async () => {
    const w = world();
    await consume([recordOf(requestOf({ notBefore: at(1000) }))], w.context);
    expect(w.deferred).toMatchObject([{ next: { delaySeconds: 900 } }]);
  });
});

describe("consume: collapsing", () => {
  it("runs the newest of one override; the others are joined because it patched", async () => {
    const w = world();
    await consume([recordOf(requestOf()), recordOf(b())], w.context);
    expect(w.outcomes()).toEqual(["NUDGED", "JOINED"]);
    expect(w.cluster.get()?.annotations["renew"]).toBe("bbbbbbbbbbbb");
    expect(w.ids.acknowledged.toSorted()).toEqual(["aaaaaaaaaaaa", "bbbbbbbbbbbb"]);
  });

  it("defers the others with it where it was deferred", async () => {
    const w = world();
    await consume([recordOf(requestOf({ key: "cccccccccccc" }))], w.context);
    await consume([recordOf(requestOf()), recordOf(b())], w.context);
    expect(w.ids.deferred().toSorted()).toEqual(["aaaaaaaaaaaa", "bbbbbbbbbbbb"]);
  });

  it("decides each of the others anew where it ended in any other way", async () => {
    const w = world();
    await consume([recordOf(b())], w.context); // patched before: a redelivery of it ends REPEATED and proves nothing for others
    w.wait(700);
    w.cluster.set({ status: { message: "Ready", imageDigest: digestOf("b"), updatedAt: at(5) } });
    await consume([recordOf(b()), recordOf(requestOf({ webhook: "other" }))], w.context);
    expect(w.outcomes()).toEqual(["NUDGED", "REPEATED", "NUDGED"]);
  });

  it("keeps other tags and confirmations apart", async () => {
    const w = world();
    await consume([recordOf(requestOf()), recordOf(b({ tag: "dev" }))], w.context);
    expect(w.outcomes().toSorted()).toEqual(["NUDGED", "TAG_DIFFERS"]);
  });
});

describe("consume: copies of one record", () => {
  const copy = (part: Partial<RenewRequest>, id: string) => recordOf(requestOf(part), { id });

  it("runs one for all of them, and acknowledges the others once its own copy is stored", async () => {
    const w = world();
    await consume([recordOf(requestOf({ key: "cccccccccccc" }))], w.context); // so the next ones are deferred: the cool-down
    const since = at(-60);
    await consume(
      [copy({}, "first"), copy({ attempt: 2, refusedSince: since }, "third"), copy({ attempt: 1, notBefore: at(-1) }, "second")],
      w.context,
    );
    expect(w.deferred).toMatchObject([{ id: "third" }]);
    expect(decode(w.deferred[0]?.next.body ?? "")).toMatchObject({ request: { attempt: 3, refusedSince: since } });
    expect(w.ids.acknowledged).toEqual(["cccccccccccc", "second", "first"]);
  });

  it("gives all of them back where that copy could not be stored", async () => {
    const w = world();
    w.cluster.fail(new RelayError("CLUSTER_UNREACHABLE", "refused"));
    w.breakQueue();
    const { failed } = await consume([copy({}, "first"), copy({ attempt: 1 }, "second")], w.context);
    expect(failed.map(({ id }) => id).toSorted()).toEqual(["first", "second"]);
    expect(w.ids.acknowledged).toEqual([]);
  });

  it("leaves all of them where their turn never came", async () => {
    const { untouched } = await consume([copy({}, "first"), copy({ attempt: 1 }, "second")], world().context, () => false);
    expect(untouched.map(({ id }) => id).toSorted()).toEqual(["first", "second"]);
  });

  it("buries one letter for all of them", async () => {
    const w = world();
    w.cluster.fail(new RelayError("INVALID", "spec"));
    await consume([copy({}, "first"), copy({ attempt: 1 }, "second")], w.context);
    expect([w.ids.buried(), w.ids.acknowledged]).toEqual([["second"], ["first"]]);
  });

  it("takes a redelivery, another nudge and another look for what they are", async () => {
    const w = world();
    const look = { step: 0, digest: null, message: "Ready", updatedAt: null, patchedAt: at(0) };
    const confirmation = { kind: "confirm", look } as const;
    const others = [
      { receivedAt: at(1) },
      { nudge: 1 },
      { webhook: "other" },
      confirmation,
      { ...confirmation, look: { ...look, step: 1 } },
    ];
    await consume([copy({}, "first"), ...others.map((part, index) => copy(part, `other ${index}`))], w.context);
    expect(w.lines).toHaveLength(others.length + 1);
  });
});

describe("consume: the circuit", () => {
  it("opens once, fails the rest of the batch without asking, and closes by a probe", async () => {
    const w = world();
    w.cluster.fail(new RelayError("CLUSTER_UNREACHABLE", "refused"));
    await consume([recordOf(requestOf({ module: "one" }))], w.context);
    expect(w.codes()).toEqual(["CLUSTER_UNREACHABLE"]);
    expect(w.circuit.error?.code).toBe("CLUSTER_UNREACHABLE");

    w.cluster.fail(new RelayError("CLUSTER_UNAUTHORIZED", "401"));
    await consume([recordOf(requestOf())], w.context); // the probe fails: nothing is asked
    expect(w.deferred).toHaveLength(2);
    expect(w.codes()).toEqual(["CLUSTER_UNREACHABLE", "CLUSTER_UNAUTHORIZED"]);

    await consume([recordOf(b())], w.context);
    expect(w.circuit.error).toBeNull();
    expect(w.outcomes().at(-1)).toBe("NUDGED");
    expect(w.ids.buried()).toEqual([]);
  });

  it("stays closed for a 403 by RBAC: that record alone waits, with an alarm from the second on", async () => {
    const w = world();
    w.cluster.fail(new RelayError("FORBIDDEN", "cannot get"));
    await consume([recordOf(requestOf({ module: "one" }))], w.context);
    await consume([recordOf(b())], w.context);
    expect(w.codes()).toEqual([]); // an API server that has just started refuses everybody
    expect(w.deferred).toHaveLength(1);
    expect(w.deferred[0]?.next.delaySeconds).toBeLessThan(7);
    expect(w.outcomes()).toEqual(["FORBIDDEN", "NUDGED"]);
    w.cluster.fail(new RelayError("FORBIDDEN", "cannot get"));
    await consume([recordOf(w.deferred[0]?.next.body ?? "")], w.context);
    expect(w.codes()).toEqual(["FORBIDDEN"]);
  });
});

describe("consume: what stays unsettled", () => {
  it("gives back records whose settling failed", async () => {
    const w = world();
    w.breakQueue();
    const { failed } = await consume([recordOf(requestOf()), recordOf("{")], w.context);
    expect(failed.map(({ id }) => id).toSorted()).toEqual(["aaaaaaaaaaaa", "raw"]);
    expect(w.codes()).toContain("QUEUE_UNAVAILABLE");
  });

  it("gives back records whose turn never came", async () => {
    const w = world();
    const { untouched } = await consume([recordOf(requestOf())], w.context, () => false);
    expect(untouched).toHaveLength(1);
    expect(w.cluster.patches).toEqual([]);
  });
});

it("consume stores the confirm record before it acknowledges, and retries an error that nobody foresaw", async () => {
  const w = world();
  w.context.send = async () => {
    throw new TypeError("surprise");
  };
  await consume([recordOf(requestOf())], w.context);
  expect(w.ids.acknowledged).toEqual([]);
  expect(w.codes()).toEqual(["INTERNAL"]);
  expect(decode(w.deferred[0]?.next.body ?? "")).toMatchObject({ request: { attempt: 1 } });
});

describe("consume: where records are received without being run", () => {
  function counted(w: ReturnType<typeof world>) {
    const counts = new Map<string, number>();
    const runs = {
      begin: async ({ id }: Pick<QueueRecord, "id">) => {
        counts.set(id, (counts.get(id) ?? 0) + 1);
        return counts.get(id) ?? 0;
      },
      forget: async ({ id }: Pick<QueueRecord, "id">) => void counts.delete(id),
    };
    return { counts, context: { ...w.context, runs } };
  }
  /** Whoever looks at this override is never heard of again. */
  function deadly(w: ReturnType<typeof world>) {
    let die = () => {};
    const get = (module: string) => (module === "deadly" ? new Promise<never>(() => die()) : w.cluster.overrides.get(module));
    const { counts, context } = counted(w);
    /** One invocation, to its end or the process's. */
    const invoke = (records: readonly QueueRecord[]) => {
      const died = new Promise<"died">((resolve) => (die = () => resolve("died")));
      return Promise.race([consume(records, { ...context, overrides: { ...w.cluster.overrides, get } }), died]);
    };
    return { counts, invoke };
  }
  const poison = (receiveCount: number) => recordOf(b({ module: "deadly" }), { id: "poison", receiveCount });
  const sound = (receiveCount: number) => recordOf(requestOf(), { receiveCount });

  it.each([
    [7, 0],
    [8, 1],
    [999, 1],
  ])("runs what was received %i times, and counts the run only where it may be to blame", async (receiveCount, runs) => {
    const w = world();
    const { counts, context } = counted(w);
    await consume([sound(receiveCount)], context);
    expect(w.buried).toEqual([]);
    expect(w.ids.acknowledged).toEqual([requestOf().key]);
    expect(counts.get(requestOf().key) ?? 0).toBe(runs);
  });

  it("buries the one that it dies of after seven runs, and not the one beside it", async () => {
    const w = world();
    const { counts, invoke } = deadly(w);
    for (let run = 8; run < 15; run++) expect(await invoke([poison(run), sound(run)])).toBe("died");
    expect(await invoke([poison(15), sound(15)])).toEqual({ failed: [], untouched: [] });
    expect(w.buried.map(({ id, letter }) => [id, letter.code])).toEqual([["poison", "LAST_RECEIVE"]]);
    expect(w.ids.acknowledged).toEqual([requestOf().key]);
    expect(counts.get(requestOf().key)).toBe(1);
  });

  it("has settled the others by then, whatever their order", async () => {
    const w = world();
    const { invoke } = deadly(w);
    expect(await invoke([poison(8), sound(1)])).toBe("died");
    expect(w.ids.acknowledged).toEqual([requestOf().key]);
  });

  it("takes what it gives back itself for no crash", async () => {
    const w = world();
    const { counts, context } = counted(w);
    w.breakQueue();
    for (let receive = 8; receive < 30; receive++) expect((await consume([sound(receive)], context)).failed).toHaveLength(1);
    expect(w.codes()).not.toContain("LAST_RECEIVE");
    expect([...counts]).toEqual([]);
  });

  it("counts nothing while the time is over, and runs where nobody can count", async () => {
    const w = world();
    const { counts, context } = counted(w);
    expect((await consume([sound(8)], context, () => false)).untouched).toHaveLength(1);
    expect([...counts]).toEqual([]);
    const begin = () => Promise.reject(new RelayError("JOURNAL_UNAVAILABLE", "no table"));
    await consume([sound(8)], { ...context, runs: { ...context.runs, begin } });
    expect(w.ids.acknowledged).toEqual([requestOf().key]);
    expect(w.codes()).toEqual(["JOURNAL_UNAVAILABLE"]);
  });
});
