/** The third use case: look again until it is known whether a nudge took effect, or why not. */
import type { Override, OverrideStatus } from "./cluster/overrides.ts";
import { encode, type Look, type RenewRequest } from "./event.ts";
import { CLOCKS_DIFFER_MS, MAX_DELAY_SECONDS, RENUDGE_SECONDS, WATCH_FIRST_LOOK } from "./limits.ts";
import { nudgeOf } from "./nudge.ts";
import { type Detail, type Outcome, RelayError, toRelayError } from "./outcome.ts";
import type { Registry } from "./registry/registry.ts";
import type { RenewContext } from "./renew.ts";
import { adviceOn, verdictOf } from "./status.ts";

export interface ConfirmContext extends Omit<RenewContext, "pace"> {
  /** What tags name now; left out: nobody can be asked. */
  readonly registry?: Registry;
  /**
   * Does with the scan interval what follows from a push that took effect, once Deckhouse is known to have finished. `override` as it was
   * just read. Never throws. Left out: nothing.
   */
  readonly adopt?: (request: RenewRequest, override: Override) => Promise<void>;
}

/** Throws RelayError for what the cluster or the queue cannot do now, and UNCONFIRMED when the last look shows no effect. */
export async function confirm(record: RenewRequest, context: ConfirmContext): Promise<Outcome> {
  const { look } = record;
  if (!look) throw new RelayError("MALFORMED", "a confirm record without what the status held");
  const override = await context.overrides.get(record.module);
  if (!override) return superseded("the override is gone");
  if (override.imageTag !== record.tag) return superseded(`the override follows ${override.imageTag} now`);
  const newest = nudgeOf(override);
  if (newest?.key !== record.key || newest.nudge < record.nudge) return superseded("a nudge of another push followed");

  const request = { ...record, nudge: newest.nudge }; // the same key with a higher nudge: follow that one
  const { status } = override;
  const lastStep = context.tuning.looksMs.length - 1;
  const verdict = verdictOf(status.message);
  const isLast = look.step === lastStep;
  const named = verdict === "ok" || isLast ? await tagNow(request, isLast, context) : NOT_ASKED;
  if (verdict === "ok" && isPickedUp(request, status, look, lastStep, named)) {
    const says = await startWatch(request, status, look, context);
    if (says === "nothing") await context.adopt?.(request, override);
    return pickedUp(request, status, look, context.now());
  }
  if (verdict === "ok" && isRivals(request, status, look, lastStep))
    return superseded("the push that the sender's clock calls later is there");
  if (verdict === "refused" && look.step >= 1 && !isOfAnotherPush(status, look, lastStep)) {
    return { kind: "done", code: "REFUSED", detail: { message: status.message.slice(0, 500), advice: adviceOn(status.message) } };
  }
  if (verdict === "error" && request.retries < RENUDGE_SECONDS.length && isNewError(status, look)) return renudge(request, status, context);
  if (look.step < lastStep) return nextLook(request, look, context);
  return atTheEnd(request, status, look, named);
}

/** What the tag names now, by the registry. `why`: it was asked in vain. */
interface TagNow {
  readonly image: string | null;
  /** It names this very push, as far as its digest is known; else a later push, or an older one by a cache. */
  readonly isOurs: boolean;
  readonly why: string | null;
}

const NOT_ASKED: TagNow = { image: null, isOurs: false, why: null };

/** Asked only where the push itself does not tell what to wait for, and once more before it is given up. */
async function tagNow(request: RenewRequest, isLast: boolean, { registry }: ConfirmContext): Promise<TagNow> {
  if (!registry || (knowsDigest(request) && !isLast)) return NOT_ASKED;
  try {
    const resolved = await registry.resolve(request);
    const isOurs = resolved !== null && (request.digest === null || request.digest === resolved.digest);
    return { image: resolved?.image ?? null, isOurs, why: null };
  } catch (thrown) {
    return { ...NOT_ASKED, why: toRelayError(thrown).message };
  }
}

/**
 * The wanted digest is there; or, where none is known (or it is an index's, of which Deckhouse shows a child, whether or not the sender
 * called it one), what the registry says that the tag names now; or, where nobody can be asked, the digest changed.
 */
function isPickedUp(request: RenewRequest, status: OverrideStatus, look: Look, lastStep: number, named: TagNow): boolean {
  const isWanted = (digest: string | null) => digest !== null && status.imageDigest === digest;
  if (isWanted(request.digest) || (named.isOurs && isWanted(named.image))) {
    // it held that digest before we patched: equality proves nothing until Deckhouse must have looked, and its one worker may be busy
    const provesNothing = look.digest === status.imageDigest && look.updatedAt === status.updatedAt;
    return !provesNothing || look.step >= lastStep - 1;
  }
  return !knowsDigest(request) && named.image === null && status.imageDigest !== look.digest;
}

/**
 * Deckhouse found the image before this push's invalid and has not written since: until it must have looked at this one, that says nothing.
 * Every other refusal is of the module, whatever is pushed.
 */
