/** At most so many per second, evenly: a hundred overrides that change at once must not storm the API server. */
import { setTimeout as sleep } from "node:timers/promises";

export function createPace(perSecond: number, now: () => number = Date.now): () => Promise<void> {
  const gapMs = 1000 / perSecond;
  let next = 0;
  return async () => {
    const at = Math.max(now(), next);
    next = at + gapMs;
    const wait = at - now();
    if (wait > 0) await sleep(wait);
  };
}
