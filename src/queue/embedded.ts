/**
 * The embedded queue: one SQLite file in a folder, a named queue per cluster inside. One process owns the folder.
 * Durable before it answers: WAL with synchronous=FULL, an fsync at each commit that stores something (https://www.sqlite.org/pragma.html#pragma_synchronous).
 * The only import of SQLite.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import Database from "libsql";
import * as z from "zod";
import { RelayError } from "../outcome.ts";
import { checkRecord } from "./body.ts";
import { GroupCommit } from "./embedded/commit.ts";
import { createDatabase, damaged, FILES, inspect, makeFolder, makePrivateFile, mark, refusal } from "./embedded/folder.ts";
import { EmbeddedQueue } from "./embedded/queue.ts";
import { SCHEMA, Tables } from "./embedded/tables.ts";
import { checkVolume, isFull } from "./embedded/volume.ts";
import type { NewRecord } from "./queue.ts";

export interface EmbeddedOptions {
  /** False: only an existing queue is opened. Default true. */
  readonly create?: boolean;
  /** How long to wait for another process to let go of the folder. Default 2,000; waiting blocks this process. */
  readonly lockTimeoutMs?: number;
  /** The file grows no further; sends beyond are refused like those on a full disk. Default: what the disk holds. */
  readonly maxBytes?: number;
}

/** Another process owns the folder. It may lend the queue over its socket: see `openFolder`. */
export class FolderInUse extends RelayError {
  constructor(folder: string) {
    super(
      "QUEUE_UNAVAILABLE",
      `queue folder ${folder} is in use by another process. Stop the other mpo-relay (or wait for it), or give this one a folder of its own`,
    );
  }
}

export interface EmbeddedStore {
  readonly folder: string;
  /** The queue of that name; the same object each time. It exists as soon as it is named. */
  queue(name: string): EmbeddedQueue;
  /** Stores records in several queues in one transaction: all or none. Throws as {@link EmbeddedQueue.send}. */
  sendAll(batches: readonly { queue: string; records: readonly NewRecord[] }[]): Promise<void>;
  /** Ends long polls, waits for what is in flight, and lets go of the folder. */
  close(): Promise<void>;
}

/**
 * Opens the queue of a folder and takes its lock, which dies with the process.
 * Throws {@link FolderInUse}, or RelayError QUEUE_UNAVAILABLE when the file is missing, damaged, of a newer version, the folder holds other
 * things, or its volume is full, read-only or a network's.
 */
export function openEmbedded(folderPath: string, options: EmbeddedOptions = {}): EmbeddedStore {
  const folder = resolve(folderPath);
  // Looked at before the lock too, so that no lock file gets into a folder that is not ours; what counts is the look under the lock.
  const found = existsSync(folder) ? inspect(folder) : "new";
  if (options.create === false && found === "new") {
    throw refusal(folder, "there is no queue here", "Check `queue:` in the configuration; `mpo-relay serve` creates it");
  }
  makeFolder(folder);
  checkVolume(folder);
  try {
    return openWritable(folder, options);
  } catch (thrown) {
    if (thrown instanceof FolderInUse || !isFull(folder)) throw thrown;
    throw refusal(folder, "its volume is full", "Free some space or enlarge the volume, and start again: nothing in the queue is lost");
  }
}

function openWritable(folder: string, options: EmbeddedOptions): EmbeddedStore {
  const unlock = lock(folder, options.lockTimeoutMs ?? 2000);
  try {
    if (inspect(folder) === "new") createDatabase(folder, build);
    const db = openDatabase(folder, options.maxBytes);
    mark(folder);
    return new Store(folder, db, unlock);
  } catch (thrown) {
    unlock();
    throw thrown;
  }
}

/** What lies in a queue, by a look at its file that takes no lock and changes nothing, whoever owns the folder. Throws as {@link openEmbedded}. */
export function peekEmbedded(folderPath: string, queue: string): { records: number; oldestSeconds: number | null; letters: number } {
  const folder = resolve(folderPath);
  if (!existsSync(folder) || inspect(folder) === "new") {
    throw refusal(folder, "there is no queue here", "Check `queue:` in the configuration; `mpo-relay serve` creates it");
  }
  const db = new Database(join(folder, FILES.database), { timeout: 2000 });
  try {
    db.pragma("query_only = 1");
    check(folder, db);
    const tables = new Tables(db);
    const { records, oldest } = tables.depth(queue);
    return {
      records,
      oldestSeconds: oldest === null ? null : Math.max(0, (Date.now() - oldest) / 1000),
      letters: tables.countLetters(queue),
    };
  } catch (thrown) {
    if (thrown instanceof RelayError) throw thrown;
    throw damaged(folder, `${FILES.database} cannot be read (${reasonOf(thrown)})`);
  } finally {
    db.close();
  }
}

