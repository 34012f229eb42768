/** What a sweep finds, what it asks for, and that whatever stays wrong is asked for only so often. */
import { describe, expect, it } from "vitest";
import type { Override } from "../src/cluster/overrides.ts";
import { readFound } from "../src/cluster/read.ts";
import type { SourceConfig } from "../src/config.ts";
import { decode, SWEEP } from "../src/event.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import { RelayError } from "../src/outcome.ts";
import { renew } from "../src/renew.ts";
import { hearingsOf, isServed } from "../src/silence.ts";
import { sweep, type SweepContext } from "../src/sweep.ts";
import { createSweeper, createTroubleNews, sweepAgain } from "../src/sweeper.ts";
import { at, digestOf, fakeCluster, fakeContext, fakeObserver, overrideOf, requestOf, source as plain, start } from "./support/relay.ts";

const registry = { username: null, password: null, dockerConfig: null, ca: null, plainHttp: false };
const source: SourceConfig = { ...plain, registry };
const other: SourceConfig = { ...source, repo: "other.example.com/modules", name: "other" };
const [OLD, NEW, INDEX] = [digestOf("0"), digestOf("a"), digestOf("b")];

type Answer = string | null | RelayError | { digest: string; image: string };
/** `names`: what each repository's tag names; a text is a digest. */
function contextOf(overrides: readonly Override[], names: Record<string, Answer>, part: Partial<SweepContext> = {}): SweepContext {
  return {
    cluster: "dev",
    sources: [source],
    overrides: { list: async () => [...overrides], state: async () => null },
    registry: {
      async resolve({ image }) {
        const answer = names[image.slice(0, image.lastIndexOf(":"))] ?? null;
        if (answer instanceof RelayError) throw answer;
        return typeof answer === "string" ? { digest: answer, image: answer } : answer;
      },
    },
    now: () => start,
    ...part,
  };
}
const ECHO = `${source.repo}/echo`;
const nudged = (part: Parameters<typeof requestOf>[0], agoSeconds = 3600, nudge = 0) =>
  nudgeAnnotations(requestOf({ receivedAt: at(-agoSeconds), ...part }), nudge, null, new Date(at(-agoSeconds)));
function marked(part: Parameters<typeof requestOf>[0], override: Partial<Override> = {}, agoSeconds = 3600): Override {
  const annotations = Object.fromEntries(
    Object.entries(nudged(part, agoSeconds)).filter((each): each is [string, string] => each[1] !== null),
  );
  return overrideOf({ annotations, ...override });
}
const status = (imageDigest: string | null, message = "Ready", updatedAt = at(-7200)) => ({ imageDigest, message, updatedAt });
async function one(context: SweepContext) {
  const { rows, troubles } = await sweep(context);
  const [row = expect.fail("no row")] = rows;
  return { state: row.state, why: row.why, request: row.request, troubles };
}

describe("an override", () => {
  const busy = new RelayError("REGISTRY_UNAVAILABLE", "r: it answers 429, too many requests", { retryAfterSeconds: 60 });
  const arm = new RelayError("REGISTRY_UNAVAILABLE", "r/echo: its index has no manifest for linux/amd64");
  it.each<[string, Override, Answer, string, RegExp | null]>([
    ["that holds what its tag names, by a delivery", marked({ digest: NEW }, { status: status(NEW) }), NEW, "push", null],
    ["the same, of a push whose digest nobody knew", marked({ digest: null }, { status: status(NEW) }), NEW, "push", null],
    ["that nobody nudged", overrideOf({ status: status(NEW) }), NEW, "polling", null],
    ["that the sweep nudged", marked({ digest: NEW, webhook: SWEEP }, { status: status(NEW) }), NEW, "polling", null],
    ["whose delivery was of an earlier image", marked({ digest: OLD }, { status: status(NEW) }), NEW, "polling", null],
    ["that shows an index's own digest", overrideOf({ status: status(INDEX) }), { digest: INDEX, image: NEW }, "polling", null],
    ["that shows the index's child", overrideOf({ status: status(NEW) }), { digest: INDEX, image: NEW }, "polling", null],
    ["whose tag is gone", overrideOf(), null, "unknown", /the registry has no .*echo:main/],
    ["whose index is not for linux/amd64", overrideOf(), arm, "unknown", /linux\/amd64/],
    ["whose registry answers 429", overrideOf(), busy, "unknown", /429/],
    ["of a disabled module", overrideOf({ status: status(null, "The module disabled") }), NEW, "unknown", /enable the module/],
    ["with a tag like werf's", overrideOf({ imageTag: "a".repeat(56) }), NEW, "unserved", /no source/],
  ])("%s", async (_what, override, answer, state, why) => {
    const found = await one(contextOf([override], { [ECHO]: answer }));
    expect(found).toMatchObject({ state, request: null });
    if (why) expect(found.why).toMatch(why);
  });

  it("below no source is unserved; below one without `registry` nobody knows", async () => {
    expect(await one(contextOf([overrideOf()], { [ECHO]: NEW }, { sources: [{ ...source, modules: ["other"] }] }))).toMatchObject({
      state: "unserved",
    });
    expect(await one(contextOf([overrideOf()], { [ECHO]: NEW }, { sources: [plain] }))).toMatchObject({ state: "unknown" });
  });

  it("that holds something else is behind, and an ordinary request says so: the image's digest as Deckhouse shows it", async () => {
    const { state, request } = await one(contextOf([overrideOf()], { [ECHO]: { digest: INDEX, image: NEW } }));
    expect(state).toBe("behind");
    expect(request).toMatchObject({
      kind: "renew",
      cluster: "dev",
      webhook: SWEEP,
      actor: null,
      digest: NEW,
      index: false,
      image: `${ECHO}:main`,
    });
  });
});

