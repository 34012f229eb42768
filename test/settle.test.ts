import { describe, expect, it } from "vitest";
import { decode } from "../src/event.ts";
import { type ErrorCode, type Outcome, RelayError } from "../src/outcome.ts";
import { hopOf, settlementOf } from "../src/settle.ts";
import { at, requestOf, start } from "./support/relay.ts";

const failed = (code: ErrorCode, retryAfterSeconds: number | null = null): Outcome => ({
  kind: "failed",
  error: new RelayError(code, "why", { retryAfterSeconds }),
});
const settle = (outcome: Outcome, part = {}, random = 0) => settlementOf(outcome, requestOf(part), start, () => random);
const read = (settlement: ReturnType<typeof settle>) => (settlement.kind === "defer" ? decode(settlement.next.body) : null);

describe("settlementOf", () => {
  it("acknowledges what is done or skipped", () => {
    expect(settle({ kind: "done", code: "PICKED_UP" })).toEqual({ kind: "acknowledge" });
    expect(settle({ kind: "skipped", reason: "TAG_DIFFERS" })).toEqual({ kind: "acknowledge" });
  });

  it("defers by a copy with one attempt more", () => {
    const settlement = settle({ kind: "deferred", seconds: 3, why: "" }, { attempt: 4 });
    expect(settlement).toMatchObject({ kind: "defer", next: { delaySeconds: 3 } });
    expect(read(settlement)).toMatchObject({ request: { attempt: 5, notBefore: null } });
  });

  it.each([
    "CLUSTER_UNREACHABLE",
    "CLUSTER_BUSY",
    "CLUSTER_ERROR",
    "CLUSTER_UNAUTHORIZED",
    "API_VERSION_GONE",
    "CONFLICT",
    "INTERNAL",
  ] as const)("tries again after %s without end, with growing back-off and full jitter", (code) => {
    expect(settle(failed(code), { attempt: 0 }, 0)).toMatchObject({ kind: "defer", next: { delaySeconds: 0.5 } });
    expect(settle(failed(code), { attempt: 0 }, 1)).toMatchObject({ next: { delaySeconds: 2.5 } });
    expect(settle(failed(code), { attempt: 100_000 }, 1)).toMatchObject({ kind: "defer", next: { delaySeconds: 300.5 } });
  });

  it("waits at least as long as the API server asked for", () => {
    expect(settle(failed("CLUSTER_BUSY", 40), {}, 0)).toMatchObject({ next: { delaySeconds: 40 } });
  });

  it.each([
    [0, 0, 5], // a server that has just started refuses everybody, for a moment
    [0, 1, 6.25],
    [20, 0, 20],
    [600, 0, 600],
    [7200, 1, 900],
  ])("after %s s of 403 by RBAC waits, with a chance of %s, %s s", (refused, random, delaySeconds) => {
    expect(settle(failed("FORBIDDEN"), { refusedSince: at(-refused) }, random)).toMatchObject({ next: { delaySeconds } });
  });

  it("buries a 403 by RBAC after a day, counted from the first one", () => {
    expect(read(settle(failed("FORBIDDEN")))).toMatchObject({ request: { refusedSince: at(0) } });
    expect(settle(failed("FORBIDDEN"), { refusedSince: at(-24 * 3600) })).toMatchObject({ kind: "defer" });
    expect(settle(failed("FORBIDDEN"), { refusedSince: at(-24 * 3600 - 1) })).toMatchObject({
      kind: "bury",
      letter: { code: "FORBIDDEN" },
    });
  });

  it("counts that day anew after an outage, in which nobody could refuse it: a server that has just started refuses everybody", () => {
    const away = read(settle(failed("CLUSTER_UNREACHABLE"), { refusedSince: at(-25 * 3600) }));
    expect(away).toMatchObject({ request: { refusedSince: null } });
    const back = away?.kind === "request" ? away.request : expect.fail("no request");
    expect(settle(failed("FORBIDDEN"), back)).toMatchObject({ kind: "defer", next: { delaySeconds: 5 } });
  });

  it.each(["FORBIDDEN_BY_POLICY", "INVALID", "UNCONFIRMED"] as const)("buries %s at once, with the reason", (code) => {
    const letter = { code, text: "why", attempts: 3, firstAt: at(0), lastAt: at(0) };
    expect(settle(failed(code), { attempt: 2 })).toMatchObject({ kind: "bury", letter });
  });

  it("goes in hops where the wait is longer than a queue can delay, and a hop is no attempt", () => {
    const settlement = settle({ kind: "deferred", seconds: 2000, why: "" });
    expect(settlement).toMatchObject({ next: { delaySeconds: 900 } });
    expect(read(settlement)).toMatchObject({ request: { notBefore: at(2000) } });
    const waiting = requestOf({ notBefore: at(2000), attempt: 1 });
    expect(hopOf(waiting, new Date(at(900)))).toMatchObject({ next: { delaySeconds: 900 } });
    expect(hopOf(waiting, new Date(at(1800)))).toMatchObject({ next: { delaySeconds: 200 } });
    expect(hopOf(waiting, new Date(at(2000)))).toBeNull();
  });
});
