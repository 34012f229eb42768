/** Another spelling of the same duration: the one change of a ModuleSource that means nothing, and moves its generation. */
import { intervalMs } from "./interval.ts";

/** What Deckhouse takes where nothing is written. */
export const USUAL_INTERVAL = "3m";

/**
 * `3m` ↔ `3m0s`; where seconds are counted a zero in front comes and goes: `15s` ↔ `015s`. Of equal length in time by Go's ParseDuration, valid by
 * the CRD's pattern (https://github.com/deckhouse/deckhouse/pull/17622), and the spelling after next is the first again. null for what is no duration.
 */
export function respell(duration: string): string | null {
  if (duration === "" || intervalMs(duration) === null) return null;
  if (!duration.endsWith("s")) return `${duration}0s`;
  const withoutSeconds = /^(.*[hm])0s$/.exec(duration)?.[1];
  if (withoutSeconds !== undefined) return withoutSeconds;
  return /^0\d/.test(duration) ? duration.slice(1) : `0${duration}`;
}
