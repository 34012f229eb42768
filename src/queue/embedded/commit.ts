/** Group commit: whatever was asked for in one tick goes into one transaction, so that many callers share one fsync. */
import { RelayError, toRelayError } from "../../outcome.ts";

/** What is needed of a database. */
export interface Transactional {
  exec(sql: string): unknown;
  readonly inTransaction: boolean;
}

/** `work` runs inside the transaction and gives what to call once it is committed. */
interface Job {
  readonly synced: boolean;
  work(): () => void;
  reject(error: RelayError): void;
}

/** A transaction blocks the process while it runs; a longer queue of jobs is cut into several. */
const JOBS_PER_COMMIT = 1000;

export class GroupCommit {
  readonly #db: Transactional;
  #jobs: Job[] = [];
  #scheduled = false;
  #closed = false;
  #whenIdle: (() => void) | null = null;
  #synced = true;

  constructor(db: Transactional) {
    this.#db = db;
  }

  /**
   * Runs `work` within the next transaction and resolves after its COMMIT, which outlasts a loss of power.
   * Throws QUEUE_UNAVAILABLE when the transaction failed; then nothing of it stands.
   */
  run<T>(work: () => T): Promise<T> {
    return this.#add(work, true);
  }

  /**
   * The same for what may be undone by a loss of power (never by the end of this process): taking or deleting a record, which then
   * comes again. Saves the fsync, unless another job of the same transaction needs it.
   */
  runUnsynced<T>(work: () => T): Promise<T> {
    return this.#add(work, false);
  }

  #add<T>(work: () => T, synced: boolean): Promise<T> {
    if (this.#closed) return Promise.reject(new RelayError("QUEUE_UNAVAILABLE", "the queue is closed"));
    return new Promise((resolve, reject) => {
      this.#jobs.push({
        synced,
        work: () => {
          const result = work();
          return () => resolve(result);
        },
        reject,
      });
      this.#schedule();
    });
  }

  /** Takes no more jobs; resolves when those taken are settled. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#scheduled) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    const jobs = this.#jobs.splice(0, JOBS_PER_COMMIT);
    this.#scheduled = false;
    this.#commit(jobs);
    if (this.#jobs.length > 0) this.#schedule();
    else this.#whenIdle?.();
  }

  #commit(jobs: readonly Job[]): void {
    try {
      this.#sync(jobs.some(({ synced }) => synced));
      this.#db.exec("BEGIN IMMEDIATE");
      const resolves = jobs.map((job) => job.work());
      this.#db.exec("COMMIT");
      for (const resolve of resolves) resolve();
    } catch (thrown) {
      this.#rollback();
      const [only, ...others] = jobs;
      // one bad job must not take the others with it: each for itself, and only what fails alone is refused
      if (others.length > 0) for (const job of jobs) this.#commit([job]);
      else only?.reject(toRelayError(thrown, "QUEUE_UNAVAILABLE"));
    }
  }

  /** In WAL mode NORMAL leaves out the fsync of a commit; the next FULL one writes those before it too: https://www.sqlite.org/pragma.html#pragma_synchronous */
  #sync(synced: boolean): void {
    if (synced === this.#synced) return;
    this.#db.exec(`PRAGMA synchronous = ${synced ? "FULL" : "NORMAL"}`);
    this.#synced = synced;
  }

  /** SQLite itself rolls back after some errors (a full disk), not after others: https://www.sqlite.org/lang_transaction.html */
  #rollback(): void {
    try {
      if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
    } catch {
      // Then the next BEGIN fails too, rejects its jobs and comes here again.
    }
  }
}
