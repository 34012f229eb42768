/** What came of a run, in lines for a person. */
import type { Result } from "./chaos.ts";

export function tellResult({
  pushes,
  acknowledged,
  faults,
  answers,
  patches,
  lastMs,
  lost,
  overrides,
  open,
  letters,
  needless,
  memory,
  missing,
}: Result): string[] {
  const kills = [...faults].filter(([name]) => name.startsWith("kill ")).reduce((sum, [, count]) => sum + count, 0);
  const sorted = patches.toSorted((a, b) => a - b);
  const all = sorted.reduce((sum, each) => sum + each, 0);
  return [
    `${pushes} pushes, ${acknowledged} acknowledged, ${pushes - acknowledged} that no answer of the relay's acknowledged and nobody repeated`,
    `${kills} kills; ${list(faults)}; answers ${list(answers)}`,
    `${all} nudges, per override ${sorted[0] ?? 0} to ${sorted.at(-1) ?? 0}, median ${sorted[Math.floor(sorted.length / 2)] ?? 0}; the last one ${(lastMs / 1000).toFixed(1)} s after the last push`,
    `overrides: ${overrides.right} right, ${overrides.named} not, and named by a record or a dead letter, ${overrides.wrong} not, and named by nothing; ${open} open records; dead letters: ${list(letters) || "none"}, ${needless} of a look whose override is right after all`,
    `at most ${mebibytes(memory)}`,
    ...lost.map(({ module, digest, why }) => `LOST ${module} ${digest}: ${why}`),
    ...missing.map((what) => `MISSING ${what}`),
    `lost ${lost.length}`,
  ];
}

const list = (counts: ReadonlyMap<string, number>): string => [...counts].map(([name, count]) => `${count} × ${name}`).join(", ");

/** Peak memory of each process. */
export const mebibytes = (memory: ReadonlyMap<string, number>): string =>
  [...memory].map(([name, peak]) => `${name} ${peak} MiB`).join(", ");