class Store implements EmbeddedStore {
  readonly folder: string;
  readonly #db: Database.Database;
  readonly #unlock: () => void;
  readonly #tables: Tables;
  readonly #commits: GroupCommit;
  readonly #queues = new Map<string, EmbeddedQueue>();
  #closing: Promise<void> | null = null;

  constructor(folder: string, db: Database.Database, unlock: () => void) {
    this.folder = folder;
    this.#db = db;
    this.#unlock = unlock;
    this.#tables = new Tables(db);
    this.#tables.releaseHeld();
    this.#commits = new GroupCommit(db);
  }

  queue(name: string): EmbeddedQueue {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const queue = new EmbeddedQueue(name, this.#tables, this.#commits);
    this.#queues.set(name, queue);
    return queue;
  }

  async sendAll(batches: readonly { queue: string; records: readonly NewRecord[] }[]): Promise<void> {
    for (const { records } of batches) records.forEach(checkRecord);
    await this.#commits.run(() => {
      for (const { queue, records } of batches) this.queue(queue).insert(records);
    });
    for (const { queue } of batches) this.queue(queue).ring();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    await this.#commits.close();
    tidy(this.#db);
    this.#db.close();
    this.#unlock();
  }
}

/** Leaves one file to copy instead of two; where the disk is too full for that, the next opening reads both. */
function tidy(db: Database.Database): void {
  try {
    db.pragma("wal_checkpoint(TRUNCATE)");
  } catch {
    // Nothing is lost: what was acknowledged is in the write-ahead log.
  }
}

/**
 * Holds a transaction on a file of its own: the kernel lets go of its lock when the process dies, however it dies.
 * Not on the queue file itself, which so stays readable for `sqlite3 queue.db .backup` while we run.
 */
function lock(folder: string, timeout: number): () => void {
  const db = new Database(makePrivateFile(folder, FILES.lock), { timeout });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (thrown) {
    db.close();
    if (thrown instanceof Database.SqliteError && thrown.code.startsWith("SQLITE_BUSY")) throw new FolderInUse(folder);
    throw refusal(folder, `${FILES.lock} cannot be locked (${reasonOf(thrown)})`, "Check the folder's owner, permissions and free space");
  }
  return () => {
    db.exec("ROLLBACK");
    db.close();
  };
}

/** Marks the file as ours (SQLite's "application id": the letters mpoq) and tells which tables to expect. */
const APPLICATION_ID = 0x6d706f71;
const VERSION = 1;

function build(path: string): void {
  const db = new Database(path, { timeout: 5000 });
  db.exec(
    `PRAGMA synchronous = FULL; BEGIN; ${SCHEMA} PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${VERSION}; COMMIT;`,
  );
  db.close();
}

function openDatabase(folder: string, maxBytes: number | undefined): Database.Database {
  // The timeout comes first, for the PRAGMAs below may meet a `sqlite3 .backup` at work.
  const db = new Database(join(folder, FILES.database), { timeout: 5000 });
  try {
    check(folder, db);
    db.pragma("journal_mode = WAL");
    db.pragma("synchronous = FULL");
    db.pragma("journal_size_limit = 67108864");
    db.exec("BEGIN IMMEDIATE; COMMIT"); // quick_check and a first change to WAL leave a read open, in which no checkpoint can be made
    if (maxBytes !== undefined) db.pragma(`max_page_count = ${Math.ceil(maxBytes / PAGE_BYTES)}`);
    return db;
  } catch (thrown) {
    db.close();
    if (thrown instanceof RelayError) throw thrown;
    throw damaged(folder, `${FILES.database} cannot be read (${reasonOf(thrown)})`);
  }
}

function check(folder: string, db: Database.Database): void {
  const checked = z.array(z.object({ quick_check: z.string() })).parse(db.pragma("quick_check(1)"));
  const verdict = checked[0]?.quick_check;
  if (verdict !== "ok") throw damaged(folder, `${FILES.database} is damaged (${verdict ?? "no answer to quick_check"})`);
  if (numberOf(db, "application_id") !== APPLICATION_ID) throw damaged(folder, `${FILES.database} is no queue of mpo-relay`);
  const version = numberOf(db, "user_version");
  if (version > VERSION) throw refusal(folder, `${FILES.database} is of a newer mpo-relay (file version ${version})`, "Update this one");
}

function numberOf(db: Database.Database, pragma: string): number {
  return z.array(z.record(z.string(), z.number())).parse(db.pragma(pragma))[0]?.[pragma] ?? 0;
}

const PAGE_BYTES = 4096;

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Database.SqliteError) return `${thrown.code}: ${thrown.message}`;
  return thrown instanceof Error ? thrown.message : String(thrown);
}
