/** The journal in DynamoDB, spoken to over its protocol: https://github.com/architect/dynalite */
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { entryOf, type Journal, KEPT_DAYS, type Stage } from "../src/journal/journal.ts";
import { openDynamoJournal, openDynamoRuns } from "../src/journal/dynamodb.ts";
import { openJournals } from "../src/journals.ts";
import { journalContract } from "./contracts/journal.ts";
import { startDynamo, type TestDynamo } from "./support/dynamodb.ts";
import { at, configOf, fakeObserver, requestOf } from "./support/relay.ts";

let dynamo: TestDynamo;
let tables = 0;
beforeAll(async () => void (dynamo = await startDynamo()));
afterAll(() => dynamo.close());
beforeEach(() => {
  for (const [name, value] of Object.entries(dynamo.env)) vi.stubEnv(name, value);
  return () => void vi.unstubAllEnvs();
});

/** `seconds`: when it is read. */
async function opened(seconds = 60, table = `journal-${tables++}`): Promise<Journal> {
  await dynamo.createTable(table);
  return openDynamoJournal(table, { now: () => new Date(at(seconds)), patienceMs: 60_000 });
}

journalContract("DynamoDB", async () => {
  const journal = await opened();
  return { journal, cleanup: () => journal.close() };
});

async function used(seconds?: number): Promise<Journal> {
  const journal = await opened(seconds);
  onTestFinished(() => journal.close());
  return journal;
}
const DAY = 86_400;
const entry = (stage: Stage, seconds: number, part: Parameters<typeof requestOf>[0] = {}) => entryOf(requestOf(part), stage, at(seconds));

describe("the DynamoDB journal", () => {
  it("keeps the later time where a stage is written late, and counts it", async () => {
    const journal = await used();
    await journal.append([entry("DEFERRED", 20)]);
    await journal.append([entry("DEFERRED", 10)]);
    expect(await journal.read({ key: requestOf().key, limit: 9 })).toMatchObject([{ at: at(20), last: at(20), times: 2 }]);
    expect(await journal.read({ since: at(15), limit: 9 })).toHaveLength(1);
  });

  it("reads over days, back to where entries end, and one that moved to another day once", async () => {
    const journal = await used(0);
    await journal.append([entry("DEFERRED", -2 * DAY), entry("QUEUED", -2 * DAY - 1), entry("NUDGED", -KEPT_DAYS * DAY)]);
    await journal.append([entry("DEFERRED", -DAY)]);
    const stages = async (wanted: Partial<Parameters<Journal["read"]>[0]>) =>
      (await journal.read({ limit: 9, ...wanted })).map(({ stage }) => stage);
    expect(await stages({})).toEqual(["DEFERRED", "QUEUED", "NUDGED"]);
    expect(await stages({ limit: 2 })).toEqual(["DEFERRED", "QUEUED"]);
    expect(await stages({ until: at(-DAY - 1) })).toEqual(["QUEUED", "NUDGED"]);
    expect(await stages({ since: at(1), until: at(0) })).toEqual([]);
    expect(await stages({ key: requestOf().key, until: at(-2 * DAY) })).toEqual(["QUEUED", "NUDGED"]);
  });

  it("finds what lies behind the first page, filtered or not", async () => {
    const journal = await used();
    const why = "x".repeat(30_000); // a page is 1 MB
    const large = Array.from({ length: 40 }, (_, index) => ({ ...entry("QUEUED", 10, { key: `key${10_000 + index}` }), detail: { why } }));
    await journal.append([...large, entry("QUEUED", 1, { key: "sought000", module: "parca" })]);
    expect(await journal.read({ module: "parca", limit: 1 })).toMatchObject([{ key: "sought000" }]);
    expect(await journal.read({ limit: 100 })).toHaveLength(41);
    expect(await journal.read({ limit: 39 })).toHaveLength(39);
  });

  it("hides no other entry for one whose detail is not ours", async () => {
    const table = `journal-${tables++}`;
    const journal = await opened(60, table);
    onTestFinished(() => journal.close());
    await journal.append([entry("QUEUED", 1), entry("NUDGED", 2)]);
    await dynamo.put(table, { key: requestOf().key, sort: "dev NUDGED", detail: '{"why":{"not":"ours"}}' });
    expect(await journal.read({ key: requestOf().key, limit: 9 })).toMatchObject([{ stage: "NUDGED", detail: {} }, { stage: "QUEUED" }]);
  });

  it("holds up nothing where its table is not there, and names no more than the error", async () => {
    const { observer, alarms } = fakeObserver();
    const config = configOf({ journal: { kind: "env", name: "JOURNAL_TABLE" } });
    const env = { JOURNAL_TABLE: "not-there" };
    const { note, close } = await openJournals(config, { observer, patienceMs: 10_000, env });
    await note([entry("QUEUED", 0)]);
    await close();
    await (await openJournals(config, { observer, patienceMs: 10_000, env: {} })).note([entry("QUEUED", 0)]);
    expect(alarms.map(({ code, why }) => [code, why])).toEqual([
      ["JOURNAL_UNAVAILABLE", "the journal: the DynamoDB table not-there, UpdateItem: ResourceNotFoundException"],
      [
        "JOURNAL_UNAVAILABLE",
        "Error: the journal's variable JOURNAL_TABLE is not set in this process; it must hold the name of a DynamoDB table",
      ],
    ]);
  });
});

describe("runs of records, in the journal's table", () => {
  it("are counted for each record, forgotten where they ended, and are no entries", async () => {
    const table = `journal-${tables++}`;
    const journal = await opened(60, table);
    onTestFinished(() => journal.close());
    const runs = openDynamoRuns(table, { now: () => new Date(at(0)), patienceMs: 60_000 });
    expect([await runs.begin({ id: "a" }), await runs.begin({ id: "a" }), await runs.begin({ id: "b" })]).toEqual([1, 2, 1]);
    await runs.forget({ id: "a" });
    expect([await runs.begin({ id: "a" }), await runs.begin({ id: "b" })]).toEqual([1, 2]);
    expect(await journal.read({ limit: 9 })).toEqual([]);
  });

  it("tell by the error's name alone why they cannot be counted", async () => {
    const runs = openDynamoRuns("no-such-table", { patienceMs: 60_000 });
    await expect(runs.begin({ id: "a" })).rejects.toThrow(/table no-such-table, UpdateItem: ResourceNotFoundException$/);
  });
});
