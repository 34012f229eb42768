/**
 * The second use case: look at the override, decide, nudge it. Six steps, in an order that was found by a model
 * (test/model.test.ts): each clause is there because a schedule lost a push without it.
 */
import type { Override, Overrides } from "./cluster/overrides.ts";
import type { Tuning } from "./config.ts";
import { unlessChanged } from "./conflict.ts";
import { asFollowed, encode, type RenewRequest, SWEEP } from "./event.ts";
import { CLOCKS_DIFFER_MS, HOLD_COOLDOWNS, HOLD_SAME_DIGEST_COOLDOWNS, MAX_DELAY_SECONDS, REDELIVERED_MS } from "./limits.ts";
import { type Nudge, nudgeAnnotations, nudgeOf } from "./nudge.ts";
import { refuseOdd } from "./odd.ts";
import { type Outcome, RelayError } from "./outcome.ts";
import type { NewRecord } from "./queue/queue.ts";
import { verdictOf } from "./status.ts";

export interface RenewContext {
  readonly overrides: Overrides;
  /** Stores records in this cluster's queue. */
  readonly send: (records: readonly NewRecord[]) => Promise<void>;
  readonly now: () => Date;
  readonly tuning: Tuning;
  /** Resolves when the next patch may go out (`tuning.patchesPerSecond`). */
  readonly pace: () => Promise<void>;
}

/** Throws RelayError for what the cluster or the queue cannot do now, and INVALID for an override that cannot be read. */
export function renew(request: RenewRequest, context: RenewContext): Promise<Outcome> {
  return unlessChanged(() => renewOnce(request, context), "the override");
}

async function renewOnce(told: RenewRequest, context: RenewContext): Promise<Outcome> {
  const override = await context.overrides.get(told.module);
  if (!override) return { kind: "skipped", reason: "NOT_OVERRIDDEN" };
  const request = asFollowed(told, override.imageTag);
  refuseOdd(override, request.tag);
  if (override.imageTag !== request.tag) return { kind: "skipped", reason: "TAG_DIFFERS", detail: { follows: override.imageTag } };
  if (override.source !== null && request.source !== null && override.source !== request.source) {
    return { kind: "skipped", reason: "OTHER_SOURCE", detail: { follows: override.source } };
  }

  // a sweep looks at states and comes again, so a state may end what it found; a push is ended by none
  if (request.webhook === SWEEP && override.status.imageDigest === request.digest) return { kind: "done", code: "CURRENT" };
  const newest = nudgeOf(override);
  let nudge = request.nudge;
  if (newest?.key === request.key && newest.nudge >= nudge) {
    nudge = newest.nudge;
    if (!isRedelivery(request, override, newest, context.now())) {
      await context.send([confirmRecord(request, nudge, override, newest.at, context.tuning)]);
      return { kind: "done", code: "REPEATED", detail: { nudge } };
    }
    nudge += 1;
  } else if (newest && isCovered(newest, request, context.now())) {
    return { kind: "done", code: "JOINED", detail: { coveredBy: newest.key } };
  }
  const isOlder = newest !== null && isLater(newest, request, context.now());
  const rival = isOlder ? newest.digest : request.rival;

  const wait = newest ? holdMs(newest, request, override, context) : 0;
  if (wait > 0) return { kind: "deferred", seconds: wait / 1000, why: "another nudge of this override is still being worked on" };

  await context.pace();
  const patchedAt = context.now();
  // what is on its way there is still the later push's, as far as anybody knows, and the next one is compared with that
  const later = isOlder && { digest: rival, index: false, pushedAt: newest.pushedAt?.toISOString() ?? null };
  const mark = later ? { ...request, ...later, receivedAt: newest.receivedAt.toISOString() } : request;
  const patched = await context.overrides.annotate(override, nudgeAnnotations(mark, nudge, newest, patchedAt));
  if (!patched) return { kind: "skipped", reason: "NOT_OVERRIDDEN" };
  const kept = nudgeOf(patched);
  if (kept?.key !== request.key || kept.nudge !== nudge) throw new RelayError("FORBIDDEN_BY_POLICY", NOT_KEPT);
  await context.send([confirmRecord({ ...request, rival }, nudge, override, patchedAt, context.tuning)]);
  return { kind: "done", code: "NUDGED", detail: { nudge, patchedAt: patchedAt.toISOString(), before: override.status.imageDigest } };
}

/** A success is not enough: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ (mutating) */
const NOT_KEPT =
  "the API server took the patch, and the override does not hold it: a mutating admission policy or webhook takes annotations of the relay out, so Deckhouse sees no nudge";

