/** Whether the numbers of `tuning` go together. */
import type { Tuning } from "../config.ts";
import { HOLD_SAME_DIGEST_COOLDOWNS } from "../limits.ts";
import type { Problem } from "./problem.ts";

/** Looks that end before the next push's nudge may go out: what that push covers would be given up meanwhile, as `UNCONFIRMED`. */
export function tuningWarnings({ cooldownMs, looksMs }: Tuning): Problem[] {
  const holdMs = HOLD_SAME_DIGEST_COOLDOWNS * cooldownMs;
  if ((looksMs.at(-1) ?? 0) >= holdMs) return [];
  const message =
    "the last look comes while a later push may still be held back, so the earlier one can end as a dead letter though nothing is wrong";
  return [
    {
      path: "tuning.looks",
      message,
      hint: `let the last one come after ${holdMs / 1000} s, which are ${HOLD_SAME_DIGEST_COOLDOWNS} times tuning.cooldown, or shorten the cool-down`,
    },
  ];
}
