/** Waiting for what comes by itself. Long enough for a busy machine with one core; nothing waits this long where it works. */
import { expect } from "vitest";

/** For `vi.waitFor` and `vi.waitUntil`, whose own patience is a second. Shorter than a test may take, so that a failure names what did not come. */
export const waited = { timeout: 45_000, interval: 10 };
export const until = <T>(read: () => T) => expect.poll(read, waited);

/** How long a test may take that works for seconds, or runs other programs, where nobody else needs the machine. */
export const HEAVY_MS = 600_000;
