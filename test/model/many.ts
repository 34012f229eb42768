/** Plays many schedules side by side: they share nothing, and so each turn of the event loop moves all of them. */
import type { Figures } from "./audit.ts";
import { play, type Played } from "./schedule.ts";
import type { Faults } from "./world.ts";

const SIDE_BY_SIDE = 4;

export interface Many {
  /** Sums over all schedules. */
  readonly figures: Figures;
  /** The first in which something was found; none is begun after it. */
  readonly failed: Played | null;
}

/** Keeps sums alone: of a million schedules nothing else fits into memory. `told`: after each, how many were played. */
export async function playMany(seeds: Iterable<number>, faults: Partial<Faults>, told: (played: number) => void): Promise<Many> {
  const figures: Record<string, number> = { schedules: 0 };
  let failed: Played | null = null;
  const add = (name: string, count: number): number => (figures[name] = (figures[name] ?? 0) + count);
  const waiting = seeds[Symbol.iterator]();
  const lane = async () => {
    for (let next = waiting.next(); !next.done && failed === null; next = waiting.next()) {
      const played = await play(next.value, { faults });
      for (const [name, count] of Object.entries(played.figures)) add(name, count);
      if (played.findings.length > 0) failed ??= played;
      told(add("schedules", 1));
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane));
  return { figures, failed };
}

export function* range(first: number, count: number): Generator<number> {
  for (let number = first; number < first + count; number++) yield number;
}
