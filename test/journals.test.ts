/** How a journal is opened beside work that it must not hold up. The adapter of DynamoDB is replaced by one that takes long to load. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it, vi } from "vitest";
import { entryOf } from "../src/journal/journal.ts";
import { openJournals } from "../src/journals.ts";
import { at, fakeObserver, requestOf } from "./support/relay.ts";

const PATIENCE_MS = 1;
const appended = vi.hoisted(() => vi.fn<() => Promise<void>>());
vi.mock("../src/journal/dynamodb.ts", async () => {
  await sleep(50 * PATIENCE_MS);
  return { openDynamoJournal: () => ({ name: "a fake", append: appended, read: async () => [], close: async () => {} }) };
});

it("patience with a table counts its answer, and not the loading of what asks it", async () => {
  const { observer, alarms } = fakeObserver();
  const config = { journal: { kind: "dynamodb", table: "journal" }, clusters: {} } as const;
  const { note, close } = await openJournals(config, { observer, patienceMs: PATIENCE_MS });
  appended.mockResolvedValueOnce(); // in the same turn: no timer comes before it
  await note([entryOf(requestOf(), "QUEUED", at(0))]);
  expect(appended).toHaveBeenCalledOnce();
  expect(alarms).toEqual([]);

  appended.mockReturnValueOnce(new Promise(() => {}));
  await note([entryOf(requestOf(), "NUDGED", at(1))]);
  expect(alarms.map(({ code }) => code)).toEqual(["JOURNAL_UNAVAILABLE"]);
  await close();
});
