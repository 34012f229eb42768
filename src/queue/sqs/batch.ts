/** Batches as SQS takes them: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
import { RelayError } from "../../outcome.ts";
import { cutIntoBatches } from "../batches.ts";

/** Entries of a batch, and messages of one receive. */
export const TEN = 10;
/** Below the 256 KiB that a batch may weigh, with room for attributes. */
const BATCH_BYTES = 240 * 1024;

/** Cuts a list into batches of at most ten entries whose bodies weigh at most 240 KiB together, in order. */
export function batchesOf<T>(items: readonly T[], bytesOf: (item: T) => number = () => 0): T[][] {
  return cutIntoBatches(items, { entries: TEN, bytes: BATCH_BYTES }, bytesOf);
}

/** Does a batch, then once more for those entries that failed. Throws QUEUE_UNAVAILABLE when some fail again. */
export async function twice<T>(items: readonly T[], what: string, run: (items: readonly T[]) => Promise<number[]>): Promise<void> {
  const failed = pick(items, await run(items));
  if (failed.length === 0) return;
  const again = await run(failed);
  if (again.length > 0) throw new RelayError("QUEUE_UNAVAILABLE", `${what}: the queue refused ${again.length} of ${items.length} entries`);
}

function pick<T>(items: readonly T[], indexes: readonly number[]): T[] {
  return items.filter((_, index) => indexes.includes(index));
}
