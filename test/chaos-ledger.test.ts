/** The ledger of `npm run chaos` finds what it looks for: nothing lost means something only then. */
import { describe, expect, it } from "vitest";
import { markOf } from "./chaos/api.ts";
import { type Ledger, lostOf, type Push } from "./chaos/ledger.ts";
import { planOf } from "./chaos/plan.ts";

const KEY = "0123456789abcdef";
const annotations = { "mpo-relay/key": KEY, "mpo-relay/at": "2026-11-20T12:00:00.000Z" };
const push = (sentAt: number, more: Partial<Push> = {}): Push => ({
  module: "echo",
  digest: "sha256:b",
  sentAt,
  acknowledged: true,
  keys: new Set([KEY]),
  ...more,
});
const patch = (at: number) => ({ module: "echo", mark: markOf(annotations), at, status: 200 });
const ledger = (more: Partial<Ledger>): Ledger => ({
  pushes: [push(1_000)],
  patches: [patch(2_000)],
  overrides: [{ metadata: { name: "echo", annotations } }],
  named: [],
  wrong: [],
  ...more,
});
const astray = { module: "echo", shows: "sha256:a", registry: "sha256:b" };

describe("a push", () => {
  it("that a nudge followed is not lost", () => {
    expect(lostOf(ledger({}))).toEqual([]);
  });

  it.each<[string, Partial<Ledger>]>([
    ["set out after the last nudge", { pushes: [push(1_000), push(3_000)] }],
    ["is of an override that nobody nudged", { overrides: [{ metadata: { name: "echo", annotations: {} } }], patches: [] }],
    ["was nudged by a patch that another one undid", { patches: [patch(500), { ...patch(2_000), mark: "another" }] }],
    ["has an override that does not follow", { wrong: [astray] }],
  ])("that %s is lost", (_why, more) => {
    expect(lostOf(ledger(more))).toMatchObject([{ module: "echo", digest: "sha256:b" }]);
  });

  it.each<[string, Partial<Ledger>]>([
    ["lies in the queue", { pushes: [push(3_000)], named: [{ key: KEY }] }],
    ["was never acknowledged", { pushes: [push(3_000, { acknowledged: false })], wrong: [astray] }],
  ])("that %s is not lost", (_why, more) => {
    expect(lostOf(ledger(more))).toEqual([]);
  });

  it("is lost in spite of a record of another push of the same override", () => {
    expect(lostOf(ledger({ pushes: [push(3_000)], named: [{ key: "another" }] }))).toHaveLength(1);
  });

  it("of an override that holds a nudge which nobody saw makes the run worthless", () => {
    expect(() => lostOf(ledger({ patches: [] }))).toThrow("did not come by the way that is watched");
  });
});

describe("a plan", () => {
  it("is the same for the same seed, and another for another", () => {
    expect(planOf(7, "hub", 200)).toEqual(planOf(7, "hub", 200));
    expect(planOf(8, "hub", 200)).not.toEqual(planOf(7, "hub", 200));
  });

  it("has every fault of its topology, and images that come again", () => {
    const { faults, pushes } = planOf(7, "elasticmq", 200);
    expect(new Set(faults.map(({ name }) => name)).size).toBe(15);
    expect(faults.filter(({ name }) => name === "version switch")).toHaveLength(1);
    expect(pushes.some(({ back }) => back !== null)).toBe(true);
  });
});
