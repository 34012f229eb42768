/** The long poll of every loop that takes records. A queue that does not answer is an alarm and a pause, and the loop goes on. */
import { setTimeout as sleep } from "node:timers/promises";
import { LONGEST_QUEUE_PAUSE_MS, POLL_SECONDS, QUEUE_PAUSE_MS, QUEUE_TOLD_AFTER_MS } from "./limits.ts";
import { createNews } from "./news.ts";
import type { Observer } from "./observe.ts";
import { ADVICE, toRelayError } from "./outcome.ts";
import type { Queue, QueueRecord, ReceiveOptions } from "./queue/queue.ts";

/** `whose` goes into the alarm: the cluster, or the webhook, whose queue it is. */
export interface Taker extends Pick<ReceiveOptions, "max" | "visibilitySeconds"> {
  readonly queue: Pick<Queue, "receive">;
  readonly observer: Observer;
  readonly whose: Readonly<Record<string, string>>;
}

/**
 * Each call gives the next records: [] when nothing came in time, when the queue did not answer, and at once when `signal` is aborted.
 * Trouble is told until the queue answers again, and asked about ever more rarely. A refusal is an alarm at once, silence when it lasts.
 */
export function createTaker({ queue, observer, whose, max, visibilitySeconds }: Taker, signal: AbortSignal): () => Promise<QueueRecord[]> {
  let failures = 0;
  let since = 0;
  const news = createNews();
  return async () => {
    try {
      const records = await queue.receive({ max, visibilitySeconds, waitSeconds: POLL_SECONDS, signal });
      if (failures > 0) observer.outcome({ event: "process", outcome: "QUEUE_ANSWERS", ...whose });
      failures = 0;
      news.over();
      return records;
    } catch (thrown) {
      if (signal.aborted) return [];
      const { code, message: why } = toRelayError(thrown, "QUEUE_UNAVAILABLE");
      if (failures === 0) {
        since = Date.now();
        observer.outcome({ event: "process", outcome: "QUEUE_SILENT", ...whose, why });
      }
      const lasts = code !== "QUEUE_UNAVAILABLE" || Math.abs(Date.now() - since) >= QUEUE_TOLD_AFTER_MS;
      if (lasts && news.isNews(code)) observer.alarm(code, { what: ADVICE[code] ?? why, ...whose, why });
      await pause(signal, Math.min(LONGEST_QUEUE_PAUSE_MS, QUEUE_PAUSE_MS * 2 ** Math.min(10, failures)));
      failures += 1;
      return [];
    }
  };
}

/** Ends early when `signal` is aborted. */
export async function pause(signal: AbortSignal, ms = QUEUE_PAUSE_MS): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
