/** The contract of the journal port. Every adapter runs it. */
import { describe, expect, test } from "vitest";
import { type Entry, entryOf, type Journal, type Stage } from "../../src/journal/journal.ts";
import { at, requestOf } from "../support/relay.ts";
import { HEAVY_MS } from "../support/wait.ts";

export function journalContract(name: string, open: () => Promise<{ journal: Journal; cleanup(): Promise<void> }>): void {
  const it = test.extend<{ journal: Journal }>({
    // oxlint-disable-next-line no-empty-pattern -- Vitest reads from the pattern which fixtures are needed
    journal: async ({}, use) => {
      const { journal, cleanup } = await open();
      await use(journal);
      await cleanup();
    },
  });
  const entry = (part: Parameters<typeof requestOf>[0], stage: Stage, seconds: number, detail = {}) =>
    entryOf(requestOf(part), stage, at(seconds), detail);
  const brief = (entries: readonly Entry[]) => entries.map(({ key, cluster, stage, last }) => `${key} ${cluster} ${stage} ${last}`);

  describe(`journal: ${name}`, () => {
    it("gives back what was written, whole", async ({ journal }) => {
      const detail = { why: "Ärger: „x“\u0007\u{1f600}", nudge: 2, buried: true, message: null };
      const written = entry({ actor: null, digest: null, pushedAt: null }, "UNCONFIRMED", 5, detail);
      await journal.append([written]);
      expect(await journal.read({ key: written.key, limit: 10 })).toEqual([{ ...written, last: written.at, times: 1 }]);
    });

    it("counts a stage that comes again, and keeps its last detail", async ({ journal }) => {
      await journal.append([entry({}, "DEFERRED", 1, { why: "first" })]);
      await journal.append([entry({}, "DEFERRED", 2, { why: "second" }), entry({}, "DEFERRED", 3, { why: "third" })]);
      await journal.append([entry({ cluster: "stage" }, "DEFERRED", 4)]);
      const [other, first, ...more] = await journal.read({ key: requestOf().key, limit: 10 });
      expect(more).toEqual([]);
      expect(other).toMatchObject({ cluster: "stage", times: 1 });
      expect(first).toMatchObject({ cluster: "dev", at: at(1), last: at(3), times: 3, detail: { why: "third" } });
    });

    it("is read by key, module, cluster and time, the latest first", async ({ journal }) => {
      await journal.append([
        entry({ key: "key00001", module: "echo" }, "QUEUED", 1),
        entry({ key: "key00001", module: "echo", cluster: "stage" }, "QUEUED", 2),
        entry({ key: "key00002", module: "parca" }, "QUEUED", 3),
      ]);
      await journal.append([entry({ key: "key00001", module: "echo" }, "NUDGED", 4)]);
      const [one, two, three, four] = [
        `key00001 dev NUDGED ${at(4)}`,
        `key00002 dev QUEUED ${at(3)}`,
        `key00001 stage QUEUED ${at(2)}`,
        `key00001 dev QUEUED ${at(1)}`,
      ];
      const read = async (wanted: Partial<Parameters<Journal["read"]>[0]>) => brief(await journal.read({ limit: 10, ...wanted }));
      expect(await read({})).toEqual([one, two, three, four]);
      expect(await read({ limit: 2 })).toEqual([one, two]);
      expect(await read({ key: "key00001" })).toEqual([one, three, four]);
      expect(await read({ module: "parca" })).toEqual([two]);
      expect(await read({ cluster: "stage" })).toEqual([three]);
      expect(await read({ since: at(3) })).toEqual([one, two]);
      expect(await read({ module: "echo", cluster: "dev", since: at(2) })).toEqual([one]);
      expect(await read({ key: "key00003" })).toEqual([]);
    });

    it("takes many at once, and nothing at all", { timeout: HEAVY_MS }, async ({ journal }) => {
      await journal.append([]);
      await Promise.all(
        Array.from({ length: 20 }, (_, batch) =>
          journal.append(Array.from({ length: 50 }, (__, index) => entry({ key: `key${batch}x${index}y` }, "QUEUED", batch))),
        ),
      );
      expect(await journal.read({ limit: 2000 })).toHaveLength(1000);
    });
  });
}
