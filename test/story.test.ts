/** What a journal's entries tell, and who may be told. */
import { describe, expect, it, vi } from "vitest";
import { type Entry, entryOf, type Stage } from "../src/journal/journal.ts";
import { type PushesContext, signedPath, tellPush } from "../src/pushes.ts";
import type { Detail } from "../src/outcome.ts";
import { sign } from "../src/sign.ts";
import { stateOf, storiesOf } from "../src/story.ts";
import { at, configOf, fakeObserver, requestOf, start, webhook } from "./support/relay.ts";

const entry = (part: Partial<Entry>, stage: Stage, seconds: number, detail: Detail = {}): Entry => ({
  ...entryOf(requestOf(), stage, at(seconds), detail),
  last: at(seconds),
  times: 1,
  ...part,
});

describe("a story", () => {
  it("has each push once, the latest first, with where each cluster stands", () => {
    const entries = [
      entry({ key: "older000" }, "QUEUED", 0),
      entry({ key: "older000", cluster: "stage" }, "QUEUED", 0),
      entry({ key: "older000" }, "NUDGED", 1),
      entry({ key: "older000" }, "PICKED_UP", 3, { digest: "sha256:x" }),
      entry({ key: "newer000", receivedAt: at(9) }, "QUEUED", 9),
    ];
    const [newer, older] = storiesOf(entries.toReversed());
    expect(newer).toMatchObject({ key: "newer000", state: "waiting" });
    expect(older).toMatchObject({ key: "older000", state: "waiting" });
    expect(older?.clusters).toMatchObject([
      { cluster: "dev", state: "done", outcome: "PICKED_UP", at: at(3) },
      { cluster: "stage", state: "waiting", outcome: "QUEUED" },
    ]);
    expect(older?.clusters[0]?.stages.map(({ stage }) => stage)).toEqual(["QUEUED", "NUDGED", "PICKED_UP"]);
  });

  it("puts the edge first and an end last within one millisecond", () => {
    const [story] = storiesOf([entry({}, "JOINED", 1, { coveredBy: "other000" }), entry({}, "QUEUED", 1), entry({}, "DEFERRED", 1)]);
    expect(story?.clusters[0]).toMatchObject({ outcome: "JOINED", coveredBy: "other000", state: "done" });
    expect(story?.clusters[0]?.stages.map(({ stage }) => stage)).toEqual(["QUEUED", "DEFERRED", "JOINED"]);
  });

  it("is open again when a delivery came again", () => {
    const [story] = storiesOf([entry({}, "PICKED_UP", 1), entry({ last: at(5) }, "QUEUED", 0)]);
    expect(story?.clusters[0]).toMatchObject({ outcome: "QUEUED", state: "waiting" });
  });

  it.each([
    ["FORBIDDEN", { buried: false, why: "no" }, "waiting"],
    ["FORBIDDEN", { buried: true, why: "no" }, "failed"],
    ["REFUSED", { message: "The module disabled" }, "failed"],
    ["NOT_OVERRIDDEN", {}, "done"],
    ["FORCED", {}, "waiting"],
    ["REDEPLOYED", {}, "done"],
    ["NOT_FORCED", { why: "no" }, "failed"],
    ["SOMETHING_NEW", {}, "waiting"],
  ] as const)("calls %s with %j %s", (stage, detail, state) => {
    expect(stateOf({ stage, detail })).toBe(state);
  });
});

