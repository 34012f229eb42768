/** A source's webhook falls silent and speaks again: adopted overrides poll as before meanwhile. What counts here is what the API server shows. */
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { CoreV1Api } from "@kubernetes/client-node";
import { expect, onTestFinished, test } from "vitest";
import { nudgeOf } from "../../src/nudge.ts";
import { SWEEP } from "../../src/event.ts";
import { audit } from "./audit.ts";
import { SOURCE, type Cluster } from "./cluster.ts";
import { adminOf, type Interval } from "./intervals.ts";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

/** One write a second, so that a process can be killed between two of them. */
const TUNING = { cooldown: "500ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s"], sweep: "15s", patchesPerSecond: 1 };
/** Deckhouse looks once more behind each write of its own; a push into that look needs no relay. */
const CALM_MS = 3_000;
const modules = ["echo", "one", "two", "three", "four", "edited"];

const adopted: Interval = { interval: "12h", mark: { was: "10m", set: "12h", paused: null } };
const paused: Interval = { interval: "10m", mark: { was: "10m", set: "12h", paused: expect.any(String) } };
const each = (state: unknown, names: readonly string[] = modules) => Object.fromEntries(names.map((name) => [name, state]));

test("adopted overrides are restored by silence, over a kill, and adopted again after a delivery", async () => {
  const world = await startWorld({ modules, seeded: true });
  onTestFinished(() => world.stop());
  const admin = adminOf(world.cluster);
  for (const name of modules) await admin.patch(name, { spec: { scanInterval: "10m" } });
  const config = await world.writeConfig("relay.yaml", {
    queue: "embedded:./data",
    edge: true,
    consumer: true,
    lookUp: true,
    cluster: { adopt: "12h" },
    more: { tuning: TUNING },
  });
  const serve = async (name: string) => {
    const relay = await serveRelay({ config, log: join(world.folder, name), url: world.relayUrl });
    onTestFinished(() => relay.stop());
    return relay;
  };
  const runs = async (module: string, digest: string) =>
    (await world.cluster.override(module)).status.imageDigest === digest ? true : null;
  const push = (module: string) => world.crane.push(world.image(module));
  const reached = (what: string, state: Record<string, unknown>) =>
    eventually(what, async () => {
      expect(await admin.all()).toEqual(state);
      return true;
    });

  const first = await serve("first.log");
  for (const module of modules) {
    await push(module);
    await eventually(`${module} is adopted`, async () => ((await admin.read(module)).interval === "12h" ? true : null));
  }
  await reached("all are adopted", each(adopted));
  await sleep(CALM_MS);

  await world.setNotifying(false);
  const lost = await push("echo");
  await eventually("the sweep heals the push that nobody told of", () => runs("echo", lost));
  expect(await webhookOf(world.cluster, "echo")).toBe(SWEEP);

  // killed once some are restored and others are not yet: each write is whole
  const isBegun = async () => Object.values(await admin.all()).some(({ interval }) => interval === "10m");
  await eventually("the first is restored", async () => ((await isBegun()) ? true : null));
  await first.stop("SIGKILL");
  const left = await admin.all();
  const done = modules.filter((name) => left[name]?.interval === "10m");
  const rest = modules.filter((name) => !done.includes(name));
  expect(left).toEqual({ ...each(paused, done), ...each(adopted, rest) });
  expect([done.length > 0, rest.length > 0]).toEqual([true, true]);
  expect(await eventsOf(world.cluster, "echo")).toContain("WebhookSilent");

  const second = await serve("second.log");
  await reached("all are restored", each(paused));
  for (const name of done) expect((await admin.read(name)).mark).toEqual(left[name]?.mark); // written once
  for (const name of rest)
    await eventually(`${name} says so`, async () => ((await eventsOf(world.cluster, name)).includes("Restored") ? true : null));
  expect((await eventsOf(world.cluster, "echo")).filter((reason) => reason === "WebhookSilent")).toHaveLength(1); // not told anew
  await admin.patch("edited", { spec: { scanInterval: "45s" } });
  await sleep(CALM_MS);

  await world.setNotifying(true);
  const told = await push("one");
  const others = modules.filter((name) => name !== "edited");
  await reached("all are adopted again, but for what a person changed", {
    ...each(adopted, others),
    edited: { ...paused, interval: "45s" },
  });
  expect(await runs("one", told)).toBe(true);
  expect(await webhookOf(world.cluster, "one")).toBe("registry");
  expect((await second.lines()).filter(({ outcome }) => outcome === "WEBHOOK_HEARD")).toMatchObject([{ source: SOURCE, cluster: "dev" }]);
  const surroundings = { overrides: () => world.cluster.overrides(), resolve: world.resolve };
  expect(await audit(surroundings, { open: [], buried: [] })).toMatchObject({ right: expect.arrayContaining(modules), wrong: [] });
});

/** By whom the override was nudged last, as its own annotations have it. */
const webhookOf = async ({ override }: Cluster, module: string) => nudgeOf((await override(module)).metadata)?.webhook;

/** The reasons of the Events about an override. */
async function eventsOf({ kube }: Cluster, module: string): Promise<string[]> {
  const fieldSelector = `involvedObject.kind=ModulePullOverride,involvedObject.name=${module}`;
  const { items } = await kube.config(kube.adminToken).makeApiClient(CoreV1Api).listEventForAllNamespaces({ fieldSelector });
  return items.map(({ reason = "" }) => reason);
}
