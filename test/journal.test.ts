/** The journal: the SQLite adapter under the contract, and what it does with a file that is not as it should be. */
import { statSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { entryOf, KEPT_DAYS } from "../src/journal/journal.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import { openJournals } from "../src/journals.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import { journalContract } from "./contracts/journal.ts";
import { at, fakeObserver, requestOf } from "./support/relay.ts";
import { until } from "./support/wait.ts";

let folder: string;
const config = () => ({ journal: { kind: "embedded", folder }, clusters: {} }) as const;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "journal-"))));
afterEach(() => rm(folder, { recursive: true }));

journalContract("SQLite", async () => {
  const own = await mkdtemp(join(tmpdir(), "journal-"));
  const journal = openSqliteJournal(own, { create: true });
  const cleanup = async () => {
    await journal.close();
    await rm(own, { recursive: true });
  };
  return { journal, cleanup };
});

describe("the SQLite journal", () => {
  it("is read by another process's connection while it is written, and after it is closed", async () => {
    const writer = openSqliteJournal(folder, { create: true });
    const reader = openSqliteJournal(folder, { create: false });
    await writer.append([entryOf(requestOf(), "QUEUED", at(0))]);
    expect(await reader.read({ limit: 9 })).toHaveLength(1);
    await reader.append([entryOf(requestOf(), "REDRIVEN", at(1))]);
    expect(await writer.read({ limit: 9 })).toHaveLength(2);
    await writer.close();
    await reader.close();
    const later = openSqliteJournal(folder, { create: false });
    expect(await later.read({ limit: 9 })).toHaveLength(2);
    await later.close();
  });

  it("is for its owner's eyes alone: it tells who pushed what", async () => {
    const journal = openSqliteJournal(folder, { create: true });
    await journal.append([entryOf(requestOf(), "QUEUED", at(0))]);
    const files = (await readdir(folder)).toSorted();
    const modes = files.map((name) => [name, (statSync(join(folder, name)).mode & 0o777).toString(8)]);
    expect(modes).toEqual(["journal.db", "journal.db-shm", "journal.db-wal"].map((name) => [name, "600"]));
    await journal.close();
  });

  it("forgets what is older than it says", async () => {
    const days = (count: number) => new Date(Date.now() - count * 86_400_000).toISOString();
    const journal = openSqliteJournal(folder, { create: true });
    await journal.append([entryOf(requestOf({ key: "old00000" }), "QUEUED", days(KEPT_DAYS + 1))]);
    await journal.close();
    const again = openSqliteJournal(folder, { create: true });
    await again.append([entryOf(requestOf({ key: "new00000" }), "QUEUED", days(KEPT_DAYS - 1))]);
    expect((await again.read({ limit: 9 })).map(({ key }) => key)).toEqual(["new00000"]);
    await again.close();
  });

  it("says what to do where there is none, and where the file is no journal", async () => {
    expect(() => openSqliteJournal(folder, { create: false })).toThrow("the first push that a relay takes makes it");
    await writeFile(join(folder, "journal.db"), "this is no database at all, whatever its name says".repeat(100));
    expect(() => openSqliteJournal(folder, { create: true })).toThrow(/journal\.db cannot be opened/);
  });

  it("keeps no process from its work when it cannot be opened: it is told", async () => {
    await writeFile(join(folder, "journal.db"), "no database".repeat(1000));
    const { observer, alarms } = fakeObserver();
    const { journal, note } = await openJournals(config(), { observer, patienceMs: 10_000 });
    expect(journal).toBeNull();
    await note([entryOf(requestOf(), "QUEUED", at(0))]);
    expect(alarms.map(({ code }) => code)).toEqual(["JOURNAL_UNAVAILABLE"]);
  });

  it("is told once when it fails again and again, and again when it had worked in between", async () => {
    const { observer, alarms } = fakeObserver();
    const { journal, note, close } = await openJournals(config(), { observer, patienceMs: 10_000 });
    await note([entryOf(requestOf(), "QUEUED", at(0))]);
    await close();
    await note([entryOf(requestOf(), "NUDGED", at(1))]);
    await note([entryOf(requestOf(), "NUDGED", at(2))]);
    expect(alarms.map(({ code }) => code)).toEqual(["JOURNAL_UNAVAILABLE"]);
    expect(journal).not.toBeNull();
  });

  it("gives up at once where somebody else writes: pushes would wait for it", async () => {
    const journal = openSqliteJournal(folder, { create: true });
    const other = new Database(join(folder, "journal.db"));
    other.exec("BEGIN IMMEDIATE");
    await expect(journal.append([entryOf(requestOf(), "QUEUED", at(0))])).rejects.toMatchObject({ code: "JOURNAL_UNAVAILABLE" });
    other.exec("COMMIT");
    other.close();
    const append = () =>
      journal.append([entryOf(requestOf(), "QUEUED", at(0))]).then(
        () => true,
        () => false,
      );
    await until(append).toBe(true);
    await journal.close();
  });

  it("does not make its folder look like somebody else's: a queue is begun anew beside it", async () => {
    const journal = openSqliteJournal(folder, { create: true });
    const store = openEmbedded(folder);
    await store.close();
    await journal.close();
    expect(await readdir(folder)).toEqual(expect.arrayContaining(["journal.db", "queue.db"]));
  });
});