describe("with several sources of one module", () => {
  const names = { [ECHO]: NEW, [`${other.repo}/echo`]: OLD };
  const sources = [source, other];
  it.each<[string, Partial<Override>, string | null, string]>([
    ["spec.source decides (v1alpha1)", { source: "test", apiVersion: "v1alpha1" }, "other", "behind"],
    ["else the Module's active source", {}, "test", "behind"],
    ["the other one", {}, "other", "polling"],
    ["unknown: current if it holds what either has", {}, null, "polling"],
    ["an active source that is not configured: unserved", {}, "third", "unserved"],
  ])("%s", async (_what, part, active, state) => {
    const overrides = {
      list: async () => [overrideOf(part)],
      state: async () => (active === null ? null : { source: active, isReady: true, isBroken: false, message: "" }),
    };
    expect(await one(contextOf([], names, { sources, overrides }))).toMatchObject({ state });
  });

  it.each<[string, SourceConfig, string | null, string, RegExp]>([
    [
      "named by its Module: unserved",
      source,
      "payments",
      "unserved",
      /^its Module comes from ModuleSource payments, which is none of `sources`$/,
    ],
    ["which its Module names as well", source, "test", "unknown", /^the registry has no \S+echo:main$/],
    ["of which its Module says nothing", source, null, "unknown", /^the registry has no \S+echo:main$/],
    [
      "without a name",
      { ...source, name: null },
      "payments",
      "unknown",
      /^the registry has no \S+echo:main; its Module comes from ModuleSource payments$/,
    ],
  ])("an image that is not there, below the one source that may hold it, %s", async (_what, only, active, state, why) => {
    const overrides = {
      list: async () => [overrideOf()],
      state: async () => (active === null ? null : { source: active, isReady: null, isBroken: false, message: "" }),
    };
    expect(await one(contextOf([], {}, { sources: [only], overrides }))).toMatchObject({ state, why: expect.stringMatching(why) });
  });

  it("one of which does not answer, and the other has something else: nobody knows", async () => {
    const away = new RelayError("REGISTRY_UNAVAILABLE", "away", { retryAfterSeconds: 60 });
    expect(await one(contextOf([overrideOf()], { [ECHO]: NEW, [`${other.repo}/echo`]: away }, { sources }))).toMatchObject({
      state: "unknown",
    });
  });
});

