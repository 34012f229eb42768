/**
 * The rules of renew, confirm and settling against the real code: random schedules of pushes, crashes between any two awaits, doubles,
 * outages and a Deckhouse with one worker, played on a virtual clock. Its own simulation of discrete events and not fast-check's commands,
 * since what matters is what happens *between* the steps of several processes, which commands that run to their end do not have;
 * and a number is all it takes to play a failing one again.
 *
 *   MODEL_RUNS=100000 npx vitest run test/model.test.ts      more schedules (MODEL_FIRST: the first seed)
 *   MODEL_SEED=7 MODEL_TRACE=1 npx vitest run test/model.test.ts   one, told step by step
 *
 * seeds.json: schedules that found a fault in the code, or in a copy of it from which one rule was taken; they are played first.
 * They mean the same schedules only as long as nothing in test/model/ draws other random numbers.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Mistake } from "./model/consumer.ts";
import type { Figures } from "./model/audit.ts";
import { playMany, range } from "./model/many.ts";
import { MISTAKES, ROUGH } from "./model/mistakes.ts";
import { play } from "./model/schedule.ts";
import type { Faults } from "./model/world.ts";
import { HEAVY_MS } from "./support/wait.ts";
import seeds from "./model/seeds.json" with { type: "json" };

const { env } = process;
const runs = Number(env["MODEL_RUNS"] ?? 2_000);
const first = Number(env["MODEL_FIRST"] ?? 1);

// an expected error is thrown a hundred thousand times here, and nobody reads where
const { stackTraceLimit } = Error;
beforeAll(() => void (Error.stackTraceLimit = 0));
afterAll(() => void (Error.stackTraceLimit = stackTraceLimit));

describe("a push that was acknowledged takes effect, or a dead letter names it", { timeout: 24 * 3_600_000 }, () => {
  const seed = env["MODEL_SEED"];
  if (seed) {
    it(`in schedule ${seed}`, async () => {
      const { findings, trace } = await play(Number(seed), { trace: true, faults: { lostPush: Number(env["MODEL_LOST"] ?? 0) } });
      if (env["MODEL_TRACE"]) process.stdout.write(`${trace.join("\n")}\n`);
      expect(findings).toEqual([]);
    });
    return;
  }

  it("in each schedule that once failed", async () => {
    await expectNone(seeds.map((each) => each.seed));
  });

  it(`in ${runs} random schedules`, async () => {
    const figures = await expectNone(range(first, runs));
    // a patch that meets a deploy can leave another push's files under the right status; the holds of renew keep that rare: 3.8 %, 6 % without
    if (runs >= 2_000) expect((figures["wrongFiles"] ?? 0) / runs).toBeLessThan(0.05);
  });
});

describe("the same where the clocks of a registry's replicas differ by minutes", { timeout: 24 * 3_600_000 }, () => {
  it(`in ${runs / 4} random schedules`, async () => {
    await expectNone(range(first, runs / 4), { replicaBehindMs: 240_000 });
  });
});

describe("the same where the relay can ask the registry", { timeout: 24 * 3_600_000 }, () => {
  it(`in ${runs / 4} random schedules`, async () => {
    const { falselyUnconfirmed = 0, pushes = 0 } = await expectNone(range(first, runs / 4), { lookUp: true });
    // without a look-up it is one push in forty that ends so, for a later push was nudged before it and nothing tells which of the two is later
    expect(falselyUnconfirmed / pushes).toBeLessThan(0.001);
  });
});

describe("the same where a push is told of before its tag names it", { timeout: 24 * 3_600_000 }, () => {
  it(`in ${runs / 4} random schedules`, async () => {
    await expectNone(range(first, runs / 4), { tagLateMs: 900 });
  });

  // a push that joined the nudge of one which it had overtaken is left behind by so late a tag: the sweep finds it, and is there with the look-up
  it(`by longer than it waits for it, in ${runs / 4} random schedules in which it can ask the registry, and there is a sweep`, async () => {
    await expectNone(range(first, runs / 4), { tagLateMs: 5_000, lookUp: true, lostPush: Number.MIN_VALUE });
  });
});

describe("the same where somebody replaces overrides, and with them the marks of nudges", { timeout: 24 * 3_600_000 }, () => {
  it(`in ${runs / 4} random schedules`, async () => {
    await expectNone(range(first, runs / 4), { replaces: 4 });
  });
});

describe("the same where nobody hears of every third push, and there is a sweep", { timeout: 24 * 3_600_000 }, () => {
  it(`in ${runs / 4} random schedules`, async () => {
    await expectNone(range(first, runs / 4), { lostPush: 0.33 });
  });
});

describe("the audit sees it when", { timeout: HEAVY_MS }, () => {
  it.each(Object.entries(MISTAKES))("%s", async (_name, mistake) => {
    expect(await firstFound(mistake)).toBeDefined();
  });
});

/** Gives the sums; prints them, and how far it is, where many were asked for. */
async function expectNone(list: Iterable<number>, faults: Partial<Faults> = {}): Promise<Figures> {
  const say = (text: string) => void (env["MODEL_RUNS"] && process.stdout.write(`${text}\n`));
  const began = Date.now();
  const { figures, failed } = await playMany(list, faults, (played) => {
    if (played % 10_000 === 0) say(`${played} schedules in ${Math.round((Date.now() - began) / 1000)} s`);
  });
  if (failed) {
    const { findings, trace } = await play(failed.seed, { trace: true, faults });
    return expect.fail(`seed ${failed.seed}: ${findings.map(({ kind, text }) => `${kind}: ${text}`).join("; ")}\n${trace.join("\n")}`);
  }
  say(JSON.stringify({ faults, ...figures }));
  return figures;
}

async function firstFound(mistake: Mistake): Promise<number | undefined> {
  for (let seed = 1; seed <= 1_000; seed++) {
    const { findings } = await play(seed, { mistake, faults: ROUGH });
    if (findings.length > 0) return seed;
  }
  return undefined;
}
