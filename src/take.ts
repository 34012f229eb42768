/** The long poll of every loop that takes records. A queue that does not answer is an alarm and a pause, and the loop goes on. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Observer } from "./observe.ts";
import { ADVICE, toRelayError } from "./outcome.ts";
import type { Queue, QueueRecord, ReceiveOptions } from "./queue/queue.ts";

const WAIT_SECONDS = 20;
const PAUSE_MS = 1_000;

/** `whose` goes into the alarm: the cluster, or the webhook, whose queue it is. */
export interface Taker {
  readonly queue: Pick<Queue, "receive">;
  readonly observer: Observer;
  readonly whose: Readonly<Record<string, string>>;
}

/** [] when nothing came in time, when the queue did not answer, and at once when `signal` is aborted. */
export async function take(
  { queue, observer, whose }: Taker,
  options: Pick<ReceiveOptions, "max" | "visibilitySeconds">,
  signal: AbortSignal,
): Promise<QueueRecord[]> {
  try {
    return await queue.receive({ ...options, waitSeconds: WAIT_SECONDS, signal });
  } catch (thrown) {
    if (signal.aborted) return [];
    const error = toRelayError(thrown, "QUEUE_UNAVAILABLE");
    observer.alarm(error.code, { what: ADVICE.QUEUE_UNAVAILABLE ?? "", ...whose, why: error.message });
    await pause(signal);
    return [];
  }
}

/** Ends early when `signal` is aborted. */
export async function pause(signal: AbortSignal, ms = PAUSE_MS): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
