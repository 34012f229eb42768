/**
 * When an override's scan interval may be lengthened, since pushes reach it, and when it is put back. Pure.
 * What stood there, and what was written in its place, is remembered on the override, in the patch that changes it: whoever is killed half-way
 * leaves either everything or nothing, and a value that somebody else wrote since is known as theirs.
 */
import * as z from "zod";
import type { Override } from "./cluster/overrides.ts";
import { intervalMs, isSameInterval } from "./interval.ts";
import { jsonOf } from "./json.ts";
import { ADOPT_QUIET_MS } from "./limits.ts";
import { nudgeOf } from "./nudge.ts";
import { oddText } from "./odd.ts";
import { verdictOf } from "./status.ts";

/** Ours, and none of those that a nudge leaves. */
export const MARK = "mpo-relay/scan-interval";

/** `was` null: nothing was set. `paused`: since when it is put back because its webhook is silent; it is adopted again once that is heard. */
const mark = z.object({ was: z.string().nullable(), set: z.string(), paused: z.iso.datetime().nullable().default(null) });
type Adoption = z.infer<typeof mark>;

/** null: not adopted, or by a mark that somebody edited and nobody can read. */
export function adoptionOf({ annotations }: Override): Adoption | null {
  return mark.safeParse(jsonOf(annotations[MARK] ?? "")).data ?? null;
}

/** What to write, and what of it to tell. */
export interface Change {
  readonly kind: "change";
  /** null: it is taken away, so that Deckhouse's default holds. Left out: it stays as it is. */
  readonly interval?: string | null;
  readonly annotations: Readonly<Record<string, string | null>>;
  readonly why: string;
}
/** `isDone`: it is as it was asked for. `commit`: what to write where a GitOps tool keeps the override. */
export interface Left {
  readonly kind: "left";
  readonly why: string;
  readonly isDone: boolean;
  readonly commit?: string;
}
export type Plan = Change | Left;

const left = (why: string, isDone = false): Left => ({ kind: "left", why, isDone });
const marked = (adoption: Adoption) => ({ [MARK]: JSON.stringify(adoption) });
const isWebhook = (name: string) => !name.startsWith("("); // what no registry sent has a name that no webhook can have

/** Names a nudge or a journal's entry that a registry's delivery led to, and neither a person nor the relay itself. */
export const isDelivered = ({ webhook }: { readonly webhook: string }) => isWebhook(webhook);

/** By the relay's own mark: the newest nudge came by a webhook, and Deckhouse runs the very image that it told of. */
export function isProven(override: Override): boolean {
  const newest = nudgeOf(override);
  return newest !== null && isDelivered(newest) && newest.digest !== null && newest.digest === override.status.imageDigest;
}

const isHeardSince = (override: Override, paused: string) =>
  isProven(override) && (nudgeOf(override)?.at.getTime() ?? 0) > Date.parse(paused);

/** To look at its tag every `interval` alone. `isProvenElsewhere`: the journal has seen a push arrive and take effect. */
export function planAdoption(override: Override, interval: string, isProvenElsewhere: boolean, now: Date): Plan {
  const { scanInterval, keeper, status } = override;
  const adoption = adoptionOf(override);
  if (override.odd !== null) return left(oddText(override));
  const [present, wanted] = [intervalMs(scanInterval), intervalMs(interval)];
  if (present === null || wanted === null) return left(`its scan interval ${scanInterval} is none that Deckhouse reads`);
  if (adoption && !isOurs(override, adoption))
    return left(`somebody changed it from ${shown(expected(adoption))} since the relay wrote that; mpo-relay restore forgets it`);
  if (present === 0) return left("with 0s some versions of Deckhouse never look by themselves: set another one first");
  if (present >= wanted) return left(adoption && !adoption.paused ? "adopted before" : "as long already", true);
  if (adoption?.paused && !isHeardSince(override, adoption.paused))
    return left("it was put back since its webhook is silent; the next delivery adopts it again");
  if (keeper !== null) return { ...left(`${keeper} keeps it: change it there`), commit: `spec.scanInterval: ${interval}` };
  if (verdictOf(status.message) !== "ok") return left(`it is not at rest: ${status.message}`);
  if (status.imageDigest === null || !(isProven(override) || isProvenElsewhere))
    return left("no push has been seen to arrive by a webhook and take effect");
  if (isBusy(override, now)) return left("a push is on its way to it: try again in a minute");
  const was = adoption ? adoption.was : scanInterval;
  return { kind: "change", interval, annotations: marked({ was, set: interval, paused: null }), why: "pushes reach it" };
}

/** Back to what stood there. What somebody else wrote since, or a GitOps tool keeps, stays: then only the mark goes. */
export function planRestore(override: Override): Plan {
  if (!(MARK in override.annotations)) return left("not adopted", true);
  if (override.odd !== null) return left(oddText(override));
  const adoption = adoptionOf(override);
  const forget = (why: string): Change => ({ kind: "change", annotations: { [MARK]: null }, why });
  if (!adoption) return forget("its mark cannot be read, so the scan interval stays as it is");
  if (adoption.paused) return forget("put back before, when its webhook fell silent");
  if (override.keeper !== null) return forget(`${override.keeper} keeps the scan interval, so it stays as it is`);
  if (!isOurs(override, adoption)) return forget("somebody changed the scan interval since, so it stays as it is");
  return { kind: "change", interval: adoption.was, annotations: { [MARK]: null }, why: "as it was before" };
}

/** The same while a webhook is silent. It stays marked, so that the next delivery lengthens it again. */
export function planPause(override: Override, why: string, now: Date): Plan {
  const adoption = adoptionOf(override);
  if (!adoption || adoption.paused) return left(adoption ? "put back before" : "not adopted", true);
  if (override.odd !== null) return left(oddText(override));
  if (override.keeper !== null || !isOurs(override, adoption)) return left("the scan interval is somebody else's by now", true);
  return { kind: "change", interval: adoption.was, annotations: marked({ ...adoption, paused: now.toISOString() }), why };
}

/** Undoes {@link planPause}, once a delivery was seen. */
export function planResume(override: Override, why: string, now: Date): Plan {
  const adoption = adoptionOf(override);
  if (!adoption?.paused) return left("not put back by silence", true);
  if (override.odd !== null) return left(oddText(override));
  if (override.keeper !== null || !isOurs(override, adoption)) return left("the scan interval is somebody else's by now", true);
  if (verdictOf(override.status.message) !== "ok" || isBusy(override, now)) return left("it is not at rest");
  return { kind: "change", interval: adoption.set, annotations: marked({ ...adoption, paused: null }), why };
}

export const shown = (interval: string | null) => interval ?? "15s (by default)";

const expected = ({ was, set, paused }: Adoption) => (paused ? was : set);
const isOurs = ({ scanInterval }: Override, adoption: Adoption) => isSameInterval(scanInterval, expected(adoption));

/** A patch in the middle of a deploy can restart Deckhouse twice; `renew` waits as long, see `HOLD_COOLDOWNS`. */
function isBusy(override: Override, now: Date): boolean {
  const newest = nudgeOf(override);
  if (newest === null || newest.digest === override.status.imageDigest) return false;
  return Math.abs(now.getTime() - newest.at.getTime()) < ADOPT_QUIET_MS;
}
