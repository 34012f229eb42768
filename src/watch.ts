/** After a new image was picked up: does its module come up? Best effort, by the Module of Deckhouse v1.66 on. */
import type { ConfirmContext } from "./confirm.ts";
import type { Look, RenewRequest } from "./event.ts";
import { WATCH_BELIEVED_LOOK, WATCH_LAST_LOOK } from "./limits.ts";
import { isTakenOver, nudgeOf } from "./nudge.ts";
import { type Outcome, RelayError, toRelayError } from "./outcome.ts";

type WatchContext = Pick<ConfirmContext, "overrides" | "now" | "tuning" | "adopt">;

/** Throws RelayError for what the cluster cannot do now. */
export async function watch(record: RenewRequest, context: WatchContext): Promise<Outcome> {
  const { look } = record;
  if (!look?.pickedUpAt) throw new RelayError("MALFORMED", "a record that watches without what was picked up");
  const override = await context.overrides.get(record.module);
  const isOurs =
    override?.imageTag === record.tag &&
    override.status.imageDigest === look.digest &&
    !isTakenOver(nudgeOf(override), record, look.patchedAt);
  if (!isOurs) return { kind: "done", code: "UNWATCHED", detail: { why: "another push followed" } };
  const isLast = look.step >= lastStep(context);
  const state = await context.overrides.state(record.module).catch((thrown: unknown) => toRelayError(thrown));
  if (state instanceof RelayError && !isLast) return nextLook(record, look, context);
  if (state === null || state instanceof RelayError || state.isReady === null) {
    await context.adopt?.(record, override); // it was picked up, and more will not be known
    return {
      kind: "done",
      code: "UNWATCHED",
      detail: { why: state instanceof RelayError ? `the Module cannot be read: ${state.message}` : "the Module does not say" },
    };
  }
  const detail = {
    digest: look.digest,
    message: state.message.slice(0, 500),
    pickUpToRunningMs: context.now().getTime() - Date.parse(look.pickedUpAt),
  };
  if (state.isReady) {
    await context.adopt?.(record, override);
    return { kind: "done", code: "RUNNING", detail };
  }
  if (state.isBroken && (isLast || look.step >= WATCH_BELIEVED_LOOK)) return { kind: "done", code: "MODULE_ERROR", detail };
  if (isLast) return { kind: "done", code: "UNWATCHED", detail: { why: "the Module is not ready yet" } };
  return nextLook(record, look, context);
}

function nextLook(record: RenewRequest, look: Look, { tuning }: WatchContext): Outcome {
  const { looksMs } = tuning;
  const seconds = ((looksMs[look.step + 1] ?? 0) - (looksMs[look.step] ?? 0)) / 1000;
  return {
    kind: "deferred",
    seconds,
    why: "does the module come up?",
    next: { ...record, attempt: 0, look: { ...look, step: look.step + 1 } },
  };
}

const lastStep = ({ tuning }: WatchContext) => Math.min(WATCH_LAST_LOOK, tuning.looksMs.length - 1);
