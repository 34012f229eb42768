/** Who fails to authenticate again and again gets 429 instead of 401. Only ever asked about refused calls: a good secret always gets in. */

const WINDOW_MS = 60_000;
const MAX_ADDRESSES = 10_000;

/** `allowed` refused calls per address and minute. */
export function createLimiter(allowed: number, now: () => number = Date.now): (address: string) => boolean {
  const seen = new Map<string, { since: number; count: number }>();
  return (address) => {
    const at = now();
    let entry = seen.get(address);
    if (!entry || at - entry.since > WINDOW_MS) {
      entry = { since: at, count: 0 };
      seen.delete(address);
      seen.set(address, entry);
      const oldest = seen.keys().next();
      if (seen.size > MAX_ADDRESSES && !oldest.done) seen.delete(oldest.value);
    }
    entry.count += 1;
    return entry.count > allowed;
  };
}
