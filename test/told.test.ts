/** Events on an override: which outcomes are told, how, and what follows when they cannot be. */
import { describe, expect, it } from "vitest";
import { entryOf, type Stage } from "../src/journal/journal.ts";
import type { Detail } from "../src/outcome.ts";
import { eventOf, noteOnOverrides } from "../src/told.ts";
import { at, digestOf, fakeCluster, fakeObserver, requestOf } from "./support/relay.ts";

const entry = (stage: Stage, detail: Detail = {}) => entryOf(requestOf(), stage, at(1), { nudge: 0, ...detail });
const pushed = `registry.example.com/deckhouse/modules/echo:main@${digestOf("a")}, by webhook registry (ci)`;

describe("an event on the override", () => {
  it.each([
    ["NUDGED", {}, "Normal", "Nudged", `pushed: ${pushed}; Deckhouse is told to look`],
    [
      "PICKED_UP",
      { digest: "sha256:x", pushToPickedUpMs: 3120 },
      "Normal",
      "PickedUp",
      `Deckhouse runs sha256:x, 3120 ms after the push of ${pushed}`,
    ],
    [
      "REFUSED",
      { message: "The module disabled" },
      "Warning",
      "Refused",
      `${pushed}: Deckhouse says: The module disabled (enable the module`,
    ],
    [
      "RENUDGED",
      { message: "Download error: x", seconds: 60 },
      "Normal",
      "NudgedAgain",
      "could not download it (Download error: x); told again in 60 s",
    ],
    ["SUPERSEDED", { why: "a nudge of another push followed" }, "Normal", "Superseded", `${pushed}: a nudge of another push followed`],
    ["UNVERIFIED", { digest: null }, "Normal", "Unverified", "no digest to compare with"],
    ["RUNNING", { message: "" }, "Normal", "Running", pushed],
    ["MODULE_ERROR", { message: "hook failed" }, "Warning", "ModuleError", `${pushed}: hook failed`],
    [
      "UNCONFIRMED",
      { why: "shows none", buried: true },
      "Warning",
      "NotApplied",
      "UNCONFIRMED: shows none; see mpo-relay dlq list --module echo",
    ],
  ] as const)("tells %s with what a person needs", (stage, detail, type, reason, text) => {
    const event = eventOf(entry(stage, detail));
    expect(event).toMatchObject({ type, reason, message: expect.stringContaining(text) });
    expect(event?.id).toMatch(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
  });

  it.each(["QUEUED", "JOINED", "REPEATED", "DEFERRED", "NOT_OVERRIDDEN", "TAG_DIFFERS", "CLUSTER_UNREACHABLE", "FORBIDDEN"] as const)(
    "tells nothing of %s, which says nothing about the override",
    (stage) => {
      expect(eventOf(entry(stage, { buried: false }))).toBeNull();
    },
  );

  it("has the same id for the same outcome of the same nudge, and another for every other", () => {
    const ids = [entry("NUDGED"), entry("NUDGED"), entry("NUDGED", { nudge: 1 }), entry("PICKED_UP")].map((each) => eventOf(each)?.id);
    expect(new Set(ids).size).toBe(3);
  });
});

describe("the cluster that cannot be told", () => {
  it("holds up nothing, and is told once until it works again", async () => {
    const cluster = fakeCluster();
    const { observer, alarms } = fakeObserver();
    const note = noteOnOverrides(cluster.overrides, observer, async () => {}, 0);
    cluster.failTelling(true);
    await note([entry("NUDGED"), entry("PICKED_UP")]);
    await note([entry("NUDGED")]);
    expect(alarms.map(({ code }) => code)).toEqual(["EVENTS_UNAVAILABLE"]);
    cluster.failTelling(false);
    await note([entry("NUDGED"), entry("QUEUED")]);
    expect(cluster.told.map(({ module, reason }) => `${module} ${reason}`)).toEqual(["echo Nudged"]);
    cluster.failTelling(true);
    await note([entry("NUDGED")]);
    expect(alarms).toHaveLength(2);
  });

  it("is not tried again for a while: each try may run into its time limit, with records waiting behind it", async () => {
    const cluster = fakeCluster();
    let tries = 0;
    const tell = () => {
      tries += 1;
      return Promise.reject(new Error("no answer in time"));
    };
    const note = noteOnOverrides({ ...cluster.overrides, tell }, fakeObserver().observer, async () => {});
    await note([entry("NUDGED"), entry("PICKED_UP")]);
    await note([entry("NUDGED")]);
    expect(tries).toBe(1);
  });
});
