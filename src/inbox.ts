/**
 * The edge's other entrance: a registry's events from a queue. Each message goes through `receive` like a delivery by HTTP, and is
 * acknowledged once that has stored it or found it not for us. Until then it stays in the queue, which shows it again.
 */
import { providerOf, queuedDelivery, type QueuedDelivery } from "./admit.ts";
import { INBOX_BATCH, INBOX_MAX_BACKOFF_SECONDS, INBOX_MAX_RECEIVES, INBOX_VISIBILITY_SECONDS } from "./limits.ts";
import { ADVICE, type ErrorCode, RelayError, toRelayError } from "./outcome.ts";
import type { Queue, QueueRecord } from "./queue/queue.ts";
import { receive, type ReceiveContext } from "./receive.ts";
import { createTaker, pause } from "./take.ts";
import { unparsedLetter } from "./unparsed.ts";

export interface InboxContext extends ReceiveContext {
  readonly webhook: string;
  readonly queue: Pick<Queue, "receive" | "acknowledge" | "extend">;
  readonly random?: () => number;
}

type Settling = Omit<InboxContext, "queue"> & { readonly queue: Pick<Queue, "extend"> };

/** None of the messages is to blame: these count towards no last receive. */
const STORE_AWAY: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["QUEUE_UNAVAILABLE", "QUEUE_REFUSED"]);

/** Runs until `signal` is aborted; resolves when the messages in hand are acknowledged or left in the queue. */
export async function takeIn(context: InboxContext, signal: AbortSignal): Promise<void> {
  const whose = { webhook: context.webhook };
  const take = createTaker({ ...context, whose, max: INBOX_BATCH, visibilitySeconds: INBOX_VISIBILITY_SECONDS }, signal);
  while (!signal.aborted) {
    const { settled, left } = await settleDeliveries(await take(), context);
    await acknowledge(settled, context);
    if (left.length > 0) await pause(signal);
  }
}

/** `settled` may be acknowledged; `left` stays in the queue, hidden for longer each time. Never throws. */
export async function settleDeliveries(
  records: readonly QueueRecord[],
  context: Settling,
): Promise<{ settled: QueueRecord[]; left: QueueRecord[] }> {
  const ends = await Promise.all(records.map((record) => isSettled(record, context)));
  const left = records.filter((_, index) => !ends[index]);
  await Promise.all(left.map((record) => backOff(record, context)));
  return { settled: records.filter((_, index) => ends[index]), left };
}

/** False: it stays in the queue. */
async function isSettled(record: QueueRecord, context: Settling): Promise<boolean> {
  const delivery = queuedDelivery(context.webhook, record);
  const error = await errorOf(delivery, context);
  if (error === null) return true;
  if (STORE_AWAY.has(error.code) || record.receiveCount < INBOX_MAX_RECEIVES) return false;
  return isKept(delivery, `received ${record.receiveCount} times, never settled: ${error.message}`, context);
}

/** null: it is stored, or not for us. */
async function errorOf(delivery: QueuedDelivery, context: Settling): Promise<RelayError | null> {
  try {
    const { outcome } = await receive(delivery, context);
    if (outcome.kind === "done" || outcome.kind === "skipped") return null;
    return outcome.kind === "failed" ? outcome.error : new RelayError("INTERNAL", `${outcome.kind} at the edge`);
  } catch (thrown) {
    const error = toRelayError(thrown);
    tell(error, context);
    return error;
  }
}

/** Among the deliveries that could not be read: there people see it, and `dlq redrive` gives it another run. */
async function isKept(delivery: QueuedDelivery, why: string, context: Settling): Promise<boolean> {
  try {
    const webhook = context.config.webhooks[context.webhook];
    const letter = unparsedLetter(delivery, (webhook && providerOf(webhook).redact) ?? [], [why], context.now());
    if (!(await context.storeUnparsed(letter))) return false; // no room: it stays where it is
    context.observer.alarm("LAST_RECEIVE", {
      what: "a delivery from the queue failed again and again; it is kept raw: `mpo-relay dlq list --cluster unparsed`, redrive it after the cause is gone",
      webhook: context.webhook,
      why,
    });
    return true;
  } catch (thrown) {
    tell(toRelayError(thrown), context);
    return false;
  }
}

/** Where it fails the messages come again, each with the key that it had. */
async function acknowledge(records: readonly QueueRecord[], context: InboxContext): Promise<void> {
  if (records.length === 0) return;
  await context.queue.acknowledge(records).catch((thrown: unknown) => tell(toRelayError(thrown, "QUEUE_UNAVAILABLE"), context));
}

/** Hidden for longer each time, so that what cannot be stored does not stand before what can. */
async function backOff(record: QueueRecord, { queue, random = Math.random }: Settling): Promise<void> {
  const seconds = Math.min(INBOX_MAX_BACKOFF_SECONDS, 2 ** record.receiveCount) * (0.5 + random() / 2);
  await queue.extend(record, seconds).catch(() => {
    // it shows again when its visibility ends
  });
}

function tell({ code, message }: RelayError, { observer, webhook }: Pick<InboxContext, "observer" | "webhook">): void {
  observer.alarm(code, { what: ADVICE[code] ?? message, webhook, why: message });
}
