/** When a scan interval is lengthened and when it is put back: the rules, and the use case over a cluster in memory. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { adoptAfter, adoptAgain, followSilence, type Heard, restoreSilent } from "../src/adopt.ts";
import { adoptionOf, MARK, type Plan, planAdoption, planPause, planRestore, planResume } from "../src/adoption.ts";
import type { Override } from "../src/cluster/overrides.ts";
import { loadConfig } from "../src/config.ts";
import { intervalMs } from "../src/interval.ts";
import type { NewEntry } from "../src/journal/journal.ts";
import { nudgeAnnotations, nudgeOf } from "../src/nudge.ts";
import { RelayError } from "../src/outcome.ts";
import { at, digestOf, fakeCluster, fakeObserver, overrideOf, requestOf, start } from "./support/relay.ts";

const later = (seconds: number) => new Date(start.getTime() + seconds * 1000);
const status = { message: "Ready", imageDigest: digestOf("a"), updatedAt: at(5) };

/** Nudged by a push, which Deckhouse took. */
function pushed(part: Partial<Override> = {}, webhook = "registry"): Override {
  const mark = nudgeAnnotations(requestOf({ webhook }), 0, null, start);
  const annotations = Object.fromEntries(Object.entries(mark).filter((each): each is [string, string] => each[1] !== null));
  return overrideOf({ scanInterval: "15s", status, ...part, annotations: { ...annotations, ...part.annotations } });
}

function written(override: Override, plan: Plan): Override {
  if (plan.kind !== "change") expect.fail(`left: ${plan.why}`);
  const all = Object.entries({ ...override.annotations, ...plan.annotations });
  const annotations = Object.fromEntries(all.filter((each): each is [string, string] => each[1] !== null));
  return { ...override, annotations, ...(plan.interval !== undefined && { scanInterval: plan.interval }) };
}

const adopt = (override: Override, interval = "12h", proven = false, seconds = 120) =>
  planAdoption(override, interval, proven, later(seconds));

describe("adopts", () => {
  it("where a push arrived and took effect, remembers what was there, and leaves the nudge's mark alone", () => {
    const before = pushed();
    const adopted = written(before, adopt(before));
    expect(adopted.scanInterval).toBe("12h");
    expect(adoptionOf(adopted)).toEqual({ was: "15s", set: "12h", paused: null });
    expect(nudgeOf(adopted)).toEqual(nudgeOf(before));
    expect(adopt(adopted)).toMatchObject({ kind: "left", isDone: true, why: "adopted before" });
  });

  it("longer still, with what was there at first", () => {
    const first = pushed();
    const adopted = written(first, adopt(first));
    expect(adoptionOf(written(adopted, adopt(adopted, "24h")))).toEqual({ was: "15s", set: "24h", paused: null });
    expect(adopt(adopted, "1h")).toMatchObject({ kind: "left", isDone: true });
  });

  it("by what the journal saw, where the mark has no digest", () => {
    const unknown = pushed({ annotations: { "mpo-relay/digest": "" } });
    expect(adopt(unknown)).toMatchObject({ kind: "left", isDone: false });
    expect(adopt(unknown, "12h", true)).toMatchObject({ kind: "change", interval: "12h" });
    expect(adopt(unknown, "12h", true, 30)).toMatchObject({ why: expect.stringContaining("on its way") });
  });

  it.each<[string, Override, RegExp]>([
    ["one that nobody nudged", overrideOf({ scanInterval: "15s", status }), /no push/],
    ["one whose newest nudge a person made", pushed({}, "(mpo-relay renew)"), /no push/],
    ["one that the sweep nudged", pushed({}, "(mpo-relay sweep)"), /no push/],
    ["one that runs another image than the push's", pushed({ status: { ...status, imageDigest: digestOf("b") } }), /no push/],
    ["one that has no image", pushed({ status: { ...status, imageDigest: null } }), /no push/],
    ["one in trouble", pushed({ status: { ...status, message: "Download error: x" } }), /not at rest: Download error/],
    ["one that does not poll at all", pushed({ scanInterval: "0s" }), /0s/],
    ["one of a GitOps tool", pushed({ keeper: "Argo CD" }), /Argo CD/],
    ["one that we could not read", pushed({ scanInterval: null, odd: "spec.scanInterval: expected string" }), /spec\.scanInterval/],
    ["one that Deckhouse could not read", pushed({ scanInterval: "soon" }), /soon/],
  ])("not %s", (_what, override, why) => {
    const plan = adopt(override);
    expect(plan).toMatchObject({ kind: "left", isDone: false, why: expect.stringMatching(why) });
    expect(plan.kind === "left" && plan.commit).toBe(override.keeper === null ? undefined : "spec.scanInterval: 12h");
  });

  it("not what somebody changed since", () => {
    const first = pushed();
    const edited = { ...written(first, adopt(first)), scanInterval: "30s" };
    expect(adopt(edited)).toMatchObject({ kind: "left", isDone: false, why: expect.stringContaining("somebody") });
  });
});

