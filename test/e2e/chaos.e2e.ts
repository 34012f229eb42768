/** The short runs of `npm run chaos`: those whose seed once found something, and one that did not. */
import { join } from "node:path";
import { expect, test } from "vitest";
import * as z from "zod";
import { chaos } from "../chaos/chaos.ts";
import { tellResult } from "../chaos/tell.ts";
import { TOPOLOGIES } from "../chaos/topologies.ts";
import kept from "../chaos/seeds.json" with { type: "json" };
import { say } from "./parts/cache.ts";

const runs = z.array(z.object({ name: z.enum(TOPOLOGIES), seed: z.number(), pushes: z.number(), why: z.string() })).parse(kept);

// one at work at a time, as in `npm run chaos`: the next one begins while what a killed worker had in hand still hides
let turn = Promise.resolve();
const myTurn = async (): Promise<() => void> => {
  const before = turn;
  let calm = (): void => undefined;
  turn = new Promise((resolve) => (calm = resolve));
  await before;
  return calm;
};

test.concurrent.each(runs)("$name, seed $seed, $pushes pushes: none is lost", { timeout: 600_000 }, async ({ name, seed, pushes }) => {
  const findings = join(import.meta.dirname, "../../chaos-findings");
  const calm = await myTurn();
  const result = await chaos({ name, seed, pushes, say, calm, findings }).finally(calm);
  for (const line of tellResult(result)) say(`${name}: ${line}`);
  expect(result).toMatchObject({ pushes, lost: [], missing: [] });
  expect(result.acknowledged).toBeGreaterThan(pushes / 2);
  expect(result.faults.size).toBeGreaterThan(5);
});
