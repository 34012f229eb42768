/** The third use case: look again until it is known whether a nudge took effect, or why not. */
import type { Override, OverrideStatus } from "./cluster/overrides.ts";
import { encode, type Look, type RenewRequest, SWEEP } from "./event.ts";
import { CLOCKS_DIFFER_MS, MAX_DELAY_SECONDS, RENUDGE_SECONDS, UNSEEN_LOOK, WATCH_FIRST_LOOK } from "./limits.ts";
import { isTakenOver, nudgeOf } from "./nudge.ts";
import { refuseOdd } from "./odd.ts";
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

/** Throws RelayError for what the cluster or the queue cannot do now, INVALID for an override that cannot be read, and UNCONFIRMED when the last look shows no effect. */
export async function confirm(record: RenewRequest, context: ConfirmContext): Promise<Outcome> {
  const { look } = record;
  if (!look) throw new RelayError("MALFORMED", "a confirm record without what the status held");
  const override = await context.overrides.get(record.module);
  if (!override) return superseded("the override is gone");
  refuseOdd(override, record.tag);
  if (override.imageTag !== record.tag) return superseded(`the override follows ${override.imageTag} now`);
  const newest = nudgeOf(override);
  if (isTakenOver(newest, record, look.patchedAt)) return superseded("a nudge of another push followed");

  // the same key with a higher nudge: follow that one
  const request = newest?.key === record.key && newest.nudge > record.nudge ? { ...record, nudge: newest.nudge } : record;
  const { status } = override;
  const lastStep = context.tuning.looksMs.length - 1;
  const verdict = verdictOf(status.message);
  const isLast = look.step === lastStep;
  const named = verdict === "ok" || isLast ? await tagNow(request, isLast, context) : NOT_ASKED;
  if (verdict === "ok" && isPickedUp(request, status, look, lastStep, named)) {
    const isWatched = await startWatch(request, status, look, context);
    if (!isWatched) await context.adopt?.(request, override);
    return pickedUp(request, status, look, context.now());
  }
  if (verdict === "ok" && isRivals(request, status, look, lastStep))
    return superseded("another push is there, which its sender's clock calls later, or which Deckhouse deployed after this one's nudge");
  if (verdict === "refused" && isOfImage(status) && mayBeEarly(request) && isWrittenSince(look, status))
    return renudge(request, status.message, 0, context); // it may be about the image that the tag named before
  if (verdict === "refused" && look.step >= 1 && !isOfAnotherPush(status, look, lastStep)) {
    return { kind: "done", code: "REFUSED", detail: { message: status.message.slice(0, 500), advice: adviceOn(status.message) } };
  }
  const seconds = RENUDGE_SECONDS[request.retries];
  if (verdict === "error" && seconds !== undefined && isNewError(status, look))
    return renudge({ ...request, retries: request.retries + 1 }, status.message, seconds, context);
  if (verdict === "ok" && (named.image === null || named.image !== status.imageDigest) && isUnseen(request, status, look, lastStep)) {
    const rival = request.rival ?? (isDeployedSince(look, status) ? status.imageDigest : null);
    return renudge({ ...request, rival }, UNSEEN, 0, context);
  }
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
 */
function isOfAnotherPush(status: OverrideStatus, look: Look, lastStep: number): boolean {
  return isOfImage(status) && !isWrittenSince(look, status) && look.step < lastStep - 1;
}

/** Every other refusal is of the module, whatever is pushed. */
const isOfImage = ({ message }: Pick<OverrideStatus, "message">) => /^validation/i.test(message);

/** As late as an equal digest that was there before the patch counts: until then Deckhouse may not have looked. */
const isRivals = (request: RenewRequest, status: OverrideStatus, look: Look, lastStep: number) =>
  request.rival !== null && status.imageDigest === request.rival && look.step >= lastStep - 1;

const knowsDigest = (request: RenewRequest) => request.digest !== null && !request.index;

/** A download error counts when it is news since the patch, and from the second look on in any case: an identical one changes nothing. */
const isNewError = (status: OverrideStatus, look: Look) => look.step >= 1 || isWrittenSince(look, status);

const isWrittenSince = (look: Look, { message, updatedAt }: OverrideStatus) => message !== look.message || updatedAt !== look.updatedAt;

/**
 * Deckhouse may have looked before the tag named this push: Distribution tells of a push first and writes its tag then, and a mirror is late
 * in its own way. Such a look leaves no trace, and the next one comes after the scan interval. So the nudge goes out once more,
 * when a deploy that it began would most likely be over. Not where the status holds this push's digest already, or that of one that is
 * later by the sender's clock: there it can only meet a deploy.
 */
function isUnseen(request: RenewRequest, { imageDigest }: OverrideStatus, { step }: Look, lastStep: number): boolean {
  const isThere = imageDigest !== null && [request.digest, request.rival].includes(imageDigest);
  return mayBeEarly(request) && !isThere && step < lastStep && step >= Math.min(UNSEEN_LOOK, lastStep - 1);
}

/** Whether Deckhouse may have looked before its tag was there. What a sweep saw in the registry was, and by a second nudge it is as well. */
const mayBeEarly = ({ nudge, webhook }: RenewRequest) => nudge === 0 && webhook !== SWEEP;

const UNSEEN = "the override does not show this push yet: its tag may have been written after its webhook was sent, or a mirror is late";

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
 * Stores the record of the first look, unless the Module surely says nothing; false: it will not say whether it runs. A Module that cannot be
 * read now may be by then, and holds up nobody who wants to hear of the pick-up.
 */
async function startWatch(request: RenewRequest, status: OverrideStatus, look: Look, context: ConfirmContext): Promise<boolean> {
  const state = await context.overrides.state(request.module).catch(() => "unknown" as const);
  if (state === null || (state !== "unknown" && state.isReady === null)) return false;
  const step = Math.min(WATCH_FIRST_LOOK, context.tuning.looksMs.length - 1);
  const next: Look = { ...look, step, digest: status.imageDigest, pickedUpAt: context.now().toISOString() };
  const record: RenewRequest = { ...request, attempt: 0, notBefore: null, refusedSince: null, look: next };
  await context.send([{ body: encode(record), delaySeconds: Math.min(MAX_DELAY_SECONDS, (context.tuning.looksMs[step] ?? 0) / 1000) }]);
  return true;
}

async function renudge(request: RenewRequest, message: string, seconds: number, context: ConfirmContext): Promise<Outcome> {
  const { look: _, ...rest } = request;
  const again: RenewRequest = {
    ...rest,
    kind: "renew",
    nudge: request.nudge + 1,
    attempt: 0,
    notBefore: null,
  };
  await context.send([{ body: encode(again), delaySeconds: seconds }]);
  return { kind: "done", code: "RENUDGED", detail: { message: message.slice(0, 500), seconds } };
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
    if (knowsDigest(request) && isDeployedSince(look, status))
      return superseded("Deckhouse deployed after the nudge, and another digest than this push's");
    if (!knowsDigest(request) && named.image === null)
      return { kind: "done", code: "UNVERIFIED", detail: { digest: imageDigest, ...(named.why !== null && { why: named.why }) } };
  }
  throw new RelayError(
    "UNCONFIRMED",
    `override ${request.module} with tag ${request.tag} shows digest ${imageDigest ?? "none"}, wanted ${request.digest ?? named.image ?? "unknown"}${named.why === null ? "" : ` (${named.why})`}, message "${message.slice(0, 300)}"`,
  );
}

/**
 * Another image than when we patched. That `updatedAt` moved is not enough: with an error behind it, `Ready` is written for the image that was
 * there before, too. https://github.com/deckhouse/deckhouse/blob/main/deckhouse-controller/pkg/controller/module-controllers/override/controller.go
 */
const isDeployedSince = ({ patchedAt, digest }: Look, { updatedAt, imageDigest }: OverrideStatus) =>
  imageDigest !== digest && updatedAt !== null && Date.parse(updatedAt) > Date.parse(patchedAt) + CLOCKS_DIFFER_MS;

const superseded = (why: string): Outcome => ({ kind: "done", code: "SUPERSEDED", detail: { why } });
