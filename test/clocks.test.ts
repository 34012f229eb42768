/** Clocks that are wrong, or were: no acknowledged push may be taken for covered by, or wait for, an instant that has not come. */
import { describe, expect, it } from "vitest";
import { SWEEP } from "../src/event.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import { understand } from "../src/receive.ts";
import { renew } from "../src/renew.ts";
import { hearingsOf } from "../src/silence.ts";
import { at, configOf, digestOf, fakeContext, overrideOf, requestOf, source, start, webhook } from "./support/relay.ts";

const DAY = 86_400;
const a = (part: Parameters<typeof requestOf>[0]) => requestOf({ key: "aaaaaaaaaaaa", digest: digestOf("a"), ...part });
const b = (part: Parameters<typeof requestOf>[0]) => requestOf({ key: "bbbbbbbbbbbb", digest: digestOf("b"), ...part });

/** Push A was nudged and picked up; ten minutes later comes push B. */
async function bAfterA(first: ReturnType<typeof a>, second: ReturnType<typeof b>, aheadBy = 0) {
  const { context, cluster, wait } = fakeContext();
  wait(aheadBy);
  expect(await renew(first, context)).toMatchObject({ code: "NUDGED" });
  cluster.set({ status: { message: "Ready", imageDigest: digestOf("c"), updatedAt: at(10) } });
  wait(600 - aheadBy);
  return renew(second, context);
}

describe("a clock that was ahead by an hour when push A came", () => {
  it("the sender's: B is nudged", async () => {
    const outcome = await bAfterA(a({ pushedAt: at(3600), receivedAt: at(0) }), b({ pushedAt: at(600), receivedAt: at(600) }));
    expect(outcome).toMatchObject({ code: "NUDGED" });
  });
  it("the edge's, for a sender without a clock: B is nudged", async () => {
    const outcome = await bAfterA(a({ pushedAt: null, receivedAt: at(3600) }), b({ pushedAt: null, receivedAt: at(600) }));
    expect(outcome).toMatchObject({ code: "NUDGED" });
  });
  it("the consumer's, even by a day: B does not wait for it", async () => {
    expect(await bAfterA(a({ pushedAt: at(0) }), b({ pushedAt: at(600) }), DAY)).toMatchObject({ code: "NUDGED" });
  });
  it("the consumer's, even by a day: B, of which no webhook told, is nudged for the sweep", async () => {
    const swept = b({ webhook: SWEEP, pushedAt: null, receivedAt: at(555) });
    expect(await bAfterA(a({ pushedAt: at(0) }), swept, DAY)).toMatchObject({ code: "NUDGED" });
  });
  it("the consumer's, even by a day: the webhook that did not tell of B is silent all the same", () => {
    const nudged = (name: string, request: ReturnType<typeof a>, nudgedAt: string) => {
      const mark = Object.entries(nudgeAnnotations(request, 0, null, new Date(nudgedAt)));
      const annotations = Object.fromEntries(mark.filter((each): each is [string, string] => each[1] !== null));
      return overrideOf({ name, annotations, status: { message: "Ready", imageDigest: request.digest, updatedAt: at(10) } });
    };
    const overrides = [nudged("a", a({}), at(DAY)), nudged("b", b({ webhook: SWEEP, receivedAt: at(555) }), at(600))];
    expect(hearingsOf(overrides, "dev", [source], new Date(at(900)))).toMatchObject([{ missed: [{ override: { name: "b" } }] }]);
  });
  it("is what it was once that hour is over: the same sender's later time covers what was received before the nudge went out", async () => {
    const outcome = await bAfterA(a({ pushedAt: at(300) }), b({ pushedAt: at(200), receivedAt: at(-10) }));
    expect(outcome).toMatchObject({ code: "JOINED" });
  });
});

it("the edge believes no time that lies in its future; the push and its key are the same", () => {
  const pushedAt = (time: string) => {
    const target = { mediaType: "application/vnd.oci.image.manifest.v1+json", repository: "deckhouse/modules/echo", tag: "main" };
    const event = { timestamp: time, action: "push", target, request: { host: "registry.example.com" } };
    const body = Buffer.from(JSON.stringify({ events: [event] }));
    const { events, requests } = understand({ webhook: "registry", headers: {}, body }, webhook, configOf(), start);
    expect(events[0]?.time).toBe(time);
    return requests[0]?.pushedAt;
  };
  expect(pushedAt(at(2))).toBe(at(2));
  expect(pushedAt(at(-DAY))).toBe(at(-DAY));
  expect(pushedAt(at(3))).toBeNull();
});
