/** Dead letters by their reason: how many, since when, an example, and what to do. */
import { ADVICE } from "./outcome.ts";
import type { DeadLetter } from "./queue/queue.ts";

/** What to do about letters of a reason that no consumer gives; those that one gives are in ADVICE. */
const OTHERS = {
  UNPARSED:
    "an authenticated delivery that this version could not read; see its text with `mpo-relay dlq show`. Where every one of a webhook comes so, its `provider` is that of another registry: write the right one. Else update the relay. Then `mpo-relay dlq redrive --cluster unparsed`",
  UNKNOWN:
    "the queue service moved it by its own redrive policy: a consumer crashed on it or was too slow, again and again. Look at the consumer's log, then `mpo-relay dlq redrive`",
};
const WHAT_TO_DO: ReadonlyMap<string, string> = new Map(Object.entries({ ...ADVICE, ...OTHERS }));

export function whatToDo(code: string): string {
  return WHAT_TO_DO.get(code) ?? "a reason that this version does not know, of a newer relay maybe; `mpo-relay dlq show` prints its text";
}

/** `oldestAt`: when the first of them became a dead letter. `expiresAt`: when the queue service deletes the first of them; null: never, or not known. */
export interface Reason {
  readonly code: string;
  readonly count: number;
  readonly oldestAt: string;
  readonly expiresAt: string | null;
  /** The oldest one's id. */
  readonly example: string;
}

/** Counts one letter more. What it keeps grows with the reasons, not with the letters. */
export function tally(reasons: Map<string, Reason>, { code, lastAt, expiresAt, id }: Omit<DeadLetter, "body">): void {
  const known = reasons.get(code);
  const isOldest = !known || Date.parse(lastAt) < Date.parse(known.oldestAt);
  reasons.set(code, {
    code,
    count: (known?.count ?? 0) + 1,
    oldestAt: isOldest ? lastAt : known.oldestAt,
    example: isOldest ? id : known.example,
    expiresAt: earlier(known?.expiresAt ?? null, expiresAt),
  });
}

function earlier(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return Date.parse(a) < Date.parse(b) ? a : b;
}
