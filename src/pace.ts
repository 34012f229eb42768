/** At most so many per second, evenly: a hundred overrides that change at once must not storm the API server. */

export function createPace(perSecond: number, now: () => number = Date.now): () => Promise<void> {
  const gapMs = 1000 / perSecond;
  let next = 0;
  return async () => {
    const at = Math.max(now(), next);
    next = at + gapMs;
    const wait = at - now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  };
}
