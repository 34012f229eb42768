/**
 * The journal in a SQLite file beside an embedded queue, in a file of its own: what befalls the one must not touch the other.
 * Several processes may have it open, so that `mpo-relay history` reads it beside a running relay.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import Database from "libsql";
import * as z from "zod";
import { RelayError } from "../outcome.ts";
import { GroupCommit } from "../queue/embedded/commit.ts";
import { FILES, makeFolder, makePrivateFile } from "../queue/embedded/folder.ts";
import { type Entry, type Journal, KEPT_DAYS, type NewEntry, type Wanted } from "./journal.ts";
import { detailText, entry } from "./schema.ts";

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS entries (
    key TEXT NOT NULL, cluster TEXT NOT NULL, stage TEXT NOT NULL, at TEXT NOT NULL, last TEXT NOT NULL, times INTEGER NOT NULL DEFAULT 1,
    module TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT, image TEXT NOT NULL, webhook TEXT NOT NULL, actor TEXT,
    pushed_at TEXT, received_at TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (key, cluster, stage)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS entries_by_time ON entries (last);
  CREATE INDEX IF NOT EXISTS entries_by_module ON entries (module, last);`;
const VERSION = 1;

const INSERT = `
  INSERT INTO entries (key, cluster, stage, at, last, module, tag, digest, image, webhook, actor, pushed_at, received_at, detail)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (key, cluster, stage) DO UPDATE SET last = max(last, excluded.last), times = times + 1, detail = excluded.detail`;
/** SQLite waits for another writer by blocking the process, and every push with it. */
const PATIENCE_MS = 50;
/** What waited in vain is not tried again for so many times as long. */
const PAUSES = 10;
const PRUNE_EVERY_MS = 3_600_000;
/** A transaction blocks the process while it runs. */
const PRUNED_AT_ONCE = 5_000;

const row = entry
  .omit({ pushedAt: true, receivedAt: true })
  .extend({
    pushed_at: z.string().nullable(),
    received_at: z.string(),
    detail: detailText,
  })
  .transform(({ pushed_at, received_at, ...rest }): Entry => ({ ...rest, pushedAt: pushed_at, receivedAt: received_at }));
const version = z.tuple([z.object({ user_version: z.int() })]);

/**
 * Opens the journal of a queue's folder; `create` makes it where there is none.
 * Throws RelayError JOURNAL_UNAVAILABLE: not there, damaged, of a newer version, the folder cannot be written.
 */
export function openSqliteJournal(folder: string, { create }: { create: boolean }): Journal {
  const path = join(folder, FILES.journal);
  if (!create && !existsSync(path)) throw unavailable(`there is no ${path} yet; the first push that a relay takes makes it`);
  try {
    makeFolder(folder);
    makePrivateFile(folder, FILES.journal); // what lies beside it, SQLite makes with the same mode
    return new SqliteJournal(path, openDatabase(path));
  } catch (thrown) {
    throw thrown instanceof RelayError && thrown.code === "JOURNAL_UNAVAILABLE"
      ? thrown
      : unavailable(`${path} cannot be opened (${reasonOf(thrown)})`);
  }
}

class SqliteJournal implements Journal {
  readonly name: string;
  readonly #db: Database.Database;
  readonly #commits: GroupCommit;
  readonly #insert: Database.Statement;
  #pruned = 0;
  #busyUntil = 0;

  constructor(path: string, db: Database.Database) {
    this.name = path;
    this.#db = db;
    this.#commits = new GroupCommit(db);
    this.#insert = db.prepare(INSERT);
  }

  async append(entries: readonly NewEntry[]): Promise<void> {
    if (Date.now() < this.#busyUntil) throw unavailable(`${this.name} (somebody else writes it)`);
    const started = Date.now();
    await this.#append(entries).catch((thrown: unknown) => {
      this.#busyUntil = Date.now() + PAUSES * (Date.now() - started);
      throw thrown;
    });
  }

  async #append(entries: readonly NewEntry[]): Promise<void> {
    await this.#try(() =>
      this.#commits.runUnsynced(() => {
        for (const each of entries) this.#insert.run(...columns(each));
        this.#prune();
      }),
    );
  }

  async read({ limit, ...wanted }: Wanted): Promise<Entry[]> {
    const { where, values } = conditions(wanted);
    return this.#try(async () => {
      const rows = this.#db.prepare(`SELECT * FROM entries ${where} ORDER BY last DESC, rowid DESC LIMIT ?`).all(...values, limit);
      return z.array(row).parse(rows);
    });
  }

  async close(): Promise<void> {
    await this.#commits.close();
    this.#db.close();
  }

  #prune(): void {
    const now = Date.now();
    if (now - this.#pruned < PRUNE_EVERY_MS) return;
    const before = new Date(now - KEPT_DAYS * 24 * PRUNE_EVERY_MS).toISOString();
    const { changes } = this.#db
      .prepare("DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE last < ? LIMIT ?)")
      .run(before, PRUNED_AT_ONCE);
    if (changes < PRUNED_AT_ONCE) this.#pruned = now;
  }

  async #try<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      throw unavailable(`${this.name} (${reasonOf(thrown)})`);
    }
  }
}

function openDatabase(path: string): Database.Database {
  const db = new Database(path, { timeout: 5000 }); // others may write: a command, or the relay beside a command
  try {
    const [{ user_version: found }] = version.parse(db.pragma("user_version"));
    if (found > VERSION) throw unavailable(`${path} is of a newer mpo-relay (file version ${found}); update this one`);
    db.pragma("journal_mode = WAL");
    if (found < VERSION) db.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${VERSION}; COMMIT;`);
    db.pragma(`busy_timeout = ${PATIENCE_MS}`);
    return db;
  } catch (thrown) {
    db.close();
    throw thrown;
  }
}

function columns(written: NewEntry): (string | null)[] {
  const { key, cluster, stage, at, module, tag, digest, image, webhook, actor, pushedAt, receivedAt, detail: told } = written;
  return [key, cluster, stage, at, at, module, tag, digest, image, webhook, actor, pushedAt, receivedAt, JSON.stringify(told)];
}

function conditions({ key, module, cluster, since, until }: Omit<Wanted, "limit">): { where: string; values: string[] } {
  const given = Object.entries({ "key = ?": key, "module = ?": module, "cluster = ?": cluster, "last >= ?": since, "last <= ?": until });
  const held = given.filter((each): each is [string, string] => each[1] !== undefined);
  return { where: held.length === 0 ? "" : `WHERE ${held.map(([test]) => test).join(" AND ")}`, values: held.map(([, value]) => value) };
}

const unavailable = (what: string) => new RelayError("JOURNAL_UNAVAILABLE", `the journal: ${what}`);

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Database.SqliteError) return `${thrown.code}: ${thrown.message}`;
  return thrown instanceof Error ? thrown.message : String(thrown);
}