describe("restores", () => {
  const first = pushed();
  const adopted = written(first, adopt(first));

  it("what was there, and leaves nothing behind", () => {
    expect(written(adopted, planRestore(adopted))).toEqual(first);
    expect(planRestore(first)).toMatchObject({ kind: "left", isDone: true });
  });

  it("nothing of what cannot be read, whatever is to be done", () => {
    const before = pushed();
    const adopted = { ...written(before, adopt(before)), scanInterval: null, odd: "spec.scanInterval: expected string" };
    const paused = {
      ...adopted,
      annotations: { ...adopted.annotations, [MARK]: JSON.stringify({ was: "15s", set: "12h", paused: at(60) }) },
    };
    const plans = [planRestore(adopted), planPause(adopted, "silent", start), planResume(paused, "heard", later(120))];
    for (const plan of plans)
      expect(plan).toMatchObject({ kind: "left", isDone: false, why: expect.stringContaining("spec.scanInterval") });
  });

  it("nothing where nothing was set", () => {
    const unset = pushed({ scanInterval: null });
    expect(planRestore(written(unset, adopt(unset)))).toMatchObject({ kind: "change", interval: null });
  });

  it.each<[string, Override]>([
    ["a person's value", { ...adopted, scanInterval: "30s" }],
    ["a GitOps tool's", { ...adopted, keeper: "Flux" }],
    ["what stands there where the mark cannot be read", { ...adopted, annotations: { ...first.annotations, [MARK]: "12h" } }],
  ])("and leaves %s, without our mark", (_what, override) => {
    const restored = written(override, planRestore(override));
    expect(restored).toEqual({ ...override, annotations: first.annotations });
  });

  it("by silence, and no adopt by hand undoes it before a delivery of its own was seen", () => {
    const paused = written(adopted, planPause(adopted, "silent", later(60)));
    for (const proven of [false, true])
      expect(adopt(paused, "24h", proven)).toMatchObject({ kind: "left", isDone: false, why: expect.stringContaining("silent") });
    const mark = nudgeAnnotations(requestOf({ key: "bbbbbbbbbbbb", receivedAt: at(90) }), 0, nudgeOf(paused), later(91));
    const annotations = Object.entries({ ...paused.annotations, ...mark }).filter((each): each is [string, string] => each[1] !== null);
    expect(adopt({ ...paused, annotations: Object.fromEntries(annotations) })).toMatchObject({ kind: "change", interval: "12h" });
  });

  it("by silence, and adopts again", () => {
    const paused = written(adopted, planPause(adopted, "silent", later(60)));
    expect(paused.scanInterval).toBe("15s");
    expect(planPause(paused, "silent", later(90))).toMatchObject({ kind: "left", isDone: true });
    expect(written(paused, planResume(paused, "heard", later(120)))).toEqual(adopted);
    expect(written(paused, planRestore(paused))).toEqual(first);
    expect(planResume({ ...paused, scanInterval: "1m" }, "heard", later(120))).toMatchObject({ kind: "left" });
    expect(planResume(adopted, "heard", later(120))).toMatchObject({ kind: "left" });
    expect(planPause({ ...adopted, scanInterval: "1m" }, "silent", later(60))).toMatchObject({ kind: "left" });
  });

  it("whatever is done in any order, a person's value stays, and restore leaves no mark", () => {
    const step = fc.oneof(
      fc.constantFrom("adopt", "restore", "pause", "resume"),
      fc.constantFrom("10s", "30s", "5m", null).map((person) => ({ person })),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        let override = pushed();
        let wanted = override.scanInterval; // what stands there without the relay
        for (const each of steps) {
          if (typeof each !== "string") {
            override = { ...override, scanInterval: each.person };
            wanted = each.person;
            continue;
          }
          const plans = {
            adopt: adopt(override),
            restore: planRestore(override),
            pause: planPause(override, "", later(60)),
            resume: planResume(override, "", later(120)),
          };
          if (plans[each].kind === "change") override = written(override, plans[each]);
          // nothing is the default of 15s, which Deckhouse's definition may write there: by its meaning, then
          expect([wanted, "12h"].map(intervalMs)).toContain(intervalMs(override.scanInterval));
        }
        if (planRestore(override).kind === "change") override = written(override, planRestore(override));
        expect(intervalMs(override.scanInterval)).toBe(intervalMs(wanted));
        expect(override.annotations).toEqual(pushed().annotations);
      }),
      { examples: [[["adopt", "pause", { person: null }, "adopt", "restore"]]] },
    );
  });
});

