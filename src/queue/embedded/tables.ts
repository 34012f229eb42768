/** The tables of the queue file and every statement over them. All of it is synchronous; callers see to transactions. */
import * as z from "zod";
import type { LetterPage } from "../paging.ts";
import type { NewDeadLetter, NewRecord, QueueRecord } from "../queue.ts";

interface Statement {
  run(...params: unknown[]): unknown;
  get(...params: unknown[]): unknown;
  all(...params: unknown[]): unknown[];
}
export interface SqlDatabase {
  prepare(sql: string): Statement;
}

/** AUTOINCREMENT: an id is never used again, so an outdated receipt can never meet another record. Instants are ms since 1970. */
export const SCHEMA = `
  CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL,
    sent_at INTEGER NOT NULL, visible_at INTEGER NOT NULL, receive_count INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX records_by_visibility ON records (queue, visible_at);
  CREATE TABLE letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL,
    code TEXT NOT NULL, text TEXT NOT NULL, attempts INTEGER NOT NULL, first_at TEXT NOT NULL, last_at TEXT NOT NULL
  ) STRICT;
  CREATE INDEX letters_by_queue ON letters (queue, id);
  CREATE TABLE probe (filler BLOB NOT NULL) STRICT;`;

const claimedRow = z.object({ id: z.int(), body: z.string(), receive_count: z.int(), sent_at: z.int() });
const letterRow = z
  .object({
    id: z.int(),
    body: z.string(),
    code: z.string(),
    text: z.string(),
    attempts: z.int(),
    first_at: z.string(),
    last_at: z.string(),
  })
  .transform(({ first_at, last_at, ...letter }) => ({
    ...letter,
    id: String(letter.id),
    firstAt: first_at,
    lastAt: last_at,
    expiresAt: null,
  }));
const totalRow = z.object({ total: z.int(), edge: z.int().nullable() });
const instantRow = z.object({ at: z.int().nullable() });

export class Tables {
  readonly #db: SqlDatabase;
  readonly #statements = new Map<string, Statement>();
  /** The latest instant that was seen; at first nobody knows what the clock showed when the file was last written. */
  #latest = Number.POSITIVE_INFINITY;

  constructor(db: SqlDatabase) {
    this.#db = db;
  }

