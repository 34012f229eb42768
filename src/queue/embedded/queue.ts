/** The queue port over the tables of one file. */
import { checkRecord, checkSize } from "../body.ts";
import { type PagedDeadLetters, sweepPages } from "../paging.ts";
import type { NewDeadLetter, NewRecord, Queue, QueueRecord, ReceiveOptions } from "../queue.ts";
import { Bell } from "./bell.ts";
import type { GroupCommit } from "./commit.ts";
import type { Tables } from "./tables.ts";

export class EmbeddedQueue implements Queue {
  readonly name: string;
  readonly deadLetters: PagedDeadLetters;
  readonly #tables: Tables;
  readonly #commits: GroupCommit;
  readonly #bell = new Bell();
  #closed = false;

  constructor(name: string, tables: Tables, commits: GroupCommit) {
    this.name = name;
    this.#tables = tables;
    this.#commits = commits;
    this.deadLetters = lettersOf(name, tables, commits);
  }

  async send(records: readonly NewRecord[]): Promise<void> {
    records.forEach(checkRecord);
    await this.#change(() => this.insert(records));
  }

  /** Within a transaction of the caller, who rings afterwards. */
  insert(records: readonly NewRecord[]): void {
    for (const record of records) this.#tables.insert(this.name, record);
  }

  ring(): void {
    this.#bell.ring();
  }

  async receive({ max, waitSeconds, visibilitySeconds, signal }: ReceiveOptions): Promise<QueueRecord[]> {
    const deadline = Date.now() + waitSeconds * 1000;
    for (;;) {
      if (signal?.aborted || this.#closed) return [];
      // Nothing is awaited between this commit and the return: an abort can't come in between and swallow what was claimed.
      const look = await this.#commits.runUnsynced(() => {
        const records = signal?.aborted ? [] : this.#tables.claim(this.name, max, visibilitySeconds);
        const next = records.length > 0 ? null : this.#tables.nextVisible(this.name);
        return { records, next, rings: this.#bell.rings };
      });
      if (look.records.length > 0 || Date.now() >= deadline) return look.records;
      await this.#bell.sleep(look.rings, Math.min(deadline, look.next ?? deadline), signal);
    }
  }

  async acknowledge(records: readonly QueueRecord[]): Promise<void> {
    await this.#commits.runUnsynced(() => {
      for (const record of records) this.#tables.remove(this.name, record);
    });
  }

  async defer(moves: readonly { record: QueueRecord; next: NewRecord }[]): Promise<void> {
    for (const { next } of moves) checkRecord(next);
    await this.#change(() => {
      for (const { record, next } of moves) {
        this.#tables.insert(this.name, next);
        this.#tables.remove(this.name, record);
      }
    });
  }

  async bury(record: QueueRecord, letter: NewDeadLetter): Promise<void> {
    await this.#commits.run(() => {
      this.#tables.insertLetter(this.name, letter);
      this.#tables.remove(this.name, record);
    });
  }

  async extend(record: QueueRecord, seconds: number): Promise<void> {
    await this.#change(() => this.#tables.hide(this.name, record, seconds));
  }

  async ready(): Promise<void> {
    await this.#commits.run(() => this.#tables.probe());
  }

  async depth(): Promise<{ records: number; oldestSeconds: number | null }> {
    const { records, oldest } = await this.#commits.run(() => this.#tables.depth(this.name));
    return { records, oldestSeconds: oldest === null ? null : Math.max(0, (Date.now() - oldest) / 1000) };
  }

  /** Ends the long polls of this queue. The file belongs to the store, whose `close` waits for what is in flight. */
  close(): Promise<void> {
    this.#closed = true;
    this.ring();
    return Promise.resolve();
  }

  /** Every change that can make a record visible sooner ends with a ring. */
  async #change(work: () => void): Promise<void> {
    await this.#commits.run(work);
    this.ring();
  }
}

function lettersOf(name: string, tables: Tables, commits: GroupCommit): PagedDeadLetters {
  const letters: PagedDeadLetters = {
    async put(letter) {
      checkSize(letter.body);
      await commits.run(() => tables.insertLetter(name, letter));
    },
    list: (limit) => letters.page({ after: null, upTo: null, limit }),
    page: (range) => commits.run(() => tables.letters(name, range)),
    remove: (id) => commits.run(() => tables.removeLetter(name, id)),
    sweep: (decide) => sweepPages(letters, decide),
    count: () => commits.run(() => tables.countLetters(name)),
  };
  return letters;
}
