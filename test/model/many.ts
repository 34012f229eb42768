/** Plays many schedules side by side: they share nothing, and so each turn of the event loop moves all of them. */
import { play, type Played } from "./schedule.ts";
import type { Mistake } from "./consumer.ts";

const SIDE_BY_SIDE = 4;

export async function playMany(seeds: readonly number[], mistake: Mistake = {}): Promise<Played[]> {
  const played: Played[] = [];
  const waiting = seeds.values();
  const lane = async () => {
    for (const seed of waiting) played.push(await play(seed, { mistake }));
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane));
  return played.sort((a, b) => a.seed - b.seed);
}

/** Sums of all figures, and the seeds with findings. */
export function summaryOf(played: readonly Played[]) {
  const outcomes: Record<string, number> = {};
  for (const { figures } of played) {
    for (const [outcome, count] of Object.entries(figures.outcomes)) outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
  }
  const sum = (name: "pushes" | "patches" | "deploys" | "letters" | "falselyUnconfirmed" | "namedLoosely" | "wrongFiles") =>
    played.reduce((total, { figures }) => total + figures[name], 0);
  return {
    schedules: played.length,
    pushes: sum("pushes"),
    patches: sum("patches"),
    deploys: sum("deploys"),
    letters: sum("letters"),
    falselyUnconfirmed: sum("falselyUnconfirmed"),
    namedLoosely: sum("namedLoosely"),
    wrongFiles: sum("wrongFiles"),
    outcomes,
    failed: played.filter(({ findings }) => findings.length > 0).map(({ seed, findings }) => ({ seed, findings })),
  };
}
