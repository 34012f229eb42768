/** Plays many schedules side by side: they share nothing, and so each turn of the event loop moves all of them. */
import type { Figures } from "./audit.ts";
import { play, type Played } from "./schedule.ts";
import type { Faults } from "./world.ts";

const SIDE_BY_SIDE = 4;

export async function playMany(seeds: readonly number[], faults: Partial<Faults> = {}): Promise<Played[]> {
  const played: Played[] = [];
  const waiting = seeds.values();
  const lane = async () => {
    for (const seed of waiting) played.push(await play(seed, { faults }));
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane));
  return played.sort((a, b) => a.seed - b.seed);
}

/** Sums over all schedules. */
export function figuresOf(played: readonly Played[]): Figures {
  const total: Record<string, number> = { schedules: played.length };
  for (const { figures } of played) {
    for (const [name, count] of Object.entries(figures)) total[name] = (total[name] ?? 0) + count;
  }
  return total;
}