describe("after a push", () => {
  function relay(initial: Override, interval: string | null = "12h") {
    const cluster = fakeCluster(initial);
    const { observer, alarms, lines } = fakeObserver();
    const noted: NewEntry[] = [];
    const note = async (entries: readonly NewEntry[]) => void noted.push(...entries);
    const context = { overrides: cluster.overrides, observer, note, now: () => later(120), pace: async () => {}, interval };
    const read = () => cluster.get() ?? expect.fail("gone");
    return { cluster, noted, alarms, lines, context, read, interval: () => read().scanInterval };
  }

  it("adopts, and writes it down as an act of the relay with a key of its own", async () => {
    const { context, noted, interval, cluster, read } = relay(pushed());
    await adoptAfter(requestOf(), read(), context);
    await adoptAfter(requestOf(), read(), context);
    expect(interval()).toBe("12h");
    expect(noted).toEqual([
      expect.objectContaining({
        stage: "ADOPTED",
        module: "echo",
        detail: { by: "mpo-relay", change: "scanInterval 15s → 12h: pushes reach it" },
      }),
    ]);
    expect(noted[0]?.key).not.toBe(requestOf().key);
    expect(cluster.patches).toHaveLength(1);
  });

  it("puts the interval back where a policy takes our mark out, and tells it: nobody would know that it is ours", async () => {
    const { context, cluster, read, interval, alarms, noted } = relay(pushed());
    const { overrides } = cluster;
    const emptied: typeof overrides = {
      ...overrides,
      async setScanInterval(override, wanted, annotations) {
        const patched = await overrides.setScanInterval(
          override,
          wanted,
          Object.fromEntries(Object.entries(annotations).map(([name]) => [name, null])),
        );
        return patched;
      },
    };
    await adoptAfter(requestOf(), read(), { ...context, overrides: emptied });
    expect(interval()).toBe("15s");
    expect(alarms).toMatchObject([{ code: "SCAN_INTERVAL", why: expect.stringContaining("mutating") }]);
    expect(noted).toEqual([]);
  });

  it("leaves what a person nudged", async () => {
    const { context, cluster, read } = relay(pushed());
    await adoptAfter(requestOf({ webhook: "(mpo-relay renew)" }), read(), context);
    expect(cluster.patches).toEqual([]);
  });

  it.each<[string, Partial<Override>]>([
    ["another push's image came", { status: { ...status, imageDigest: digestOf("b") } }],
    ["another tag is followed", { imageTag: "other" }],
  ])("leaves it where %s since it was read", async (_what, part) => {
    const { context, cluster, read } = relay(pushed());
    const settled = read();
    cluster.set(part);
    await adoptAfter(requestOf(), settled, context);
    expect(cluster.patches).toEqual([]);
  });

  it("leaves it where the configuration does not say so, but for what silence had put back", async () => {
    const { context, interval, noted, read } = relay(pushed(), null);
    await adoptAfter(requestOf(), read(), context);
    expect(interval()).toBe("15s");
    const first = pushed();
    const adopted = written(first, adopt(first));
    const again = relay(adopted, null);
    await restoreSilent("test", ["echo"], again.context);
    await restoreSilent("test", ["echo"], again.context);
    expect(again.interval()).toBe("15s");
    await adoptAfter(requestOf(), again.read(), again.context);
    expect(again.interval()).toBe("12h");
    await restoreSilent("test", ["echo"], again.context);
    await adoptAgain("test", later(100), ["echo"], again.context); // heard before it fell silent
    expect(again.interval()).toBe("15s");
    await adoptAgain("test", later(121), ["echo"], again.context);
    await adoptAgain("test", later(121), ["echo"], again.context);
    expect(again.interval()).toBe("12h");
    expect(again.noted.map(({ stage }) => stage)).toEqual(["RESTORED", "ADOPTED", "RESTORED", "ADOPTED"]);
    expect(noted).toEqual([]);
  });

  it("follows the silence of any source that an override may be of, and looks at no cluster where nothing changes", async () => {
    const first = pushed();
    const { context, cluster, interval, noted } = relay(written(first, adopt(first)));
    const look = (...heard: readonly Omit<Heard, "source">[]) => {
      const override = cluster.get() ?? expect.fail("gone");
      return followSilence(
        [override, pushed({ name: "never" })],
        () => heard.map((each, n) => ({ source: `source ${n}`, ...each })),
        context,
      );
    };
    const speaks = { isSilent: false, heardAt: later(100) };
    await look(speaks, { isSilent: false, heardAt: null });
    expect(interval()).toBe("12h");
    await look(speaks, { isSilent: true, heardAt: later(10) });
    await look(speaks, { isSilent: true, heardAt: later(10) });
    expect([interval(), noted.at(-1)?.detail["change"]]).toEqual(["15s", "scanInterval 12h → 15s: no delivery of source 1 arrives"]);
    await look(speaks, speaks); // it is no longer called silent, and was not heard since either
    expect(interval()).toBe("15s");
    await look(speaks, { isSilent: false, heardAt: later(130) });
    expect([interval(), noted.at(-1)?.detail["change"]]).toEqual(["12h", "scanInterval 15s → 12h: deliveries of source 1 arrive again"]);
    expect(cluster.patches).toHaveLength(2);
  });

  it("puts back what no source of the configuration serves any more, and adopts it again with the next push that one serves", async () => {
    const first = pushed();
    const { context, cluster, interval, noted, read } = relay(written(first, adopt(first)));
    const look = () => followSilence([read()], () => [], context);
    await look();
    await look();
    expect([interval(), cluster.patches.length]).toEqual(["15s", 1]);
    expect(noted.at(-1)).toMatchObject({
      stage: "RESTORED",
      detail: { change: expect.stringContaining("no source of the configuration") },
    });
    await adoptAfter(requestOf(), read(), { ...context, isServed: () => false });
    expect(interval()).toBe("15s");
    await adoptAfter(requestOf(), read(), { ...context, isServed: () => true });
    expect([interval(), adoptionOf(read())]).toEqual(["12h", { was: "15s", set: "12h", paused: null }]);
  });

  it("reads again where somebody wrote meanwhile, and tells what it cannot do without failing", async () => {
    const { context, cluster, interval, alarms, read } = relay(pushed());
    const settled = read();
    cluster.set({ annotations: { ...settled.annotations, other: "x" } });
    await adoptAfter(requestOf(), settled, context);
    expect([interval(), read().annotations["other"]]).toEqual(["12h", "x"]);
    cluster.fail(new RelayError("CLUSTER_UNREACHABLE", "away"));
    await restoreSilent("test", ["echo", "echo"], context);
    expect(alarms).toEqual([expect.objectContaining({ code: "SCAN_INTERVAL", module: "echo", why: "away" })]);
    expect(interval()).toBe("15s");
  });
});

it.each(["0s", "", "12", "12 hours", "25h", "1d", "24h1s", "500ms"])("adopt: %j is a problem of the configuration", async (adoptText) => {
  const env = { MPO_RELAY_CONFIG: JSON.stringify({ clusters: { dev: { queue: "embedded:", adopt: adoptText } } }) };
  const loaded = await loadConfig({ env });
  expect(loaded.ok ? [] : loaded.problems.map(({ path }) => path)).toEqual(["clusters.dev.adopt"]);
});

it.each(["12h", "1h30m", "24h", "90m", "1s"])("adopt: %s is none", async (adoptText) => {
  const loaded = await loadConfig({
    env: { MPO_RELAY_CONFIG: JSON.stringify({ clusters: { dev: { queue: "embedded:", adopt: adoptText } } }) },
  });
  expect(loaded.ok && loaded.config.clusters["dev"]?.adopt).toBe(adoptText);
});
