/** The consumer's loop in a Node process: long-poll, work, wait while the circuit is open, until it is told to stop. */
import { setTimeout as sleep } from "node:timers/promises";
import { consume, type ConsumeContext } from "./consume.ts";
import { ADVICE, toRelayError } from "./outcome.ts";
import type { Queue, QueueRecord } from "./queue/queue.ts";

/** An embedded queue gives as many at once; SQS gives ten. More at once means fewer looks at one override. */
const BATCH = 200;
const WAIT_SECONDS = 20;
const VISIBILITY_SECONDS = 120;
/** Runs start only within this time, so that the last one ends well before the records show again. */
const START_WITHIN_MS = 60_000;
const QUEUE_PAUSE_MS = 1_000;

/** Runs until `signal` is aborted; resolves when the batch in hand is settled. */
export async function work(context: ConsumeContext & { readonly queue: Queue }, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (context.circuit.error !== null && !(await context.circuit.probe())) {
      await pause(context.circuit.waitMs, signal);
      continue;
    }
    const records = await take(context, signal);
    if (records.length === 0) continue;
    const started = Date.now();
    const { untouched } = await consume(records, context, () => !signal.aborted && Date.now() - started < START_WITHIN_MS);
    await giveBack(untouched, context);
  }
}

async function take({ queue, observer, cluster }: ConsumeContext & { queue: Queue }, signal: AbortSignal): Promise<QueueRecord[]> {
  try {
    return await queue.receive({ max: BATCH, waitSeconds: WAIT_SECONDS, visibilitySeconds: VISIBILITY_SECONDS, signal });
  } catch (thrown) {
    if (signal.aborted) return [];
    const error = toRelayError(thrown, "QUEUE_UNAVAILABLE");
    observer.alarm(error.code, { what: ADVICE.QUEUE_UNAVAILABLE ?? "", cluster, why: error.message });
    await pause(QUEUE_PAUSE_MS, signal);
    return [];
  }
}

/** By a copy, like every deferral: a record that was given back would count as received once more. */
async function giveBack(records: readonly QueueRecord[], { queue }: { queue: Queue }): Promise<void> {
  if (records.length === 0) return;
  await queue.defer(records.map((record) => ({ record, next: { body: record.body } }))).catch(() => {
    // they show again by themselves when their visibility ends
  });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