  insert(queue: string, record: NewRecord): void {
    const now = Date.now();
    this.#sql("INSERT INTO records (queue, body, sent_at, visible_at) VALUES (?, ?, ?, ?)").run(
      queue,
      record.body,
      now,
      now + milliseconds(record.delaySeconds ?? 0),
    );
  }

  /** Takes up to `max` visible records, longest visible first, and hides them. */
  claim(queue: string, max: number, visibilitySeconds: number): QueueRecord[] {
    const now = Date.now();
    if (now < this.#latest - CLOCK_STEP_MS) this.#followClock(now);
    this.#latest = now;
    const rows = this.#sql(
      `UPDATE records SET visible_at = ?, receive_count = receive_count + 1
       WHERE id IN (SELECT id FROM records WHERE queue = ? AND visible_at <= ? ORDER BY visible_at, id LIMIT ?)
       RETURNING id, body, receive_count, sent_at`,
    ).all(now + milliseconds(visibilitySeconds), queue, now, max);
    return rows.map(toRecord).sort((a, b) => Number(a.id) - Number(b.id));
  }

  /**
   * The clock went back, by an hour maybe (a machine that starts with a wrong one, and then asks NTP): what was stored in that hour would show
   * when it comes again. It shows now; a record that somebody holds is worked on twice then, and one that was delayed comes early: both are harmless.
   */
  #followClock(now: number): void {
    this.#sql("UPDATE records SET sent_at = ?, visible_at = ? WHERE sent_at > ?").run(now, now, now);
  }

  /** Whoever held records did so by a process that no longer owns the file: they show at once, and not when their visibility ends. */
  releaseHeld(): void {
    const now = Date.now();
    this.#sql("UPDATE records SET visible_at = ? WHERE receive_count > 0 AND visible_at > ?").run(now, now);
  }

  /** When the next hidden or delayed record becomes visible (ms); null where there is none at all. */
  nextVisible(queue: string): number | null {
    return instantRow.parse(this.#sql("SELECT min(visible_at) AS at FROM records WHERE queue = ?").get(queue)).at;
  }

  /**
   * A receipt names record and receive count: once somebody else received the record, the old receipt does nothing. It may come from
   * whoever has a hub's token, and so says nothing of a record in another queue.
   */
  remove(queue: string, record: QueueRecord): void {
    this.#sql("DELETE FROM records WHERE queue = ? AND id = ? AND receive_count = ?").run(queue, ...receipt(record));
  }

  hide(queue: string, record: QueueRecord, seconds: number): void {
    this.#sql("UPDATE records SET visible_at = ? WHERE queue = ? AND id = ? AND receive_count = ?").run(
      Date.now() + milliseconds(seconds),
      queue,
      ...receipt(record),
    );
  }

  depth(queue: string): { records: number; oldest: number | null } {
    const row = totalRow.parse(this.#sql("SELECT count(*) AS total, min(sent_at) AS edge FROM records WHERE queue = ?").get(queue));
    return { records: row.total, oldest: row.edge };
  }

  /** Stores and deletes a few KiB: fails where a record could not be stored. */
  probe(): void {
    this.#sql("INSERT INTO probe VALUES (zeroblob(16384))").run();
    this.#sql("DELETE FROM probe").run();
  }

  insertLetter(queue: string, letter: NewDeadLetter): void {
    this.#sql("INSERT INTO letters (queue, body, code, text, attempts, first_at, last_at) VALUES (?, ?, ?, ?, ?, ?, ?)").run(
      queue,
      letter.body,
      letter.code,
      letter.text,
      letter.attempts,
      letter.firstAt,
      letter.lastAt,
    );
  }

  letters(queue: string, range: { after: string | null; upTo: string | null; limit: number }): LetterPage {
    const rows = this.#sql("SELECT * FROM letters WHERE queue = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?").all(
      queue,
      Number(range.after ?? 0),
      Number(range.upTo ?? Number.MAX_SAFE_INTEGER),
      range.limit + 1,
    );
    const newest = this.#letterTotals(queue).edge;
    return {
      letters: rows.slice(0, range.limit).map((row) => letterRow.parse(row)),
      more: rows.length > range.limit,
      newest: newest === null ? null : String(newest),
    };
  }

  removeLetter(queue: string, id: string): void {
    this.#sql("DELETE FROM letters WHERE queue = ? AND id = ?").run(queue, Number(id));
  }

  countLetters(queue: string): number {
    return this.#letterTotals(queue).total;
  }

  #letterTotals(queue: string): z.infer<typeof totalRow> {
    return totalRow.parse(this.#sql("SELECT count(*) AS total, max(id) AS edge FROM letters WHERE queue = ?").get(queue));
  }

  #sql(text: string): Statement {
    const known = this.#statements.get(text);
    if (known !== undefined) return known;
    const statement = this.#db.prepare(text);
    this.#statements.set(text, statement);
    return statement;
  }
}

function toRecord(row: unknown): QueueRecord {
  const { id, body, receive_count: receiveCount, sent_at: sentAt } = claimedRow.parse(row);
  return { id: String(id), receipt: `${id}:${receiveCount}`, body, receiveCount, sentAt: new Date(sentAt).toISOString() };
}

/** NaN, from a receipt that is not ours, is bound as NULL and matches nothing. */
function receipt(record: QueueRecord): [number, number] {
  const [id, count] = record.receipt.split(":").map(Number);
  return [id ?? Number.NaN, count ?? Number.NaN];
}

/** Steps below are those of a clock that is being set right all the time. */
const CLOCK_STEP_MS = 2000;

const milliseconds = (seconds: number): number => Math.round(seconds * 1000);
