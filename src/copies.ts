/** Several copies of one record in a batch: one stands for all of them. */
import { encode, type RenewRequest } from "./event.ts";
import { groupBy } from "./group.ts";
import type { QueueRecord } from "./queue/queue.ts";

export interface Due {
  readonly record: QueueRecord;
  readonly request: RenewRequest;
}
export interface Work extends Due {
  /** To be acknowledged once `record` is settled, whatever became of it; not before. */
  readonly copies: readonly QueueRecord[];
}

/**
 * A deferral that failed half-way leaves both the record and its copy, and each of them would be copied again: in a bad hour they multiply.
 * The one that was tried most runs. Copies are equal in all but attempts and waits, so nothing can be in one that is not in the other:
 * a redelivery of the same push has a receive time of its own, another look of the same confirmation its own step, and both run.
 */
export function withoutCopies(due: readonly Due[]): Work[] {
  const alike = groupBy(due, ({ request }) => encode({ ...request, attempt: 0, notBefore: null, refusedSince: null }));
  return [...alike.values()].flatMap((each) => {
    const [first, ...others] = each.toSorted((a, b) => b.request.attempt - a.request.attempt);
    return first ? [{ ...first, copies: others.map(({ record }) => record) }] : [];
  });
}
