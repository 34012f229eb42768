/** The consumer's loop in a Node process: long-poll, work, wait while the circuit is open, until it is told to stop. */
import { consume, type ConsumeContext } from "./consume.ts";
import { toAscii } from "./event.ts";
import { BATCH, START_WITHIN_MS, VISIBILITY_SECONDS } from "./limits.ts";
import { ADVICE, toRelayError } from "./outcome.ts";
import type { Queue, QueueRecord } from "./queue/queue.ts";
import { createTaker, pause } from "./take.ts";

/** Runs until `signal` is aborted; resolves when the batch in hand is settled. */
export async function work(context: ConsumeContext & { readonly queue: Queue }, signal: AbortSignal): Promise<void> {
  const whose = { cluster: context.cluster };
  const take = createTaker({ ...context, whose, max: BATCH, visibilitySeconds: VISIBILITY_SECONDS }, signal);
  while (!signal.aborted) {
    if (context.circuit.error !== null) {
      await pause(signal, context.circuit.waitMs);
      if (signal.aborted || !(await context.circuit.probe())) continue;
    }
    const records = await take();
    if (records.length > 0) await workOn(records, context, signal);
  }
}

/** What `consume` did not foresee must not end the loop, unseen beside an edge that goes on: the records come again, to their last receive. */
async function workOn(records: readonly QueueRecord[], context: ConsumeContext & { queue: Queue }, signal: AbortSignal): Promise<void> {
  const started = Date.now();
  try {
    const { untouched } = await consume(records, context, () => !signal.aborted && Date.now() - started < START_WITHIN_MS);
    await giveBack(untouched, context);
  } catch (thrown) {
    const { code, message } = toRelayError(thrown);
    context.observer.alarm(code, { what: ADVICE[code] ?? message, cluster: context.cluster, why: message });
    await pause(signal);
  }
}

/** By a copy, like every deferral: a record that was given back would count as received once more. */
async function giveBack(records: readonly QueueRecord[], { queue }: { queue: Queue }): Promise<void> {
  if (records.length === 0) return;
  await queue.defer(records.map((record) => ({ record, next: { body: toAscii(record.body) } }))).catch(() => {
    // they show again by themselves when their visibility ends
  });
}
