/** Waiting for a state. The limit is where patience ends, with room for a slow machine: no test here measures a time. */
import { setTimeout as sleep } from "node:timers/promises";

const PATIENCE_MS = 120_000;

/** Asks again and again until `look` gives something. What it throws counts as "not yet", and is told when patience ends. */
export async function eventually<T>(what: string, look: () => Promise<T | null>, withinMs = PATIENCE_MS): Promise<T> {
  const until = Date.now() + withinMs;
  for (;;) {
    let why = "";
    const seen = await look().catch((error: unknown) => {
      why = error instanceof Error ? `: ${error.message}` : `: ${String(error)}`;
      return null;
    });
    if (seen !== null) return seen;
    if (Date.now() > until) throw new Error(`after ${withinMs / 1000} s still not true: ${what}${why}`);
    await sleep(100);
  }
}
