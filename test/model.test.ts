/**
 * The rules of renew, confirm and settling against the real code: random schedules of pushes, crashes between any two awaits, doubles,
 * outages and a Deckhouse with one worker, played on a virtual clock. Its own simulation of discrete events and not fast-check's commands,
 * since what matters is what happens *between* the steps of several processes, which commands that run to their end do not have;
 * and a number is all it takes to play a failing one again.
 *
 *   MODEL_RUNS=100000 npx vitest run test/model.test.ts      more schedules (MODEL_FIRST: the first seed)
 *   MODEL_SEED=7 MODEL_TRACE=1 npx vitest run test/model.test.ts   one, told step by step
 */
import { describe, expect, it } from "vitest";
import { summaryOf, playMany } from "./model/many.ts";
import { play } from "./model/schedule.ts";
import seeds from "./model/seeds.json" with { type: "json" };

const { env } = process;
const runs = Number(env["MODEL_RUNS"] ?? 2_000);
const first = Number(env["MODEL_FIRST"] ?? 1);

describe("a push that was acknowledged takes effect, or a dead letter names it", { timeout: 24 * 3_600_000 }, () => {
  it.runIf(env["MODEL_SEED"])("in the schedule of MODEL_SEED", async () => {
    const played = await play(Number(env["MODEL_SEED"]), { trace: true });
    if (env["MODEL_TRACE"]) process.stdout.write(`${played.trace.join("\n")}\n`);
    expect(played.findings).toEqual([]);
  });

  it("in each schedule that once failed", async () => {
    await expectNone(seeds);
  });

  it(`in ${runs} random schedules`, async () => {
    const summary = await expectNone(Array.from({ length: runs }, (_, index) => first + index));
    if (env["MODEL_RUNS"]) process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);
  });
});

async function expectNone(list: readonly number[]) {
  const played = await playMany(list);
  const failed = played.find(({ findings }) => findings.length > 0);
  if (failed) {
    const { findings, trace } = await play(failed.seed, { trace: true });
    expect.fail(`seed ${failed.seed}: ${findings.map(({ kind, text }) => `${kind}: ${text}`).join("; ")}\n${trace.join("\n")}`);
  }
  return summaryOf(played);
}
