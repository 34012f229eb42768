/** The hub's asking end: the queue port over somebody else's queue. */
import { randomUUID } from "node:crypto";
import { cutIntoBatches } from "../batches.ts";
import { checkRecord } from "../body.ts";
import { type PagedDeadLetters, sweepPages } from "../paging.ts";
import { Polls } from "../polls.ts";
import type { NewDeadLetter, NewRecord, Queue, QueueRecord, ReceiveOptions } from "../queue.ts";
import { type Answer, type Ask, ASK_LIMITS, MOST_RECORDS, type Operation } from "./wire.ts";

/** One request and its answer. Throws RelayError QUEUE_UNAVAILABLE, or what the owner refused with. */
export interface HubCall {
  <O extends Operation>(operation: O, ask: Ask<O>, timeoutMs?: number): Promise<Answer<O>>;
}

/** How long to wait for an answer; of a long poll, beyond the wait that was asked for. */
export const PATIENCE_MS = 10_000;

export class HubQueue implements Queue {
  readonly name: string;
  readonly deadLetters: PagedDeadLetters;
  readonly #call: HubCall;
  readonly #release: () => Promise<void>;
  readonly #polls = new Polls();
  #closed = false;

  /** `release` is called once, when the last answer is in. */
  constructor(name: string, call: HubCall, release: () => Promise<void>) {
    this.name = name;
    this.#call = call;
    this.#release = release;
    this.deadLetters = lettersOf(call);
  }

  async send(records: readonly NewRecord[], options: { timeoutMs?: number } = {}): Promise<void> {
    records.forEach(checkRecord); // all of them before the first is sent
    for (const batch of cutIntoBatches(records, ASK_LIMITS, weightOf)) await this.#call("send", { records: batch }, options.timeoutMs);
  }

  receive({ signal, ...options }: ReceiveOptions): Promise<QueueRecord[]> {
    if (signal?.aborted || this.#closed) return Promise.resolve([]);
    const ticket = randomUUID();
    return this.#polls.take({
      records: this.#call(
        "receive",
        { ticket, ...options, max: Math.min(options.max, MOST_RECORDS) },
        options.waitSeconds * 1000 + PATIENCE_MS,
      ),
      signal,
      hurry: () => void this.#call("cancel", { ticket }).catch(() => {}), // then the poll ends by itself, later
      giveBack: (records) => Promise.all(records.map((record) => this.extend(record, 0))),
    });
  }

  async acknowledge(records: readonly QueueRecord[]): Promise<void> {
    for (const batch of cutIntoBatches(records, ASK_LIMITS, weightOf)) await this.#call("acknowledge", { records: batch });
  }

  async defer(moves: readonly { record: QueueRecord; next: NewRecord }[]): Promise<void> {
    const weight = ({ record, next }: { record: QueueRecord; next: NewRecord }) => weightOf(record) + weightOf(next);
    for (const batch of cutIntoBatches(moves, ASK_LIMITS, weight)) await this.#call("defer", { moves: batch });
  }

  async bury(record: QueueRecord, letter: NewDeadLetter): Promise<void> {
    await this.#call("bury", { record, letter });
  }

  async extend(record: QueueRecord, seconds: number): Promise<void> {
    await this.#call("extend", { record, seconds });
  }

  async ready(): Promise<void> {
    await this.#call("ready", {});
  }

  depth(): Promise<{ records: number; oldestSeconds: number | null }> {
    return this.#call("depth", {});
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#polls.close();
    await this.#release();
  }
}

const weightOf = ({ body }: { readonly body: string }) => body.length;

function lettersOf(call: HubCall): PagedDeadLetters {
  const letters: PagedDeadLetters = {
    async put(letter) {
      await call("letters.put", { letter });
    },
    list: (limit) => letters.page({ after: null, upTo: null, limit }),
    page: (range) => call("letters.page", range),
    async remove(id) {
      await call("letters.remove", { id });
    },
    sweep: (decide) => sweepPages(letters, decide),
    count: () => call("letters.count", {}),
  };
  return letters;
}