function isRedelivery(request: RenewRequest, override: Override, newest: Nudge, now: Date): boolean {
  const arrived = request.digest !== null && override.status.imageDigest === request.digest;
  return !arrived && now.getTime() - newest.at.getTime() > REDELIVERED_MS;
}

/**
 * The newest nudge saw this push too: it was patched before that one, or its sender calls it older and we had received it by then. What a
 * sweep saw in the registry was there before any nudge that went out later.
 */
export function isCovered(newest: Nudge, request: RenewRequest, now: Date): boolean {
  const wasPatched = newest.key !== request.key && newest.recent.includes(request.key);
  // by a clock that was ahead, maybe by days, it would cover whatever a sweep finds until then
  const isSwept = request.webhook === SWEEP && newest.key !== request.key && newest.at.getTime() <= now.getTime() + CLOCKS_DIFFER_MS;
  return wasPatched || ((isSwept || isLater(newest, request, now)) && wentOutAfter(newest, request));
}

/**
 * The same sender says that the newest nudge's push was later than this one. Half of a proof that the nudge saw this push too: clocks of a
 * registry's replicas may differ by minutes, so the nudge must also have gone out after we received this push ({@link wentOutAfter}).
 * Neither is one alone, nor is an equal digest: push A, push B, push A again would lose its last one.
 */
function isLater(newest: Nudge, request: RenewRequest, now: Date): boolean {
  if (newest.key === request.key || newest.webhook !== request.webhook) return false;
  const later = newest.pushedAt ?? newest.receivedAt;
  if (later.getTime() > now.getTime() + CLOCKS_DIFFER_MS) return false; // by a clock that was ahead: it proves nothing until we are there
  if (newest.pushedAt && request.pushedAt) return newest.pushedAt.getTime() > Date.parse(request.pushedAt);
  return !newest.pushedAt && !request.pushedAt && newest.receivedAt.getTime() > Date.parse(request.receivedAt) + CLOCKS_DIFFER_MS;
}

const wentOutAfter = (newest: Nudge, request: RenewRequest) => newest.at.getTime() > Date.parse(request.receivedAt) + CLOCKS_DIFFER_MS;

/** Milliseconds to wait before this override may be patched: a patch in the middle of a deploy can restart Deckhouse twice. */
function holdMs(newest: Nudge, request: RenewRequest, override: Override, context: RenewContext): number {
  const { cooldownMs } = context.tuning;
  const age = context.now().getTime() - newest.at.getTime();
  if (Math.abs(age) < cooldownMs) return Math.max(100, cooldownMs - age);
  if (age < 0) return 0; // patched by a clock that was ahead, maybe by days: nobody knows when, and nobody would wait so long
  const { imageDigest, message, updatedAt } = override.status;
  if (newest.key === request.key || verdictOf(message) !== "ok") return 0;
  const arrived = newest.digest !== null && imageDigest === newest.digest;
  if (arrived) return 0;
  if (request.digest !== null && imageDigest === request.digest && newest.digest !== request.digest) {
    // Deckhouse took this digest after the newest nudge, and so was not in the middle of deploying that one's
    if (Date.parse(updatedAt ?? "") > newest.at.getTime() + Math.min(CLOCKS_DIFFER_MS, cooldownMs)) return 0;
    return waitMs(age, HOLD_SAME_DIGEST_COOLDOWNS * cooldownMs, 4 * cooldownMs);
  }
  return newest.digest === null ? 0 : waitMs(age, HOLD_COOLDOWNS * cooldownMs, cooldownMs);
}

/** Longer and longer up to the end, since each wait is a write to the queue for each record; 0 at the end. */
function waitMs(age: number, end: number, least: number): number {
  return age < end ? Math.max(least, Math.min(age / 2, end - age)) : 0;
}

/** The record that looks later whether the nudge took effect. It carries what the status held when we patched. */
function confirmRecord(request: RenewRequest, nudge: number, seen: Override, patchedAt: Date, tuning: Tuning): NewRecord {
  const firstLook = tuning.looksMs[0] ?? 10_000;
  const { imageDigest, message, updatedAt } = seen.status;
  const record: RenewRequest = {
    ...request,
    kind: "confirm",
    nudge,
    attempt: 0,
    notBefore: null,
    refusedSince: null,
    look: { step: 0, digest: imageDigest, message, updatedAt, patchedAt: patchedAt.toISOString() },
  };
  return { body: encode(record), delaySeconds: Math.min(MAX_DELAY_SECONDS, firstLook / 1000) };
}
