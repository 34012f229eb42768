/**
 * The queue port. Three adapters stand behind it (sqs, embedded, hub), held to one contract: test/contracts/queue.ts.
 * At least once: a record comes again until it is settled. Bodies are ASCII text of at most 200 KiB (see event.ts).
 * Every method throws RelayError QUEUE_UNAVAILABLE when the queue cannot do it now; then nothing was settled.
 */

/** A record as received. `receiveCount` is 1 at the first time; it grows only when a holder crashed or was too slow. */
export interface QueueRecord {
  readonly id: string;
  readonly receipt: string;
  readonly body: string;
  readonly receiveCount: number;
  /** When it was sent, RFC 3339 UTC with milliseconds. */
  readonly sentAt: string;
}

/**
 * Runs of a record that began, where it may be received without one (AWS Lambda receives what it then cannot hand over).
 * Whatever began and did not end is a crash.
 */
export interface RunCounts {
  /** One more begins. Gives their number, this one included. */
  begin(record: Pick<QueueRecord, "id">): Promise<number>;
  /** It ended, though the record is not settled: nothing crashes on it. */
  forget(record: Pick<QueueRecord, "id">): Promise<void>;
}

/** A record to store. `delaySeconds` (fractions allowed, an adapter may round up) is at most MAX_DELAY_SECONDS (limits.ts). */
export interface NewRecord {
  readonly body: string;
  readonly delaySeconds?: number;
}

/** A record that ended without taking effect, with the reason. `body` is the record's text, or a stored delivery's (UNPARSED). */
export interface NewDeadLetter {
  readonly body: string;
  readonly code: string;
  readonly text: string;
  readonly attempts: number;
  readonly firstAt: string;
  readonly lastAt: string;
}
/** `code` is `UNKNOWN` where the queue service itself moved the record (its maximum receive count). */
export interface DeadLetter extends NewDeadLetter {
  readonly id: string;
  /** When the queue service deletes it, RFC 3339; null where it never does (embedded), or does not say. */
  readonly expiresAt: string | null;
}

/** `keep` leaves the letter, `remove` deletes it, `stop` leaves it and ends the sweep. */
export type Decision = "remove" | "keep" | "stop";
export type Decide = (letter: DeadLetter) => Promise<Decision>;

/** `more` is true where the listing was cut at `limit`. */
export interface DeadLetterPage {
  readonly letters: readonly DeadLetter[];
  readonly more: boolean;
}

export interface DeadLetters {
  /** Stores a letter durably. */
  put(letter: NewDeadLetter): Promise<void>;
  /** Looks at letters without taking them; order is not promised. An SQS queue cannot be read without hiding what is read for some seconds. */
  list(limit: number): Promise<DeadLetterPage>;
  /**
   * Takes letters one by one: `decide` says what to do with each. A letter is deleted only after
   * `decide` resolved, so whatever `decide` stored elsewhere is stored first. Visits each letter at most once.
   */
  sweep(decide: Decide): Promise<{ removed: number; kept: number }>;
  /** Number of letters; approximate on SQS. */
  count(): Promise<number>;
}

export interface ReceiveOptions {
  readonly max: number;
  /** Long poll: how long to wait for a first record. */
  readonly waitSeconds: number;
  /** How long the records stay hidden from others. */
  readonly visibilitySeconds: number;
  readonly signal?: AbortSignal;
}

export interface Queue {
  /** For people: the cluster's name or the queue's URL; holds no credential. */
  readonly name: string;
  readonly deadLetters: DeadLetters;
  /** Stores all records durably, or throws. After a throw some may be stored: a second try may double them, which is harmless. */
  send(records: readonly NewRecord[], options?: { timeoutMs?: number }): Promise<void>;
  /** Up to `max` records (an adapter may give fewer), [] when none came in time or the signal was aborted. */
  receive(options: ReceiveOptions): Promise<QueueRecord[]>;
  /** Deletes the record. Unknown or outdated receipts are no error: somebody settled it before. */
  acknowledge(records: readonly QueueRecord[]): Promise<void>;
  /** Stores the copies with their delay, then deletes the old ones; never in the other order, so that a crash doubles and loses nothing. */
  defer(moves: readonly { record: QueueRecord; next: NewRecord }[]): Promise<void>;
  /** Stores the dead letter, then deletes the record; never in the other order. */
  bury(record: QueueRecord, letter: NewDeadLetter): Promise<void>;
  /** Hides the record for that many seconds from now on; 0 gives it back at once. */
  extend(record: QueueRecord, seconds: number): Promise<void>;
  /** Resolves when a record could be stored now; for /readyz and `doctor`. */
  ready(): Promise<void>;
  /** Waiting records (delayed and hidden ones included) and the age of the oldest in seconds (null: unknown or empty). Approximate on SQS. */
  depth(): Promise<{ records: number; oldestSeconds: number | null }>;
  close(): Promise<void>;
}
