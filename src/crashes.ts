/**
 * Which records something crashes on, where they are received without being run, too: AWS Lambda receives what it then may not hand over,
 * as it is throttled or the function does not start. From a record's last receive on, each run is counted before it begins.
 */
import { MAX_RECEIVES } from "./limits.ts";
import type { Observer } from "./observe.ts";
import { ADVICE, toRelayError } from "./outcome.ts";
import type { QueueRecord, RunCounts } from "./queue/queue.ts";

export interface CrashContext {
  readonly cluster: string;
  readonly observer: Observer;
  /** Left out: each receive is a run. */
  readonly runs?: RunCounts;
}

/** Received so often that something may crash on it. */
export const isSuspect = ({ receiveCount }: Pick<QueueRecord, "receiveCount">) => receiveCount >= MAX_RECEIVES;

/** null: it may run. Where runs cannot be counted just now it may: the queue's own last receive is far away. */
export async function whySpent(record: QueueRecord, { runs, observer, cluster }: CrashContext): Promise<string | null> {
  if (!runs || !isSuspect(record)) return null;
  try {
    const begun = await runs.begin(record);
    return begun < MAX_RECEIVES ? null : `received ${record.receiveCount} times; of its runs the last ${begun - 1} never ended`;
  } catch (thrown) {
    const { code, message: why } = toRelayError(thrown, "JOURNAL_UNAVAILABLE");
    observer.alarm(code, { what: ADVICE[code] ?? "", cluster, why });
    return null;
  }
}

/** Of records that we give back ourselves, however often: nothing crashed. A run that cannot be forgotten counts. */
export async function forgetRuns(records: readonly QueueRecord[], { runs }: CrashContext): Promise<void> {
  if (runs) await Promise.allSettled(records.filter(isSuspect).map((record) => runs.forget(record)));
}
