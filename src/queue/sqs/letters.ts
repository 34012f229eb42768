/** Dead letters in a second SQS queue: a record's text as the body, what is known of its end as message attributes. */
import * as z from "zod";
import { RelayError } from "../../outcome.ts";
import { checkSize } from "../body.ts";
import type { DeadLetter, DeadLetterPage, DeadLetters, Decide, Decision, NewDeadLetter } from "../queue.ts";
import { partsOfArn } from "./address.ts";
import { batchesOf, TEN, twice } from "./batch.ts";
import type { Message, Outgoing, Wire } from "./wire.ts";

/** How long letters stay hidden while somebody looks at them. */
const LOOK_SECONDS = 30;
/** More than none: only a long poll asks all of SQS's servers. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html */
const WAIT_SECONDS = 1;
/** Calls at a time, below what the SDK has connections for: a thousand at once would wait for each other until their time is over. */
const SIDE_BY_SIDE = 20;
const TEXT_LENGTH = 1000;
/** Two clocks differ; a letter sent this long after a sweep began is one that the sweep itself brought about. */
const CLOCK_SKEW_MS = 5000;

export class SqsDeadLetters implements DeadLetters {
  readonly #queue: () => Promise<Wire>;

  /** `queue` finds the dead-letter queue; it is asked again after an error only. */
  constructor(queue: () => Promise<Wire>) {
    this.#queue = onceDone(queue);
  }

  async put(letter: NewDeadLetter): Promise<void> {
    checkSize(letter.body);
    await this.bury(letter);
  }

  /** Whatever its size: it lay in a queue before. */
  async bury(letter: NewDeadLetter): Promise<void> {
    const queue = await this.#queue();
    await twice([toMessage(letter)], "storing a dead letter", (messages) => queue.send(messages));
  }

  async list(limit: number): Promise<DeadLetterPage> {
    const queue = await this.#queue();
    const letters: DeadLetter[] = [];
    const retention = await retentionMs(queue);
    await this.#visit(queue, async (message) => {
      letters.push(toLetter(message, retention));
      return letters.length > limit ? "stop" : "keep";
    });
    return { letters: letters.slice(0, limit), more: letters.length > limit };
  }

  async sweep(decide: Decide): Promise<{ removed: number; kept: number }> {
    const queue = await this.#queue();
    const retention = await retentionMs(queue);
    const end = Date.now() + CLOCK_SKEW_MS;
    const done = { removed: 0, kept: 0 };
    await this.#visit(queue, async (message) => {
      if (message.sentAt > end) return "keep";
      const decision = await decide(toLetter(message, retention));
      if (decision === "remove") await twice([message.receipt], "deleting a dead letter", (receipts) => queue.remove(receipts));
      done[decision === "remove" ? "removed" : "kept"]++;
      return decision;
    });
    return done;
  }

  async count(): Promise<number> {
    return total(await (await this.#queue()).attributes());
  }

  /**
   * Takes letters until none comes, and gives back at the end what is kept, also after an error. Letters that were seen show again when
   * this takes longer than a look: a round of nothing else is no end, only as many in a row as it takes to meet each of them again.
   */
  async #visit(queue: Wire, each: (message: Message) => Promise<Decision>): Promise<void> {
    const seen = new Set<string>();
    const held = new Map<string, string>();
    let stale = 0;
    try {
      for (;;) {
        const messages = await queue.receive({ max: TEN, waitSeconds: WAIT_SECONDS, visibilitySeconds: LOOK_SECONDS });
        for (const { id, receipt } of messages) held.set(id, receipt);
        const fresh = messages.filter(({ id }) => !seen.has(id));
        stale = fresh.length > 0 ? 0 : stale + 1;
        if (messages.length === 0 || stale > seen.size / TEN + 1) return;
        for (const message of fresh) {
          seen.add(message.id);
          const next = await each(message);
          if (next === "remove") held.delete(message.id);
          if (next === "stop") return;
        }
      }
    } finally {
      const back = batchesOf([...held.values()]);
      while (back.length > 0) {
        // where it fails they come back by themselves
        await Promise.allSettled(back.splice(0, SIDE_BY_SIDE).map((receipts) => queue.hide(receipts, 0)));
      }
    }
  }
}

/** The queue that `url` names, else the target of the queue's redrive policy. */
export async function findLetterQueue(queue: Wire, url: string | null): Promise<Wire> {
  if (url !== null) return queue.at(url);
  const policy = redrivePolicy.safeParse((await queue.attributes())["RedrivePolicy"]);
  const target = policy.success ? partsOfArn(policy.data.deadLetterTargetArn) : null;
  if (target === null) {
    throw new RelayError("QUEUE_UNAVAILABLE", "the queue has no dead-letter queue: give it a redrive policy, or set `deadLetters:`");
  }
  return queue.at(await queue.urlOf(target));
}

/** Where the service moves records, and after how many receives: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html */
export const redrivePolicy = z
  .string()
  .transform((text, context) => {
    try {
      const json: unknown = JSON.parse(text);
      return json;
    } catch {
      context.addIssue({ code: "custom", message: "not JSON" });
      return z.NEVER;
    }
  })
  .pipe(z.object({ deadLetterTargetArn: z.string(), maxReceiveCount: z.coerce.number().nullish() }));

/** Messages of a queue, delayed and hidden ones included. */
export function total(attributes: Readonly<Record<string, string>>): number {
  const { ApproximateNumberOfMessages: waiting, ...rest } = attributes;
  const others = [rest["ApproximateNumberOfMessagesNotVisible"], rest["ApproximateNumberOfMessagesDelayed"]];
  return [waiting, ...others].reduce((sum, count) => sum + Number(count ?? 0), 0);
}

function toMessage({ body, code, text, attempts, firstAt, lastAt }: NewDeadLetter): Outgoing {
  const attributes = { code, text, attempts: String(attempts), first: firstAt, last: lastAt };
  return { body, delaySeconds: 0, attributes: Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, plain(value)])) };
}

/** Attributes must not be empty, and services differ in what beyond ASCII they take. */
function plain(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, TEXT_LENGTH) || "-";
}

/**
 * Counted from a letter's sending. What SQS itself moved keeps the time at which it was first sent, and so expires earlier:
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html#understanding-message-retention-period
 * null where this process may not ask, or the service does not say.
 */
async function retentionMs(queue: Wire): Promise<number | null> {
  const attributes = await queue.attributes().catch((): Awaited<ReturnType<Wire["attributes"]>> => ({}));
  const seconds = Number(attributes["MessageRetentionPeriod"]);
  return seconds > 0 ? seconds * 1000 : null;
}

function toLetter({ id, body, sentAt, receiveCount, attributes }: Message, retention: number | null): DeadLetter {
  const sent = new Date(sentAt).toISOString();
  const {
    code = "UNKNOWN",
    text = "moved by the queue service: received too often without being settled",
    attempts,
    first,
    last,
  } = attributes;
  const expiresAt = retention === null ? null : new Date(sentAt + retention).toISOString();
  return { id, body, code, text, attempts: Number(attempts ?? receiveCount), firstAt: first ?? sent, lastAt: last ?? sent, expiresAt };
}

/** Keeps the result; forgets an error. */
function onceDone<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => {
    made ??= make().catch((thrown: unknown) => {
      made = null;
      throw thrown;
    });
    return made;
  };
}