describe("whoever asks what became of a push", () => {
  const key = requestOf().key;
  const secret = "correct horse battery";
  function contextOf(entries: readonly Entry[], part: Partial<typeof webhook> = {}): PushesContext {
    return {
      config: configOf({ webhooks: { registry: { ...webhook, ...part } } }),
      readSecret: async () => secret,
      observer: fakeObserver().observer,
      now: () => start,
      journal: {
        read: async ({ key: wanted, cluster }) =>
          entries.filter((each) => each.key === wanted && (cluster === undefined || each.cluster === cluster)),
      },
    };
  }
  const ask = (headers: Record<string, string> = {}, pathSecret: string | null = null) => ({ key, headers, pathSecret });
  const entries = [entry({}, "QUEUED", 0), entry({}, "NUDGED", 1, { why: "w", secretish: "not for them" })];

  it("needs the webhook's own credential", async () => {
    const context = contextOf(entries);
    await expect(tellPush(ask(), context)).rejects.toMatchObject({ code: "AUTH_FAILED" });
    await expect(tellPush(ask({ authorization: "Bearer wrong" }), context)).rejects.toMatchObject({ code: "AUTH_FAILED" });
    const told = await tellPush(ask({ authorization: `Bearer ${secret}` }), context);
    expect(told).toMatchObject({ key, state: "waiting", clusters: [{ cluster: "dev", outcome: "NUDGED" }] });
    expect(JSON.stringify(told)).not.toContain("not for them");
  });

  it("signs the path where its sender signs, so that a signature is good for one push", async () => {
    const context = contextOf(entries, { provider: "generic" });
    const proofFor = (text: string) =>
      sign({ kind: "standard-webhooks" }, secret, { body: text, id: "1", now: start, username: null }).headers;
    expect(await tellPush(ask(proofFor(signedPath(key))), context)).toMatchObject({ key });
    await expect(tellPush(ask(proofFor(signedPath("another0"))), context)).rejects.toMatchObject({ code: "AUTH_FAILED" });
    await expect(tellPush(ask(proofFor("")), context)).rejects.toMatchObject({ code: "AUTH_FAILED" });
  });

  it("puts the secret behind the key where the sender can send no header", async () => {
    const context = contextOf(entries, { provider: "quay" });
    expect(await tellPush(ask({}, secret), context)).toMatchObject({ key });
    await expect(tellPush(ask({}, "wrong"), context)).rejects.toMatchObject({ code: "AUTH_FAILED" });
  });

  it("gets nothing of a push that nobody knows, or whose webhook is gone", async () => {
    await expect(tellPush(ask(), contextOf([]))).rejects.toMatchObject({ code: "UNKNOWN_PUSH" });
    const gone = [entry({ webhook: "gone" }, "QUEUED", 0)];
    await expect(tellPush(ask(), contextOf(gone))).rejects.toMatchObject({ code: "UNKNOWN_PUSH" });
  });

  it("makes nobody look for what can be no key: no credential is asked for before", async () => {
    const read = vi.fn(async () => []);
    const context = { ...contextOf([]), journal: { read } };
    for (const odd of ["", "short", "UPPERCASE0", "../../etc", "a".repeat(64), "%00aaaaaaaa"])
      await expect(tellPush({ ...ask(), key: odd }, context)).rejects.toMatchObject({ code: "UNKNOWN_PUSH" });
    expect(read).not.toHaveBeenCalled();
    await expect(tellPush(ask(), context)).rejects.toMatchObject({ code: "UNKNOWN_PUSH" });
    expect(read).toHaveBeenCalledOnce();
  });

  it("is not told that another image's pick-up is its own", async () => {
    const covering = (digest: string | null) => [
      entry({ digest: "sha256:aa" }, "JOINED", 1, { coveredBy: "second00" }),
      entry({ key: "second00", digest }, "PICKED_UP", 3),
    ];
    const bearer = { authorization: `Bearer ${secret}` };
    const other = await tellPush(ask(bearer), contextOf(covering("sha256:bb")));
    expect(other).toMatchObject({ applied: false, clusters: [{ outcome: "SUPERSEDED", why: expect.stringContaining("second00") }] });
    const same = await tellPush(ask(bearer), contextOf(covering("sha256:aa")));
    expect(same).toMatchObject({ applied: true, clusters: [{ outcome: "PICKED_UP" }] });
  });

  it("is told of a cluster that still waits, however many others have ended since", async () => {
    const ended = Array.from({ length: 600 }, (_, index) => entry({ cluster: `c${index}` }, "PICKED_UP", 9));
    const context = contextOf([]);
    const all = [...ended, entry({ cluster: "stuck" }, "QUEUED", 0)];
    const journal = { read: async ({ limit }: { limit: number }) => all.slice(0, limit) };
    const told = await tellPush(ask({ authorization: `Bearer ${secret}` }), { ...context, journal });
    expect(told).toMatchObject({ applied: null, state: "waiting" });
  });

  it("learns what became of the push that covers it, over several of them, and of none in a ring", async () => {
    const chain = [
      entry({}, "JOINED", 1, { coveredBy: "second00" }),
      entry({ key: "second00" }, "JOINED", 2, { coveredBy: "third000" }),
      entry({ key: "third000" }, "REFUSED", 3, { message: "The module disabled" }),
    ];
    const bearer = { authorization: `Bearer ${secret}` };
    const told = await tellPush(ask(bearer), contextOf(chain));
    expect(told).toMatchObject({
      state: "failed",
      clusters: [{ outcome: "REFUSED", why: "The module disabled", coveredBy: "second00" }],
    });
    const ring = [entry({}, "JOINED", 1, { coveredBy: "second00" }), entry({ key: "second00" }, "JOINED", 2, { coveredBy: key })];
    expect(await tellPush(ask(bearer), contextOf(ring))).toMatchObject({ state: "done" });
  });
});
