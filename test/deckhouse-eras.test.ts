/**
 * How Deckhouse's versions differ, row by row of src/sandbox/deckhouse-eras.ts, which links the files that each of them is known from:
 * override-controller.go for e1, controller.go for the others; for the forced redeploy of e4 also controller_test.go of #22716.
 */
import { afterEach, describe, expect, it } from "vitest";
import { ERAS, type EraName, eraOf } from "../src/sandbox/deckhouse-eras.ts";
import type { PullOverride } from "../src/sandbox/deckhouse-port.ts";
import { moduleFrom } from "../src/sandbox/example.ts";
import { caughtUp, MPO, type Setup, startWorld, type World } from "./support/deckhouse.ts";
import { until } from "./support/wait.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

const FAST = { speed: 1000, now: () => new Date() };
const FORCE = "modules.deckhouse.io/renew";

async function world(era: EraName, setup: Setup = {}): Promise<World> {
  const here = await startWorld({ era, clock: FAST, ...setup });
  cleanups.push(() => here.stop());
  return here;
}

const echoChecks = (here: World) => here.checks.filter((each) => each === "echo:main").length;
const message = (here: World) => here.status()["message"];
const annotations = (here: World) => here.metadata()["annotations"];
const labels = (here: World) => Object.keys(Object(here.metadata()["labels"]));
const overridden = (here: World) => Object(here.api.store.get("modulesources", "test")?.status)["modules"][0].overridden;

/** Lets Deckhouse's clock run without a look at ours: an override whose image is not there is checked again after each of its seconds. */
async function secondsPass(here: World, seconds: number) {
  const ticks = () => here.checks.filter((each) => each === "ticking:none").length;
  if (ticks() === 0) {
    here.api.store.create("modules", { metadata: { name: "ticking" }, ...moduleFrom("test", here.era) });
    here.createOverride("ticking", "none", "1s");
  }
  const end = ticks() + seconds;
  await until(ticks).toBeGreaterThan(end);
}