describe("a registry in trouble", () => {
  it("is told once for its source, whatever is asked of it, and others go on", async () => {
    const { observer, alarms, outcomes } = fakeObserver();
    const tell = createTroubleNews(observer);
    const names = ["a", "b", "c"].map((name) => overrideOf({ name }));
    const refused = new RelayError("REGISTRY_UNAVAILABLE", "r: it refuses the credential", { retryAfterSeconds: 60 });
    const bad = Object.fromEntries(names.map(({ name }) => [`${source.repo}/${name}`, refused]));
    const sources = [
      { ...source, modules: ["a", "b", "c"] },
      { ...other, modules: ["d"] },
    ];
    const all = [...names, overrideOf({ name: "d" })];
    for (let times = 0; times < 2; times++) {
      const swept = await sweep(contextOf(all, { ...bad, [`${other.repo}/d`]: NEW }, { sources }));
      expect(swept.rows.map(({ state }) => state)).toEqual(["unknown", "unknown", "unknown", "behind"]);
      tell(swept);
    }
    expect(alarms).toMatchObject([{ code: "REGISTRY_UNAVAILABLE", source: "test", why: "r: it refuses the credential" }]);
    tell(await sweep(contextOf(all, Object.fromEntries(names.map(({ name }) => [`${source.repo}/${name}`, OLD])), { sources })));
    expect(outcomes()).toEqual(["REGISTRY_ANSWERS"]);
  });

  it("is none where one image of many is refused", async () => {
    const refused = new RelayError("REGISTRY_UNAVAILABLE", "r: it refuses the credential the right to pull");
    const overrides = [overrideOf(), overrideOf({ name: "closed" })];
    expect((await sweep(contextOf(overrides, { [ECHO]: OLD, [`${source.repo}/closed`]: refused }))).troubles).toEqual([]);
    expect((await sweep(contextOf([overrideOf()], { [ECHO]: refused }))).troubles).toHaveLength(1);
  });
});

it("a sweep that runs out of time leaves out others than the last one did", async () => {
  const overrides = Array.from({ length: 100 }, (_, n) => overrideOf({ name: `m-${n}` }));
  const looked = new Set<string>();
  for (let sweeps = 0; sweeps < 200; sweeps++) {
    const stop = new AbortController();
    let asked = 0;
    const resolve = async ({ module }: { module: string }) => {
      looked.add(module);
      if (++asked === 20) stop.abort();
      return { digest: NEW, image: NEW };
    };
    const { rows } = await sweep(contextOf(overrides, {}, { registry: { resolve } }), { signal: stop.signal });
    expect(rows.filter(({ why }) => why === "there was no time left").length).toBeGreaterThan(0);
  }
  expect(looked.size).toBe(overrides.length);
});

