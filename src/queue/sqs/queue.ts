/** The queue port over an SQS-compatible service. */
import { SQS_LAST_ANSWER_SECONDS, SQS_POLL_SECONDS } from "../../limits.ts";
import { within } from "../../patience.ts";
import { checkRecord } from "../body.ts";
import { Polls } from "../polls.ts";
import type { NewDeadLetter, NewRecord, Queue, QueueRecord, ReceiveOptions } from "../queue.ts";
import { batchesOf, TEN, twice } from "./batch.ts";
import { findLetterQueue, SqsDeadLetters, total } from "./letters.ts";
import { lookAt, type SqsLook } from "./look.ts";
import type { Message, Wire } from "./wire.ts";

/** Calls go out side by side, ten records each: so many are a load that a service and its client bear. */
const MOST = 200;
/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html */
const LONGEST_VISIBILITY_SECONDS = 43_200;

export class SqsQueue implements Queue {
  readonly name: string;
  readonly deadLetters: SqsDeadLetters;
  readonly #wire: Wire;
  readonly #deadLettersUrl: string | null;
  readonly #polls = new Polls();
  #closed = false;

  constructor(url: string, wire: Wire, deadLettersUrl: string | null) {
    this.name = url;
    this.#wire = wire;
    this.#deadLettersUrl = deadLettersUrl;
    this.deadLetters = new SqsDeadLetters(() => findLetterQueue(wire, deadLettersUrl));
  }

  async send(records: readonly NewRecord[], options: { timeoutMs?: number } = {}): Promise<void> {
    records.forEach(checkRecord);
    const messages = records.map(({ body, delaySeconds = 0 }) => ({ body, delaySeconds: Math.ceil(delaySeconds) }));
    const batches = batchesOf(messages, ({ body }) => Buffer.byteLength(body));
    await Promise.all(batches.map((batch) => twice(batch, "sending", (part) => this.#wire.send(part, options.timeoutMs))));
  }

  /** Waits at most SQS_POLL_SECONDS; more than ten come only where the first ten were there at once. */
  receive({ max, waitSeconds, visibilitySeconds, signal }: ReceiveOptions): Promise<QueueRecord[]> {
    if (signal?.aborted || this.#closed) return Promise.resolve([]);
    const wait = Math.min(Math.ceil(waitSeconds), SQS_POLL_SECONDS);
    return this.#polls.take({
      records: this.#receive(max, wait, wholeSeconds(visibilitySeconds)),
      signal,
      giveBack: (records) => this.#hide(records, 0),
    });
  }

  async acknowledge(records: readonly QueueRecord[]): Promise<void> {
    const receipts = records.map(({ receipt }) => receipt);
    await Promise.all(batchesOf(receipts).map((batch) => twice(batch, "acknowledging", (part) => this.#wire.remove(part))));
  }

  async defer(moves: readonly { record: QueueRecord; next: NewRecord }[]): Promise<void> {
    await this.send(moves.map(({ next }) => next));
    await this.acknowledge(moves.map(({ record }) => record));
  }

  async bury(record: QueueRecord, letter: NewDeadLetter): Promise<void> {
    await this.deadLetters.bury(letter);
    await this.acknowledge([record]);
  }

  async extend(record: QueueRecord, seconds: number): Promise<void> {
    await this.#hide([record], wholeSeconds(seconds));
  }

  async ready(): Promise<void> {
    await this.#wire.attributes();
  }

  async depth(): Promise<{ records: number; oldestSeconds: number | null }> {
    return { records: total(await this.#wire.attributes()), oldestSeconds: null };
  }

  /** What the service says of the queue and of its dead letters; receives nothing. */
  look(): Promise<SqsLook> {
    return lookAt(this.#wire, this.#deadLettersUrl);
  }

  /** An open long poll ends by itself: what it brings is given back before this resolves, unless the service does not answer any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await within((SQS_POLL_SECONDS + SQS_LAST_ANSWER_SECONDS) * 1000, this.#polls.close(), "QUEUE_UNAVAILABLE").catch(() => {});
    this.#wire.close();
  }

  async #receive(wanted: number, waitSeconds: number, visibilitySeconds: number): Promise<QueueRecord[]> {
    const max = Math.min(wanted, MOST);
    const first = await this.#wire.receive({ max: Math.min(max, TEN), waitSeconds, visibilitySeconds });
    if (first.length < TEN || max <= TEN) return first.map(toRecord);
    const rest = Array.from({ length: Math.ceil((max - TEN) / TEN) }, (_, index) =>
      this.#wire.receive({ max: Math.min(TEN, max - TEN * (index + 1)), waitSeconds: 0, visibilitySeconds }),
    );
    // The first ten are ours already: an error of another call must not lose them.
    const more = (await Promise.allSettled(rest)).flatMap((call) => (call.status === "fulfilled" ? call.value : []));
    return [...first, ...more].map(toRecord);
  }

  async #hide(records: readonly QueueRecord[], seconds: number): Promise<void> {
    const receipts = records.map(({ receipt }) => receipt);
    await Promise.all(batchesOf(receipts).map((batch) => twice(batch, "extending", (part) => this.#wire.hide(part, seconds))));
  }
}

function toRecord({ id, receipt, body, receiveCount, sentAt }: Message): QueueRecord {
  return { id, receipt, body, receiveCount, sentAt: new Date(sentAt).toISOString() };
}

function wholeSeconds(seconds: number): number {
  return Math.min(Math.ceil(seconds), LONGEST_VISIBILITY_SECONDS);
}
