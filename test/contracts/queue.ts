/** The contract of the queue port. Every adapter runs it; where a server behind an adapter lacks something, `lacks` says so and why. */
import { describe, expect, test } from "vitest";
import { toAscii } from "../../src/event.ts";
import type { NewDeadLetter, Queue, QueueRecord } from "../../src/queue/queue.ts";

export interface OpenedQueue {
  /** Empty, and nobody else's. */
  readonly queue: Queue;
  readonly cleanup: () => Promise<void>;
}

/** `outdated`: a receipt that was overtaken by a later receive deletes nothing. `swept`: a sweep does not meet letters buried during it. */
export type Ability = "outdated" | "swept";

export interface ContractOptions {
  /** The shortest delay and visibility that the server measures, in seconds. */
  readonly step: number;
  /** Abilities that the server has not, each with the reason. */
  readonly lacks?: Partial<Record<Ability, string>>;
}

/** Longer than any test: what waits so long was woken, and what is hidden so long stays hidden. */
const LONG = 60;
const WAIT = 20;
const TIMEOUT_MS = 19_000;

const letter = (body: string, code = "INVALID"): NewDeadLetter => ({
  body,
  code,
  text: "spec.imageTag: too long",
  attempts: 3,
  firstAt: "2026-01-02T03:04:05.678Z",
  lastAt: "2026-01-02T04:04:05.678Z",
});
const bodies = (records: readonly { body: string }[]): string[] => records.map(({ body }) => body).toSorted();

/** Receives until `count` records came; waiting in vain, also on a closed queue, is an error. */
async function collect(queue: Queue, count: number, visibilitySeconds = LONG): Promise<QueueRecord[]> {
  const records: QueueRecord[] = [];
  while (records.length < count) {
    const got = await queue.receive({ max: 100, waitSeconds: WAIT, visibilitySeconds });
    if (got.length === 0) throw new Error(`${records.length} of ${count} records came`);
    records.push(...got);
  }
  return records;
}
async function only(queue: Queue, visibilitySeconds = LONG): Promise<QueueRecord> {
  const [record, ...others] = await collect(queue, 1, visibilitySeconds);
  if (record === undefined || others.length > 0) throw new Error("exactly one record was expected");
  return record;
}
const now = (queue: Queue): Promise<QueueRecord[]> => queue.receive({ max: 10, waitSeconds: 0, visibilitySeconds: LONG });