describe("what stays behind", () => {
  const behindOf = (override: Override, now = start) => one(contextOf([override], { [ECHO]: NEW }, { now: () => now }));

  it("has the same key in every sweep, and another after each nudge and each deploy", async () => {
    const key = async (override: Override) => (await behindOf(override)).request?.key;
    const first = await key(overrideOf());
    expect(await key(overrideOf())).toBe(first);
    const keys = [
      first,
      await key(overrideOf({ status: status(INDEX) })),
      await key(overrideOf({ status: status(OLD, "Ready", at(-60)) })),
      await key(marked({ key: "bbbbbbbbbbbb", digest: OLD }, { status: status(OLD) })),
      await key(marked({ key: "cccccccccccc", digest: OLD }, { status: status(OLD) })),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    const error = (updatedAt: string) => key(overrideOf({ status: status(OLD, "Download error: no", updatedAt) }));
    expect(await error(at(-60))).toBe(await error(at(-1)));
  });

  it("although it was nudged for this very image is left to that nudge, and told again only after hours, as the same push", async () => {
    const failing = { status: status(OLD, "Download error: no", at(-10)) };
    for (const webhook of [SWEEP, "registry"]) {
      const part = { webhook, digest: NEW, pushedAt: null };
      expect(await behindOf(marked(part, failing, 300))).toMatchObject({ state: "behind", why: "Download error: no", request: null });
      const later = await behindOf(marked(part, failing, 6 * 3600 + 1));
      expect(later.request).toMatchObject({ webhook, key: "aaaaaaaaaaaa", nudge: 1 });
    }
  });

  it("and is ready was looked at by Deckhouse, which sees something else: a mirror that is late, and not behind", async () => {
    const found = await behindOf(marked({ webhook: SWEEP, digest: NEW }, { status: status(OLD) }, 300));
    expect(found).toMatchObject({ state: "unknown", request: null, why: expect.stringContaining("mirror") });
  });

  it("of what a delivery has just brought is nudged, and does not count as behind: a mirror may be late", async () => {
    const running = { status: status(OLD, "Ready", at(-55)) };
    expect(await behindOf(marked({ digest: OLD }, running, 60))).toMatchObject({ state: "unknown", request: { webhook: SWEEP } });
    expect(await behindOf(marked({ digest: OLD }, running, 660))).toMatchObject({ state: "behind", request: { webhook: SWEEP } });
  });

  it("is nudged where the nudge for this image was for another tag", async () => {
    const failing = { status: status(OLD, "Download error: no") };
    const found = await behindOf(marked({ digest: NEW, tag: "next" }, failing, 300));
    expect(found).toMatchObject({ state: "behind", request: { webhook: SWEEP, nudge: 0 } });
  });

  it("is nudged once more where an image that is not valid came after the delivery of this one", async () => {
    const invalid = { status: status(OLD, "Validation error: no module.yaml", at(-200)) };
    expect((await behindOf(marked({ digest: NEW }, invalid, 300))).request).toMatchObject({ webhook: SWEEP, nudge: 0 });
    expect((await behindOf(marked({ digest: NEW, webhook: SWEEP }, invalid, 300))).request).toBeNull();
  });

  it("after a nudge for an unknown digest waits for that one a while", async () => {
    expect((await behindOf(marked({ digest: null }, { status: status(OLD) }, 60))).request).toBeNull();
    expect((await behindOf(marked({ digest: null }, { status: status(OLD) }, 901))).request).not.toBeNull();
    const deployed = { status: status(OLD, "Ready", at(-30)) };
    expect((await behindOf(marked({ digest: null }, deployed, 60))).request).not.toBeNull();
  });

  it.each([
    ["refused for good", status(null, "The module disabled")],
    ["an image that is not valid", status(OLD, "Validation error: no")],
    ["a download error", status(OLD, "Download error: no")],
    ["a mirror that holds an older image", status(OLD)],
  ])("for a day (%s) is nudged at most four times", async (_what, held) => {
    const { cluster, context, take, wait } = fakeContext(fakeCluster(overrideOf({ status: held })));
    let queued = 0;
    for (let minute = 0; minute < 24 * 60; minute += 5) {
      const { rows } = await sweep(contextOf([], { [ECHO]: NEW }, { overrides: cluster.overrides, now: context.now }));
      wait(45);
      for (const { request } of rows) {
        if (!request) continue;
        queued += 1;
        await renew(request, context);
      }
      // Deckhouse tries, and writes that it failed
      if (held.message !== "Ready") cluster.set({ status: { ...held, updatedAt: context.now().toISOString() } });
      take();
      wait(255);
    }
    expect(queued).toBeLessThanOrEqual(4);
    expect(cluster.patches.length).toBe(queued);
  });
});

describe("a record of the sweep", () => {
  const swept = requestOf({ webhook: SWEEP, digest: NEW, pushedAt: null, receivedAt: at(0), key: "ssssssss1" });

  it("nudges what is still behind, ends CURRENT where it is not, and JOINED where a nudge went out meanwhile", async () => {
    const still = fakeContext();
    expect(await renew(swept, still.context)).toMatchObject({ kind: "done", code: "NUDGED" });
    const there = fakeContext(fakeCluster(overrideOf({ status: status(NEW) })));
    expect(await renew(swept, there.context)).toMatchObject({ code: "CURRENT" });
    expect(there.cluster.patches).toEqual([]);
    const delivered = fakeContext(fakeCluster(marked({ receivedAt: at(10) }, {}, -10)));
    delivered.wait(45);
    expect(await renew(swept, delivered.context)).toMatchObject({ code: "JOINED", detail: { coveredBy: "aaaaaaaaaaaa" } });
    const before = fakeContext(fakeCluster(marked({ digest: OLD }, {}, 10)));
    before.wait(45);
    expect(await renew(swept, before.context)).toMatchObject({ code: "NUDGED" });
  });

  it("heals a second loss of the same image too: A, B, A, B, each of them lost", async () => {
    const { cluster, context, wait } = fakeContext(fakeCluster(overrideOf({ status: status(OLD) })));
    for (const wanted of [NEW, OLD, NEW, OLD, NEW]) {
      const { request } = await one(contextOf([], { [ECHO]: wanted }, { overrides: cluster.overrides, now: context.now }));
      wait(45);
      expect(await renew(request ?? expect.fail("nothing asked for"), context)).toMatchObject({ code: "NUDGED" });
      wait(10);
      cluster.set({ status: status(wanted, "Ready", context.now().toISOString()) });
      wait(300);
    }
  });
});

describe("a webhook", () => {
  const took = { status: status(NEW) };
  const hear = (overrides: readonly Override[]) => hearingsOf(overrides, "dev", [source], start)[0] ?? expect.fail("no source");
  it("is silent after a push that the sweep found and Deckhouse took, until a later delivery", () => {
    const lost = marked({ webhook: SWEEP, digest: NEW }, took, 600);
    expect(hear([lost]).missed).toMatchObject([{ override: { name: "echo" }, nudge: { webhook: SWEEP } }]);
    const delivered = (ago: number) => marked({ digest: NEW }, { ...took, name: "other" }, ago);
    expect(hear([lost, delivered(900)])).toMatchObject({ heardAt: new Date(at(-900)), missed: [{}] });
    expect(hear([lost, delivered(60)])).toMatchObject({ heardAt: new Date(at(-60)), missed: [] });
  });

  it.each([
    ["the delivery may still come", marked({ webhook: SWEEP, digest: NEW }, took, 60)],
    ["Deckhouse did not take it", marked({ webhook: SWEEP, digest: NEW }, {}, 600)],
    ["a person nudged it", marked({ webhook: "(mpo-relay renew)", digest: null }, took, 600)],
    [
      "the override is new, and Deckhouse was at its first image",
      marked({ webhook: SWEEP, digest: NEW }, { ...took, taggedAt: at(-700) }, 600),
    ],
  ])("is not silent where %s", (_what, override) => {
    expect(hear([override]).missed).toEqual([]);
  });

  it("of one source is neither silent nor heard by what another's did, though both may hold every module", () => {
    const lost = marked({ webhook: SWEEP, digest: NEW, source: "other" }, { ...took, name: "theirs" }, 600);
    const delivered = marked({ digest: NEW, source: "test" }, took, 60);
    expect(hearingsOf([lost, delivered], "dev", [source, other], start)).toMatchObject([
      { source: { name: "test" }, heardAt: new Date(at(-60)), missed: [] },
      { source: { name: "other" }, heardAt: null, missed: [{ override: { name: "theirs" } }] },
    ]);
    for (const unknown of [null, "renamed since"]) {
      const nobodys = marked({ webhook: SWEEP, digest: NEW, source: unknown }, took, 600);
      expect(hearingsOf([nobodys], "dev", [source, other], start)).toMatchObject([{ missed: [{}] }, { missed: [{}] }]);
    }
  });

  it("is known to be new by what the API server notes of whoever wrote its tag", () => {
    const by = (manager: string, field: string, time?: string) => ({ manager, time, fieldsV1: { "f:spec": { [field]: {} } } });
    const taggedAt = (...managedFields: unknown[]) => {
      const metadata = { name: "echo", resourceVersion: "1", managedFields };
      return readFound({ kind: "ModulePullOverride", metadata, spec: { imageTag: "main" } }, "v1alpha2").override.taggedAt;
    };
    const [first, later] = ["2026-11-24T11:00:00Z", "2026-11-24T11:59:00Z"];
    expect(taggedAt(by("kubectl-create", "f:imageTag", first), by("mpo-relay", "f:scanInterval", later))).toBe(first);
    expect(taggedAt(by("helm", "f:imageTag", first), by("kubectl-edit", "f:imageTag", later))).toBe(later);
    expect([taggedAt(), taggedAt(by("helm", "f:imageTag")), taggedAt(by("helm", "f:imageTag", "soon"))]).toEqual([null, null, null]);
  });

  it("is silent although somebody wrote the override's spec long before the push, or after the sweep had seen it", () => {
    for (const taggedAt of [at(-600 - 301), at(-590), null])
      expect(hear([marked({ webhook: SWEEP, digest: NEW }, { ...took, taggedAt }, 600)]).missed).toHaveLength(1);
  });
});

it("an override is served as long as the source of its newest nudge is configured, or one that may be it", () => {
  const unnamed = { ...other, name: null };
  const served = (override: Override, ...sources: SourceConfig[]) => isServed(override, "dev", sources);
  const ofTest = marked({ source: "test" });
  expect([served(ofTest, source), served(ofTest, other), served(ofTest, unnamed), served(ofTest)]).toEqual([true, false, true, false]);
  expect([served(overrideOf(), other), served(marked({ source: null }), other)]).toEqual([true, true]); // nobody knows
  expect(served(ofTest, { ...source, modules: ["other"] })).toBe(false);
  expect(isServed(ofTest, "prod", [source])).toBe(false);
});

describe("the sweeper", () => {
  function sweeperOn(cluster: ReturnType<typeof fakeCluster>, names: Record<string, Answer>, everyMs = 300_000) {
    const { observer, lines, alarms, codes } = fakeObserver();
    const { context, sent, wait } = fakeContext(cluster);
    const opened: RelayError[] = [];
    const notes: unknown[] = [];
    const circuit = {
      error: null,
      waitMs: 1,
      open: (error: RelayError) => void opened.push(error),
      succeeded() {},
      probe: async () => true,
    };
    const own = {
      ...contextOf([], names, { overrides: cluster.overrides, now: context.now }),
      observer,
      circuit,
      send: context.send,
      note: async (entries: readonly unknown[]) => void notes.push(...entries),
      everyMs,
      tellTroubles: createTroubleNews(observer),
    };
    return { sweeper: createSweeper(own), own, lines, alarms, codes, context, sent, wait, opened, notes };
  }

  it("queues what is behind with a grace, once while it waits there, and tells one line with the numbers", async () => {
    const { sweeper, sent, lines } = sweeperOn(fakeCluster(), { [ECHO]: NEW });
    expect(await sweeper.sweep()).toBe(1);
    expect(await sweeper.sweep()).toBe(0);
    expect(sent).toHaveLength(1);
    expect(sent[0]?.delaySeconds).toBe(45);
    expect(decode(sent[0]?.body ?? "")).toMatchObject({ kind: "request", request: { webhook: SWEEP } });
    expect(lines[0]).toMatchObject({ event: "process", outcome: "SWEPT", overrides: 1, behind: 1, push: 0, queued: 1 });
  });

  it("tells how long the same image has been waited for: each sweep of a busy cluster sees another one on its way", async () => {
    const cluster = fakeCluster();
    const names: Record<string, Answer> = { [ECHO]: NEW };
    const { sweeper, lines, wait } = sweeperOn(cluster, names);
    const told = async () => {
      await sweeper.sweep();
      wait(300);
      return lines.filter(({ outcome }) => outcome === "SWEPT").at(-1)?.["behindSeconds"];
    };
    expect([await told(), await told()]).toEqual([0, 300]);
    names[ECHO] = digestOf("e"); // pushed anew
    expect([await told(), await told()]).toEqual([0, 300]);
    names[ECHO] = new RelayError("REGISTRY_UNAVAILABLE", "away"); // nobody can tell, and nothing is known to be well
    expect(await told()).toBe(600);
    names[ECHO] = digestOf("e");
    expect(await told()).toBe(900);
    cluster.set({ status: { message: "Ready", imageDigest: digestOf("e"), updatedAt: at(1500) } });
    expect(await told()).toBe(0);
    names[ECHO] = NEW;
    expect(await told()).toBe(0);
    cluster.set(null);
    expect(await told()).toBe(0);
  });

  it("tells a silent webhook once, with source, overrides and a journal entry, and once that it is heard again", async () => {
    const cluster = fakeCluster();
    const { sweeper, context, sent, wait, alarms, codes, lines, notes } = sweeperOn(cluster, { [ECHO]: NEW });
    await sweeper.sweep();
    wait(45);
    const read = decode(sent.shift()?.body ?? "");
    await renew(read.kind === "request" ? read.request : expect.fail(), context);
    cluster.set({ status: status(NEW, "Ready", at(50)) });
    await sweeper.listen();
    expect(codes()).toEqual([]); // its delivery may still come
    wait(80);
    await sweeper.listen();
    await sweeper.sweep();
    expect(alarms).toMatchObject([{ code: "WEBHOOK_SILENT", source: "test", modules: "echo", heardAt: null }]);
    expect(notes).toMatchObject([{ stage: "WEBHOOK_SILENT", module: "echo", webhook: SWEEP, digest: NEW, at: at(45) }]);
    const delivered = nudgeAnnotations(requestOf({ digest: NEW, receivedAt: at(200) }), 0, null, new Date(at(200)));
    cluster.set({
      annotations: Object.fromEntries(Object.entries(delivered).filter((each): each is [string, string] => each[1] !== null)),
    });
    wait(300);
    await sweeper.sweep();
    expect(lines.map(({ outcome }) => outcome)).toContain("WEBHOOK_HEARD");
    expect(codes()).toEqual(["WEBHOOK_SILENT"]);
  });

  it("calls no webhook heard again because Deckhouse found the next image by itself, or a person renewed it", async () => {
    const cluster = fakeCluster(marked({ webhook: SWEEP, digest: NEW }, { status: status(NEW) }, 600));
    const { sweeper, wait, codes, lines } = sweeperOn(cluster, { [ECHO]: NEW });
    const heard = () => lines.filter(({ outcome }) => outcome === "WEBHOOK_HEARD");
    await sweeper.sweep();
    cluster.set({ status: status(INDEX) });
    await sweeper.listen();
    cluster.set(marked({ webhook: "(mpo-relay renew)", digest: null }, {}, 60));
    await sweeper.listen();
    expect([codes(), heard()]).toEqual([["WEBHOOK_SILENT"], []]);
    cluster.set(marked({ digest: INDEX }, { status: status(INDEX) }, -10));
    wait(20);
    await sweeper.listen();
    expect(heard()).toMatchObject([{ source: "test" }]);
  });

  it("calls no webhook silent for an image that was there before the override followed its tag, however long Deckhouse takes", async () => {
    const cluster = fakeCluster(overrideOf({ taggedAt: at(-10), status: status(null, "", "") }));
    const { sweeper, context, sent, wait, codes, lines } = sweeperOn(cluster, { [ECHO]: NEW });
    await sweeper.sweep();
    wait(45);
    const read = decode(sent.shift()?.body ?? "");
    expect(await renew(read.kind === "request" ? read.request : expect.fail(), context)).toMatchObject({ code: "NUDGED" });
    wait(60);
    cluster.set({ status: status(NEW, "Ready", at(105)) });
    wait(300);
    await sweeper.sweep();
    expect(lines.at(-1)).toMatchObject({ outcome: "SWEPT", polling: 1 });
    expect(codes()).toEqual([]);
  });

  it("names an override that cannot be read, once until that changes, and goes on with the others", async () => {
    const odd = "spec.imageTag: Invalid input: expected string, received undefined";
    const cluster = fakeCluster(overrideOf({ status: status(OLD) }));
    const { sweeper, own, alarms, lines, sent } = sweeperOn(cluster, { [ECHO]: NEW });
    let broken: Override[] = [overrideOf({ name: "broken", imageTag: "", odd })];
    own.overrides = { ...own.overrides, list: async () => [...broken, ...[cluster.get()].flatMap((each) => each ?? [])] };
    await sweeper.sweep();
    await sweeper.listen();
    expect(lines.find(({ outcome }) => outcome === "SWEPT")).toMatchObject({ overrides: 2, unknown: 1, behind: 1, queued: 1 });
    expect(sent).toHaveLength(1);
    expect(alarms).toMatchObject([{ code: "INVALID", module: "broken", cluster: "dev", why: expect.stringContaining(odd) }]);
    broken = [];
    await sweeper.listen();
    broken = [overrideOf({ name: "broken", imageTag: "", odd })];
    await sweeper.listen();
    expect(alarms).toHaveLength(2);
  });

  it("may not list: told once what to apply; an API server that is away opens the circuit", async () => {
    const cluster = fakeCluster();
    const { sweeper, own, alarms, opened } = sweeperOn(cluster, {});
    own.overrides = { ...own.overrides, list: async () => Promise.reject(new RelayError("FORBIDDEN", "no list")) };
    await sweeper.sweep();
    await sweeper.sweep();
    expect(alarms).toMatchObject([{ code: "FORBIDDEN", what: expect.stringContaining("infra/cluster/base") }]);
    own.overrides = { ...own.overrides, list: async () => Promise.reject(new RelayError("CLUSTER_UNREACHABLE", "away")) };
    await sweeper.sweep();
    expect(opened).toMatchObject([{ code: "CLUSTER_UNREACHABLE" }]);
  });

  it("sweeps at start, and at once after a gap that is no turn of its own", async () => {
    let now = start.getTime();
    const swept: number[] = [];
    const stop = new AbortController();
    const sweeper = {
      async sweep() {
        swept.push(now);
        if (swept.length === 2) stop.abort();
        return 0;
      },
      listen: async () => {},
    };
    const clock = {
      everyMs: 3_600_000,
      now: () => new Date(now),
      circuit: { error: null, waitMs: 1, open() {}, succeeded() {}, probe: async () => true },
    };
    const running = sweepAgain(sweeper, { ...clock, everyMs: 3_600_000 }, stop.signal, 5);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(swept).toHaveLength(1);
    now += 700_000; // asleep
    await running;
    expect(swept).toEqual([start.getTime(), start.getTime() + 700_000]);
  });
});