function isOfAnotherPush({ message, updatedAt }: OverrideStatus, look: Look, lastStep: number): boolean {
  return /^validation/i.test(message) && message === look.message && updatedAt === look.updatedAt && look.step < lastStep - 1;
}

/** As late as an equal digest that was there before the patch counts: until then Deckhouse may not have looked. */
const isRivals = (request: RenewRequest, status: OverrideStatus, look: Look, lastStep: number) =>
  request.rival !== null && status.imageDigest === request.rival && look.step >= lastStep - 1;

const knowsDigest = (request: RenewRequest) => request.digest !== null && !request.index;

/** A download error counts when it is news since the patch, and from the second look on in any case: an identical one changes nothing. */
const isNewError = (status: OverrideStatus, look: Look) =>
  look.step >= 1 || status.message !== look.message || status.updatedAt !== look.updatedAt;

function pickedUp(request: RenewRequest, status: OverrideStatus, look: Look, now: Date): Outcome {
  const pushed = Date.parse(request.pushedAt ?? request.receivedAt);
  const detail: Detail = {
    digest: status.imageDigest,
    patchedAt: look.patchedAt,
    pickedUpAt: now.toISOString(),
    pushToPatchedMs: Date.parse(look.patchedAt) - pushed,
    pushToPickedUpMs: now.getTime() - pushed,
  };
  return { kind: "done", code: "PICKED_UP", detail };
}

/**
 * Stores the record of the first look, where the Module says anything at all; `nothing`: it will not say whether it runs. Nothing of it may
 * hold up that the pick-up is told.
 */
async function startWatch(
  request: RenewRequest,
  status: OverrideStatus,
  look: Look,
  context: ConfirmContext,
): Promise<"something" | "nothing" | "unknown"> {
  const state = await context.overrides.state(request.module).catch(() => "unknown" as const);
  if (state === null) return "nothing";
  if (state === "unknown") return "unknown";
  const step = Math.min(WATCH_FIRST_LOOK, context.tuning.looksMs.length - 1);
  const next: Look = { ...look, step, digest: status.imageDigest, pickedUpAt: context.now().toISOString() };
  const record: RenewRequest = { ...request, attempt: 0, notBefore: null, refusedSince: null, look: next };
  await context.send([{ body: encode(record), delaySeconds: Math.min(MAX_DELAY_SECONDS, (context.tuning.looksMs[step] ?? 0) / 1000) }]);
  return "something";
}

async function renudge(request: RenewRequest, status: OverrideStatus, context: ConfirmContext): Promise<Outcome> {
  const seconds = RENUDGE_SECONDS[request.retries] ?? 300;
  const { look: _, ...rest } = request;
  const again: RenewRequest = {
    ...rest,
    kind: "renew",
    nudge: request.nudge + 1,
    retries: request.retries + 1,
    attempt: 0,
    notBefore: null,
  };
  await context.send([{ body: encode(again), delaySeconds: seconds }]);
  return { kind: "done", code: "RENUDGED", detail: { message: status.message.slice(0, 500), seconds } };
}

function nextLook(request: RenewRequest, look: Look, context: ConfirmContext): Outcome {
  const step = look.step + 1;
  const { looksMs } = context.tuning;
  const due = (looksMs[step] ?? 0) - (context.now().getTime() - Date.parse(look.patchedAt));
  const gap = (looksMs[step] ?? 0) - (looksMs[look.step] ?? 0);
  // looks that fell due in an outage must not all be spent at its end, before Deckhouse is at work again
  const seconds = (due > gap / 2 ? due : gap) / 1000;
  return {
    kind: "deferred",
    seconds,
    why: `look ${step + 1}`,
    next: { ...request, attempt: 0, refusedSince: null, look: { ...look, step } },
  };
}

function atTheEnd(request: RenewRequest, status: OverrideStatus, look: Look, named: TagNow): Outcome {
  const { message, imageDigest } = status;
  if (named.image !== null && named.image === imageDigest) {
    if (!named.isOurs) return superseded("the tag names another image by now, and Deckhouse runs that one");
    return {
      kind: "done",
      code: "UNVERIFIED",
      detail: { digest: imageDigest, why: `what the tag names runs, and Deckhouse says "${message.slice(0, 300)}"` },
    };
  }
  if (verdictOf(message) === "ok") {
    const moved = status.updatedAt !== null && Date.parse(status.updatedAt) > Date.parse(look.patchedAt) + CLOCKS_DIFFER_MS;
    if (knowsDigest(request) && moved) return superseded("Deckhouse deployed after the nudge, and another digest than this push's");
    if (!knowsDigest(request) && named.image === null)
      return { kind: "done", code: "UNVERIFIED", detail: { digest: imageDigest, ...(named.why !== null && { why: named.why }) } };
  }
  throw new RelayError(
    "UNCONFIRMED",
    `override ${request.module} with tag ${request.tag} shows digest ${imageDigest ?? "none"}, wanted ${request.digest ?? named.image ?? "unknown"}${named.why === null ? "" : ` (${named.why})`}, message "${message.slice(0, 300)}"`,
  );
}

const superseded = (why: string): Outcome => ({ kind: "done", code: "SUPERSEDED", detail: { why } });