export function queueContract(name: string, open: () => Promise<OpenedQueue>, { step, lacks = {} }: ContractOptions): void {
  const it = test.extend<{ queue: Queue }>({
    // oxlint-disable-next-line no-empty-pattern -- Vitest reads from the pattern which fixtures are needed
    queue: async ({}, use) => {
      const { queue, cleanup } = await open();
      await use(queue);
      await cleanup();
    },
  });
  const missing = Object.entries(lacks).map(([ability, why]) => `without ${ability}: ${why}`);
  const title = [`queue contract: ${name}`, ...missing].join("; ");

  describe.concurrent(title, { timeout: TIMEOUT_MS }, () => {
    describe("records", () => {
      it("gives what was sent, with its facts", async ({ queue }) => {
        await queue.send([{ body: '{"v":1}' }]);
        const record = await only(queue);
        expect(record).toMatchObject({ body: '{"v":1}', receiveCount: 1 });
        expect(record.sentAt).toBe(new Date(record.sentAt).toISOString());
        expect(record.id).not.toBe("");
        expect(record.receipt).not.toBe("");
      });

      it("takes a batch of 25 and gives each once", async ({ queue }) => {
        const sent = Array.from({ length: 25 }, (_, index) => ({ body: `record ${index}` }));
        await queue.send(sent);
        expect(bodies(await collect(queue, 25))).toEqual(bodies(sent));
        expect(await now(queue)).toEqual([]);
      });

      it("gives no more than it was asked for", async ({ queue }) => {
        await queue.send([{ body: "a" }, { body: "b" }, { body: "c" }]);
        const first = await queue.receive({ max: 2, waitSeconds: WAIT, visibilitySeconds: LONG });
        expect(first.length).toBeLessThanOrEqual(2);
        expect(bodies([...first, ...(await collect(queue, 3 - first.length))])).toEqual(["a", "b", "c"]);
      });

      it("takes bodies of 180 KiB, and several large ones together", async ({ queue }) => {
        const large = ["a", "b", "c"].map((char) => ({ body: char.repeat(180 * 1024) }));
        await queue.send(large);
        expect(bodies(await collect(queue, 3))).toEqual(bodies(large));
      });

      it("gives escaped text back as it was", async ({ queue }) => {
        const body = toAscii(JSON.stringify({ actor: "Jürgen 😀 \u2028 \ufffe \u0001 <&> '\"" }));
        await queue.send([{ body }]);
        expect((await only(queue)).body).toBe(body);
      });

      it.for([
        ["a body that is too large", { body: "x".repeat(200 * 1024 + 1) }, "TOO_LARGE"],
        ["text beyond ASCII", { body: "ü" }, "INTERNAL"],
        ["control characters", { body: "\u0001" }, "INTERNAL"],
        ["too long a delay", { body: "x", delaySeconds: 901 }, "INTERNAL"],
      ] as const)("refuses %s, and stores nothing of that send", async ([, record, code], { queue }) => {
        await expect(queue.send([{ body: "good" }, record])).rejects.toMatchObject({ name: "RelayError", code });
        expect(await queue.depth()).toMatchObject({ records: 0 });
      });

      it("hides a delayed record, and wakes a waiting receiver when the delay ends", async ({ queue }) => {
        await queue.send([
          { body: "late", delaySeconds: LONG },
          { body: "soon", delaySeconds: step },
        ]);
        expect((await only(queue)).body).toBe("soon");
        expect(await now(queue)).toEqual([]);
        expect(await queue.depth()).toMatchObject({ records: 2 });
      });

      it("wakes a waiting receiver at a send", async ({ queue }) => {
        const waiting = only(queue);
        await new Promise((resolve) => setTimeout(resolve, 50));
        await queue.send([{ body: "here" }]);
        expect((await waiting).body).toBe("here");
      });

      it("misses no send that comes in the moment a receiver falls asleep", async ({ queue }) => {
        const [record] = await Promise.all([only(queue), queue.send([{ body: "here" }])]);
        expect(record.body).toBe("here");
      });

      it("gives [] when none came in time", async ({ queue }) => {
        expect(await queue.receive({ max: 10, waitSeconds: step, visibilitySeconds: LONG })).toEqual([]);
      });
    });

    describe("visibility", () => {
      it("hides a received record until its visibility ends, then counts on", async ({ queue }) => {
        await queue.send([{ body: "again" }]);
        const first = await only(queue, step);
        const second = await only(queue);
        expect(second).toMatchObject({ id: first.id, receiveCount: 2 });
        expect(await now(queue)).toEqual([]);
      });

      it("gives a record back with extend 0", async ({ queue }) => {
        await queue.send([{ body: "back" }]);
        await queue.extend(await only(queue), 0);
        expect((await only(queue)).body).toBe("back");
      });

      it("hides a record for longer with extend", async ({ queue }) => {
        await queue.send([{ body: "held" }]);
        await queue.extend(await only(queue, step * 3), LONG);
        expect(await queue.receive({ max: 1, waitSeconds: step * 4, visibilitySeconds: LONG })).toEqual([]);
      });
    });

    describe("settling", () => {
      it("deletes what is acknowledged; a second time is no error", async ({ queue }) => {
        await queue.send([{ body: "a" }, { body: "b" }]);
        const records = await collect(queue, 2);
        await queue.acknowledge(records);
        await queue.acknowledge(records);
        expect(await queue.depth()).toMatchObject({ records: 0 });
      });

      it("settles nothing else by a receipt that was used before", async ({ queue }) => {
        await queue.send([{ body: "first" }]);
        const used = await only(queue);
        await queue.acknowledge([used]);
        await queue.send([{ body: "second" }]);
        const second = await only(queue);
        await queue.acknowledge([used]);
        await queue.extend(second, 0);
        expect((await only(queue)).body).toBe("second");
      });

      it("defers: the copy comes, as a first receive, and the old record is gone", async ({ queue }) => {
        await queue.send([{ body: "old" }]);
        await queue.defer([{ record: await only(queue), next: { body: "new", delaySeconds: step } }]);
        expect(await queue.depth()).toMatchObject({ records: 1 });
        expect(await only(queue)).toMatchObject({ body: "new", receiveCount: 1 });
      });

      it("defers copy first: where the copy cannot be stored, the record stays", async ({ queue }) => {
        await queue.send([{ body: "old" }]);
        const record = await only(queue);
        await expect(queue.defer([{ record, next: { body: "x".repeat(300 * 1024) } }])).rejects.toMatchObject({ code: "TOO_LARGE" });
        await queue.extend(record, 0);
        expect((await only(queue)).body).toBe("old");
      });

      it("buries with the reason", async ({ queue }) => {
        await queue.send([{ body: "bad" }]);
        await queue.bury(await only(queue), letter("bad"));
        expect(await queue.depth()).toMatchObject({ records: 0 });
        expect((await queue.deadLetters.list(10)).letters).toMatchObject([{ ...letter("bad"), id: expect.any(String) }]);
      });

      if (lacks.outdated === undefined) {
        it("deletes nothing by a receipt that a later receive has overtaken", async ({ queue }) => {
          await queue.send([{ body: "mine" }]);
          const slow = await only(queue, step);
          const fast = await only(queue);
          await queue.acknowledge([slow]);
          await queue.extend(fast, 0);
          expect((await only(queue)).body).toBe("mine");
        });
      }
    });

    describe("dead letters", () => {
      it("lists up to a limit, says whether there are more, and takes nothing", async ({ queue: { deadLetters } }) => {
        for (const body of ["a", "b", "c"]) await deadLetters.put(letter(body));
        const cut = await deadLetters.list(2);
        expect([cut.letters.length, cut.more]).toEqual([2, true]);
        const all = await deadLetters.list(3);
        expect([bodies(all.letters), all.more]).toEqual([["a", "b", "c"], false]);
        expect(await deadLetters.count()).toBe(3);
      });

      it("sweeps each letter once, deletes those to remove and leaves the others", async ({ queue: { deadLetters } }) => {
        const sent = Array.from({ length: 23 }, (_, index) => letter(`${index}`, index % 2 === 0 ? "INVALID" : "MALFORMED"));
        await Promise.all(sent.map((each) => deadLetters.put(each)));
        const met: string[] = [];
        const swept = await deadLetters.sweep(async ({ body, code }) => {
          met.push(body);
          return code === "INVALID" ? "remove" : "keep";
        });
        expect(swept).toEqual({ removed: 12, kept: 11 });
        expect(met.toSorted()).toEqual(bodies(sent));
        const left = (await deadLetters.list(100)).letters;
        expect(left.every(({ code }) => code === "MALFORMED")).toBe(true);
        expect(left).toHaveLength(11);
      });

      it("ends a sweep that is told to stop, and leaves what it stopped at", async ({ queue: { deadLetters } }) => {
        for (const body of ["a", "b", "c"]) await deadLetters.put(letter(body));
        let met = 0;
        expect(await deadLetters.sweep(async () => (++met === 2 ? "stop" : "remove"))).toEqual({ removed: 1, kept: 1 });
        expect((await deadLetters.list(10)).letters).toHaveLength(2);
      });

      it("keeps a letter whose decision failed", async ({ queue: { deadLetters } }) => {
        await deadLetters.put(letter("a"));
        await expect(deadLetters.sweep(() => Promise.reject(new Error("no queue")))).rejects.toThrow("no queue");
        expect((await deadLetters.list(1)).letters).toHaveLength(1);
      });

      it("keeps no letter too large", async ({ queue: { deadLetters } }) => {
        await expect(deadLetters.put(letter("x".repeat(201 * 1024)))).rejects.toMatchObject({ code: "TOO_LARGE" });
        expect(await deadLetters.count()).toBe(0);
      });

      if (lacks.swept === undefined) {
        it("does not meet letters that are buried during the sweep", async ({ queue: { deadLetters } }) => {
          await deadLetters.put(letter("a"));
          const swept = await deadLetters.sweep(async ({ body }) => {
            await deadLetters.put(letter(body));
            return "remove";
          });
          expect(swept).toEqual({ removed: 1, kept: 0 });
          expect(await deadLetters.count()).toBe(1);
        });
      }
    });

    describe("the queue itself", () => {
      it("is ready, and counts waiting, delayed and hidden records", async ({ queue }) => {
        await queue.ready();
        await queue.send([{ body: "a" }, { body: "b" }, { body: "c", delaySeconds: LONG }]);
        await queue.receive({ max: 1, waitSeconds: WAIT, visibilitySeconds: LONG });
        expect(await queue.depth()).toMatchObject({ records: 3 });
      });

      it("swallows nothing by an aborted long poll", async ({ queue }) => {
        const abort = new AbortController();
        const waiting = queue.receive({ max: 10, waitSeconds: WAIT, visibilitySeconds: LONG, signal: abort.signal });
        await new Promise((resolve) => setTimeout(resolve, 50));
        abort.abort();
        expect(await waiting).toEqual([]);
        await queue.send([{ body: "kept" }]);
        expect((await only(queue)).body).toBe("kept");
      });

      it("swallows nothing when a send and the abort meet", async ({ queue }) => {
        const abort = new AbortController();
        const waiting = queue.receive({ max: 10, waitSeconds: WAIT, visibilitySeconds: LONG, signal: abort.signal });
        const sending = queue.send([{ body: "kept" }]);
        abort.abort();
        const got = await waiting;
        await sending;
        if (got.length === 0) expect((await only(queue)).body).toBe("kept");
        else expect(bodies(got)).toEqual(["kept"]);
      });

      it("receives nothing by a signal that is aborted already", async ({ queue }) => {
        await queue.send([{ body: "kept" }]);
        expect(await queue.receive({ max: 1, waitSeconds: WAIT, visibilitySeconds: LONG, signal: AbortSignal.abort() })).toEqual([]);
        expect((await only(queue)).body).toBe("kept");
      });

      it("ends its long polls when it is closed", async ({ queue }) => {
        const waiting = queue.receive({ max: 1, waitSeconds: step, visibilitySeconds: LONG });
        await queue.close();
        expect(await waiting).toEqual([]);
        expect(await queue.receive({ max: 1, waitSeconds: WAIT, visibilitySeconds: LONG })).toEqual([]);
      });
    });
  });
}