describe.each(ERAS)("%s: what triggers a check", (era) => {
  const isE1 = era === "e1";

  it(isE1 ? "no annotation" : "any annotation, whatever its key, each time that its value differs", async () => {
    const here = await world(era);
    const before = echoChecks(here);
    for (const value of ["one", "two", "two"]) {
      here.annotate({ "mpo-relay/key": value });
      await caughtUp(here, `other-${here.checks.length}`);
    }
    expect(echoChecks(here) - before).toBe(isE1 ? 0 : 2);
  });

  it(isE1 ? "the label renew, whatever its value, also where it is gone by now" : "no label", async () => {
    const here = await world(era);
    const before = echoChecks(here);
    here.label({ other: "x" });
    here.label({ renew: "" });
    here.label({ renew: null });
    await caughtUp(here, "other");
    expect(echoChecks(here) - before).toBe(isE1 ? 1 : 0);
  });

  it("another tag", async () => {
    const here = await world(era);
    const digest = await here.push("echo", "next");
    here.api.store.patch(MPO, "echo", { spec: { imageTag: "next" } });
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it(`with a scan interval of 0s ${era === "e5" ? "15 s" : "nothing by itself"}`, async () => {
    const here = await world(era, { interval: "0s" });
    const before = echoChecks(here);
    await secondsPass(here, 40);
    if (era === "e5") await until(() => echoChecks(here) - before).toBeGreaterThan(1);
    else expect(echoChecks(here)).toBe(before);
  });
});

describe.each(ERAS)("%s: a deploy", (era) => {
  const { restarts, cleanup } = eraOf(era);

  it(`writes the digest and an empty message or Ready, and ends ${restarts ? "with one restart" : "without a restart"}`, async () => {
    const here = await world(era);
    const digest = await here.push("echo", "main");
    here.annotate({ renew: "key" });
    here.label({ renew: "key" });
    await until(() => here.deckhouse.installed("echo")).toBe(digest);
    await until(() => here.status()).toMatchObject({ imageDigest: digest, message: ["e1", "e2"].includes(era) ? "" : "Ready" });
    await caughtUp(here, "other");
    expect([here.deploys(), here.restarts()]).toEqual(restarts ? [2, 2] : [2, 0]);
  });

  it("cleans up what asked for it, where it does", async () => {
    const here = await world(era);
    const digest = await here.push("echo", "main");
    const all = { renew: "key", [FORCE]: "no", "mpo-relay/key": "key", "modules.deckhouse.io/deployed-on": "node" };
    here.annotate(all);
    here.label({ renew: "key" });
    await until(() => here.status()["imageDigest"]).toBe(digest);
    await caughtUp(here, "other");
    const gone = cleanup?.in === "annotations" ? [cleanup.key] : [];
    expect(annotations(here)).toEqual(Object.fromEntries(Object.entries(all).filter(([key]) => !gone.includes(key))));
    // e1 deletes its label by the resourceVersion from before its own status write, and ignores that it cannot
    expect(labels(here)).toContain("renew");
  });

  it(`that the override is patched in the middle of comes again${restarts ? ", with a second restart" : ""}`, async () => {
    const here = await world(era, { deployMs: 20_000 });
    const digest = await here.push("echo", "main");
    here.inNextDeploy(() => here.annotate({ "somebody/else": "x" }));
    here.api.store.patch(MPO, "echo", { metadata: { annotations: { renew: "key" }, labels: { renew: "key" } } });
    await until(() => here.status()["imageDigest"]).toBe(digest);
    await caughtUp(here, "other");
    expect([here.deploys(), here.restarts()]).toEqual(restarts ? [3, 3] : [3, 0]);
  });

  it(era === "e4" ? "of the same digest comes by the annotation that is exactly true, once" : "is forced by nothing", async () => {
    const here = await world(era);
    for (const value of ["false", "1", ""]) here.annotate({ [FORCE]: value });
    await caughtUp(here, "other");
    expect(annotations(here)).toEqual({ [FORCE]: "" });
    expect(here.deploys()).toBe(1);
    here.annotate({ [FORCE]: "true" });
    if (era === "e4") await until(() => here.restarts()).toBe(2);
    await caughtUp(here, "another");
    expect(here.deploys()).toBe(era === "e4" ? 2 : 1);
    expect(annotations(here)).toEqual(era === "e4" ? undefined : { [FORCE]: "true" });
  });
});

describe("what an override gets before its image is looked at", () => {
  it.each(["e1", "e2"] as const)("%s: the labels module and source, and no finalizer", async (era) => {
    const here = await world(era);
    expect(here.metadata()["labels"]).toEqual({ module: "echo", source: "test" });
    expect(here.metadata()["finalizers"]).toBeUndefined();
  });

  it.each(["e3", "e4", "e5"] as const)("%s: a finalizer, its Module the condition IsOverridden", async (era) => {
    const here = await world(era, { conditions: { Other: "True" } });
    expect(labels(here)).toEqual([]);
    expect(here.metadata()["finalizers"]).toEqual(["modules.deckhouse.io/mpo-finalizer"]);
    expect(here.api.store.get("modules", "echo")?.status).toEqual({
      conditions: [
        { type: "Other", status: "True" },
        { type: "IsOverridden", status: "True" },
      ],
    });
  });
});

describe("an override that is deleted", () => {
  it.each<[EraName, boolean, "stays" | "goes"]>([
    ["e1", false, "stays"],
    ["e2", true, "stays"],
    ["e3", false, "stays"],
    ["e3", true, "goes"],
    ["e4", false, "stays"],
    ["e4", true, "goes"],
    ["e5", false, "goes"],
  ])("%s with rollback %s: its module %s", async (era, rollback, becomes) => {
    const here = await world(era);
    const digest = here.status()["imageDigest"];
    here.api.store.patch(MPO, "echo", { spec: { rollback } });
    here.api.store.delete(MPO, "echo");
    await until(() => here.api.store.get(MPO, "echo")).toBeNull();
    await until(() => overridden(here)).toBe(false);
    expect(here.deckhouse.installed("echo")).toBe(becomes === "stays" ? digest : null);
    const restarts = eraOf(era).restarts ? (becomes === "goes" ? 2 : 1) : 0;
    await until(() => here.restarts()).toBe(restarts);
    if (!["e1", "e2"].includes(era)) {
      expect(here.api.store.get("modules", "echo")?.status).toEqual({ conditions: [{ type: "IsOverridden", status: "False" }] });
    }
  });
});

describe("messages, literally", () => {
  const WHY = "unexpected EOF";
  it.each<[EraName, string]>([
    ["e1", WHY],
    ["e2", WHY],
    ["e3", `Download error: ${WHY}`],
    ["e4", `Download error: ${WHY}`],
    ["e5", `Download error: ${WHY}`],
  ])("%s: a registry error is %j, and is tried again after the interval alone", async (era, expected) => {
    const here = await world(era, { first: false, mirror: () => Promise.reject(new Error(WHY)) });
    await until(() => message(here)).toBe(expected);
    const before = echoChecks(here);
    await secondsPass(here, 100);
    expect(echoChecks(here)).toBe(before);
  });

  it.each<[EraName, string]>([
    ["e1", 'ModuleSource "test" not found'],
    ["e2", "the 'test' module source not found"],
    ["e3", "The source not found"],
    ["e4", "The source not found"],
    ["e5", "The source not found"],
  ])("%s: without its ModuleSource %j, and looks again after a minute", async (era, expected) => {
    const here = await world(era, { first: false, source: false });
    await until(() => message(here)).toBe(expected);
    const repo = `localhost:${here.registry.port}/deckhouse/modules`;
    await here.push("echo", "main");
    here.api.store.create("modulesources", { metadata: { name: "test" }, spec: { registry: { repo, scheme: "HTTP" } } });
    await until(() => here.status()["imageDigest"]).toMatch(/^sha256:/);
  });

  /** A second image of echo, with which something is wrong, and the nudge for it. */
  async function brokenImage(era: EraName, at: "validation" | "install") {
    let broken = false;
    const here = await world(era, { fault: () => (broken ? { at, why: WHY } : null) });
    broken = true;
    await here.push("echo", "main");
    here.api.store.patch(MPO, "echo", { metadata: { annotations: { renew: "key" }, labels: { renew: "key" } } });
    here.label({ renew: null });
    await until(() => here.deploys()).toBeGreaterThan(1);
    return here;
  }

  it.each<[EraName, string, "interval" | "nothing" | "back-off"]>([
    ["e1", `validation failed: ${WHY}`, "interval"],
    ["e2", `validation failed: ${WHY}`, "nothing"],
    ["e3", `Validation error: ${WHY}`, "interval"],
    ["e4", `Validation error: ${WHY}`, "back-off"],
  ])("%s: an image that is not valid is %j, and what tries it again is %s", async (era, expected, what) => {
    const here = await brokenImage(era, "validation");
    await until(() => message(here)).toBe(expected);
    await caughtUp(here, "other");
    const before = here.deploys();
    if (what === "back-off") {
      await until(() => here.deploys()).toBeGreaterThan(before + 1);
    } else {
      await secondsPass(here, 20);
      expect(here.deploys()).toBe(before);
      here.api.store.patch(MPO, "echo", { spec: { scanInterval: "1s" } }); // which asks for one check by itself
      await until(() => here.deploys()).toBeGreaterThan(before + (what === "interval" ? 2 : 0));
      await secondsPass(here, 20);
      if (what === "nothing") expect(here.deploys()).toBe(before + 1);
    }
    expect(here.restarts()).toBe(1);
    expect(here.deckhouse.installed("echo")).toBe(here.status()["imageDigest"]);
  });

  it.each<[EraName, string]>([
    ["e1", WHY],
    ["e2", WHY],
    ["e3", `Enable error: ${WHY}`],
    ["e4", "Ready"],
  ])("%s: an image that cannot be installed is %j, and is tried again with back-off, without a restart", async (era, expected) => {
    const here = await brokenImage(era, "install");
    await until(() => here.deploys()).toBeGreaterThan(3);
    expect(message(here)).toBe(expected);
    expect(here.restarts()).toBe(1);
  });

  it("e4: a forced redeploy that fails keeps its annotation and is tried again", async () => {
    let broken = false;
    const here = await world("e4", { fault: () => (broken ? { at: "install", why: WHY } : null) });
    broken = true;
    here.annotate({ [FORCE]: "true" });
    await until(() => here.deploys()).toBeGreaterThan(3);
    expect([here.restarts(), annotations(here)]).toEqual([1, { [FORCE]: "true" }]);
    broken = false;
    await until(() => here.restarts()).toBe(2);
    expect(annotations(here)).toBeUndefined();
  });
});

describe("gates, in their order", () => {
  const embedded = { properties: { source: "Embedded" }, spec: { packageRepositoryName: "embedded" } };
  const off = { EnabledByModuleConfig: "False" };
  const nowhere = { properties: {} };
  const [NOT_FOUND, EMBEDDED, DISABLED, NO_SOURCE] = [
    "The module not found",
    "The module is embedded",
    "The module disabled",
    "The module does not have an active source",
  ];
  it.each<[string, Setup, Record<EraName, string | null>]>([
    ["no Module", { module: null }, { e1: null, e2: null, e3: NOT_FOUND, e4: NOT_FOUND, e5: NOT_FOUND }],
    ["embedded and disabled", { module: embedded, conditions: off }, { e1: null, e2: null, e3: EMBEDDED, e4: EMBEDDED, e5: EMBEDDED }],
    ["disabled, no source", { module: nowhere, conditions: off }, { e1: null, e2: null, e3: DISABLED, e4: DISABLED, e5: NO_SOURCE }],
    ["disabled", { conditions: off }, { e1: null, e2: null, e3: DISABLED, e4: DISABLED, e5: null }],
    ["no source", { module: nowhere }, { e1: null, e2: null, e3: NO_SOURCE, e4: NO_SOURCE, e5: NO_SOURCE }],
  ])("%s", async (_, setup, expected) => {
    for (const era of ERAS) {
      const here = await world(era, { ...setup, first: false });
      await until(() => message(here)).toMatch(expected[era] ?? /MANIFEST_UNKNOWN/);
      expect(echoChecks(here)).toBe(expected[era] === null ? 1 : 0);
    }
  });

  it.each<[EraName, boolean]>([
    ["e3", false],
    ["e4", true],
  ])("%s: that of a disabled module clears the digest: %s; and is looked at again after a minute", async (era, clears) => {
    const here = await world(era);
    const digest = here.status()["imageDigest"];
    here.api.store.patchStatus("modules", "echo", { conditions: [{ type: "EnabledByModuleConfig", status: "False" }] });
    here.annotate({ renew: "key" });
    await until(() => message(here)).toBe("The module disabled");
    expect(here.status()["imageDigest"]).toBe(clears ? "" : digest);
    here.api.store.patchStatus("modules", "echo", { conditions: [{ type: "EnabledByModuleConfig", status: "True" }] });
    await until(() => here.status()).toMatchObject({ imageDigest: digest, message: "Ready" });
    await until(() => here.restarts()).toBe(clears ? 2 : 1);
  });
});

describe("e1: a label renew that stays", () => {
  it("makes a loop without a pause once the registry fails in ever new words, which ends with the label", async () => {
    let count = 0;
    const fails = () => Promise.reject(new Error(`read tcp 10.0.0.1:${40_000 + count++}->10.0.0.2:443: connection reset by peer`));
    const here = await world("e1", { first: false, mirror: fails });
    await until(() => echoChecks(here)).toBe(1);
    here.label({ renew: "left" });
    await until(() => echoChecks(here)).toBeGreaterThan(50);
    here.label({ renew: null });
    await caughtUp(here, "other");
    const after = echoChecks(here);
    await caughtUp(here, "another");
    expect(echoChecks(here)).toBe(after);
  });

  it("does so at most once a second where the words stay the same: updatedAt has whole seconds, and the same status is no write", async () => {
    const frozen = { speed: 1000, now: () => new Date("2024-01-01T00:00:00.500Z") };
    const here = await world("e1", { first: false, clock: frozen, mirror: () => Promise.reject(new Error("unexpected EOF")) });
    await until(() => message(here)).toBe("unexpected EOF");
    here.label({ renew: "left" });
    await caughtUp(here, "other");
    expect(echoChecks(here)).toBe(2);
  });
});

describe("where the image comes from", () => {
  const override: PullOverride = {
    name: "echo",
    resourceVersion: "1",
    generation: 1,
    labels: {},
    annotations: {},
    finalizers: [],
    deleting: false,
    imageTag: "main",
    source: "of-the-override",
    scanInterval: null,
    rollback: false,
    status: { message: "", imageDigest: "", updatedAt: "" },
  };
  const none = { resourceVersion: "1", source: "of-the-module", embedded: false, disabled: false, conditions: [] };
  it.each<[EraName, string, string]>([
    ["e1", "", "of-the-override"],
    ["e2", "", "of-the-override"],
    ["e3", "", "of-the-module"],
    ["e4", "of-the-repository", "of-the-repository"],
    ["e4", "deckhouse-modules", "deckhouse"],
    ["e4", "embedded", ""],
    ["e5", "of-the-repository", "of-the-module"],
  ])("%s: with the package repository %j it is the ModuleSource %j", (era, repository, expected) => {
    expect(eraOf(era).sourceOf(override, { ...none, repository })).toBe(expected);
  });
});
