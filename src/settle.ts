/** What becomes of a record after its run: acknowledge, defer or bury. Pure; the table itself is TREATMENT in outcome.ts. */
import { encode, type RenewRequest } from "./event.ts";
import { entryOf, type NewEntry, type Stage } from "./journal/journal.ts";
import { FORBIDDEN_BURIED_AFTER_MS, FORBIDDEN_FIRST_SECONDS, MAX_BACKOFF_SECONDS, MAX_DELAY_SECONDS } from "./limits.ts";
import { type Detail, type Outcome, type RelayError, TREATMENT } from "./outcome.ts";
import type { NewDeadLetter, NewRecord } from "./queue/queue.ts";

export type Settlement = { kind: "acknowledge" } | { kind: "defer"; next: NewRecord } | { kind: "bury"; letter: NewDeadLetter };

/** `random` is in [0, 1): full jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ */
export function settlementOf(outcome: Outcome, request: RenewRequest, now: Date, random: () => number = Math.random): Settlement {
  if (outcome.kind === "done" || outcome.kind === "skipped") return { kind: "acknowledge" };
  if (outcome.kind === "deferred") {
    return defer(outcome.next ?? { ...request, attempt: request.attempt + 1 }, outcome.seconds, now);
  }
  const { error } = outcome;
  const treatment = TREATMENT[error.code];
  if (treatment === "bury") return { kind: "bury", letter: letterOf(request, error, now) };
  const again = { ...request, attempt: request.attempt + 1 };
  if (treatment === "forbidden") {
    const refusedSince = request.refusedSince ?? now.toISOString();
    const refusedMs = now.getTime() - Date.parse(refusedSince);
    if (refusedMs > FORBIDDEN_BURIED_AFTER_MS) return { kind: "bury", letter: letterOf(request, error, now) };
    const seconds = Math.max(FORBIDDEN_FIRST_SECONDS, refusedMs / 1000) * (1 + random() / 4);
    return defer({ ...again, refusedSince }, Math.min(MAX_DELAY_SECONDS, seconds), now);
  }
  const backoff = 0.5 + random() * Math.min(MAX_BACKOFF_SECONDS, 2 ** Math.min(9, again.attempt));
  // while nobody answers nobody refuses: after a weekend's outage a first 403 is no second day of it
  const next = treatment === "circuit" ? { ...again, refusedSince: null } : again;
  return defer(next, Math.max(backoff, error.retryAfterSeconds ?? 0), now);
}

/** A wait that is longer than the queue can delay goes in hops; the due time travels in the record. */
function defer(request: RenewRequest, seconds: number, now: Date): Settlement {
  const long = seconds > MAX_DELAY_SECONDS;
  const notBefore = long ? new Date(now.getTime() + seconds * 1000).toISOString() : null;
  return { kind: "defer", next: { body: encode({ ...request, notBefore }), delaySeconds: Math.min(MAX_DELAY_SECONDS, seconds) } };
}

/** The next hop of a record that is not due yet, or null when it is. A hop is no attempt. */
export function hopOf(request: RenewRequest, now: Date): Settlement | null {
  const seconds = request.notBefore === null ? 0 : (Date.parse(request.notBefore) - now.getTime()) / 1000;
  return seconds > 0.05 ? { kind: "defer", next: { body: encode(request), delaySeconds: Math.min(MAX_DELAY_SECONDS, seconds) } } : null;
}

function letterOf(request: RenewRequest, error: RelayError, now: Date): NewDeadLetter {
  return {
    body: encode(request),
    code: error.code,
    text: error.message,
    attempts: request.attempt + 1,
    firstAt: request.receivedAt,
    lastAt: now.toISOString(),
  };
}

/** What the journal is told of it; null: a look that only leads to the next one is nothing to write down. */
export function entryAbout(request: RenewRequest, outcome: Outcome, settlement: Settlement, now: Date): NewEntry | null {
  const at = now.toISOString();
  const entry = (stage: Stage, detail: Detail) => entryOf(request, stage, at, { nudge: request.nudge, ...outcome.detail, ...detail });
  if (outcome.kind === "done") return outcome.code === "UNWATCHED" ? null : entry(outcome.code, {});
  if (outcome.kind === "skipped") return entry(outcome.reason, {});
  // what only asked whether the module came up: the pick-up stays the last that is known
  if (outcome.kind === "failed" && request.look?.pickedUpAt !== undefined && settlement.kind !== "bury") return null;
  if (outcome.kind === "failed") return entry(outcome.error.code, { why: outcome.error.message, buried: settlement.kind === "bury" });
  return request.look ? null : entry("DEFERRED", { why: outcome.why });
}

/** Whether the end of the newest of a group is that of the others too. Rescans are of several modules, each with an end of its own. */
export const isShared = ({ kind }: RenewRequest, outcome: Outcome) =>
  kind !== "rescan" && (outcome.kind !== "done" || outcome.code === "NUDGED");

/** What the newest one's end is for another of its group: covered by its nudge, or the same push once more. */
export function sharedBy({ key }: RenewRequest, outcome: Outcome, other: RenewRequest): Outcome {
  if (outcome.kind !== "done") return outcome;
  return other.key === key ? { kind: "done", code: "REPEATED" } : { kind: "done", code: "JOINED", detail: { coveredBy: key } };
}
