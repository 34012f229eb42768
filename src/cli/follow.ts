/** What an override's status says after a nudge. Pure: one look gives one verdict. */
import type { Override, OverrideStatus } from "../cluster/overrides.ts";
import { adviceOn, verdictOf } from "../status.ts";

export type Progress =
  | { kind: "waiting" }
  | { kind: "picked-up"; digest: string | null }
  | { kind: "refused"; message: string; advice: string }
  | { kind: "moved"; message: string };

/** An identical message may be an old one: after this long it counts as Deckhouse's answer. */
const OLD_MESSAGE_MS = 30_000;

/** `before` is the override as it was nudged, `seen` as it is now (null: gone). */
export function progressOf(before: Override, seen: Override | null, elapsedMs: number): Progress {
  if (!seen) return { kind: "moved", message: "the override is gone" };
  if (seen.imageTag !== before.imageTag) return { kind: "moved", message: `the override follows the tag ${seen.imageTag} now` };
  const { message, imageDigest } = seen.status;
  const hasMoved = !isSame(before.status, seen.status);
  const verdict = verdictOf(message);
  if (verdict === "ok") return hasMoved && imageDigest !== null ? { kind: "picked-up", digest: imageDigest } : { kind: "waiting" };
  return hasMoved || elapsedMs >= OLD_MESSAGE_MS ? { kind: "refused", message, advice: adviceOn(message) } : { kind: "waiting" };
}

/**
 * The one annotation that forces Deckhouse, where it is exactly `true`; written by `mpo-relay force` and nothing else.
 * https://github.com/deckhouse/deckhouse/pull/22716
 */
export const FORCE = "modules.deckhouse.io/renew";

/** The same for a forced redeploy, after which Deckhouse removes the annotation: only that proves it, since the digest stays as it is. */
export function forcedOf(before: Override, seen: Override | null, elapsedMs: number): Progress {
  const progress = progressOf(before, seen, elapsedMs);
  if (seen === null || progress.kind === "refused" || progress.kind === "moved") return progress;
  const isDone = !(FORCE in seen.annotations) && verdictOf(seen.status.message) === "ok";
  return isDone ? { kind: "picked-up", digest: seen.status.imageDigest } : { kind: "waiting" };
}

const isSame = (a: OverrideStatus, b: OverrideStatus) =>
  a.imageDigest === b.imageDigest && a.message === b.message && a.updatedAt === b.updatedAt;

/** What is known when nothing moved until the end. Deckhouse leaves no trace of a check that finds the same image: no proof either way. */
export function unchanged({ status }: Override, waitedSeconds: number): { isFine: boolean; text: string } {
  if (status.imageDigest === null) {
    return { isFine: false, text: `after ${waitedSeconds} s the override still has no image; look at Deckhouse's log` };
  }
  return {
    isFine: true,
    text:
      `unchanged after ${waitedSeconds} s: it runs ${status.imageDigest}. Most likely the tag still names this image and there is nothing to do; ` +
      "Deckhouse leaves no trace of a check that finds the same image. If you pushed another one, Deckhouse may be busy: wait longer with --timeout 10m",
  };
}
