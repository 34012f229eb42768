/**
 * Both registries that people run, notifying a relay that is well, slow or away. What a registry delivers again and what it loses
 * stands in infra/registries/distribution.md, measured here.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test, type TestContext } from "vitest";
import * as z from "zod";
import { audit } from "./audit.ts";
import { say } from "./parts/cache.ts";
import type { RegistryVersion } from "./parts/registry.ts";
import { openSkopeo } from "./parts/skopeo.ts";
import { digestsIn, type Line, type RelayProcess, serveRelay } from "./relay.ts";
import { type Slow, startSlow } from "./slow.ts";
import { eventually } from "./wait.ts";
import { startWorld, type World } from "./world.ts";

const VERSIONS: readonly RegistryVersion[] = ["2.8.2", "3.1.2"];
const OUTAGE_MS = 30_000;
/** The registries here wait a second for an answer. */
const HELD = { count: 4, ms: 3_000 };
/** Three modules and a stand-in that restarts in no time: Deckhouse has looked before the last but one. The last outlasts every wait of a nudge. */
const TUNING = { cooldown: "100ms", looks: ["300ms", "600ms", "1s", "2s", "3s", "20s"] };
/** Deckhouse looks at every override once more after its last restart, and would find by itself what is pushed meanwhile. */
const CALM_MS = 2_000;

interface Stage {
  readonly world: World;
  /** What the relay has logged so far. */
  lines(): Promise<Line[]>;
  /** The relay goes away, and comes back over the same queue. */
  down(): Promise<void>;
  up(): Promise<void>;
}

/** All parts at rest: the first image of every module was picked up. */
async function setStage(
  { onTestFinished }: TestContext,
  version: RegistryVersion,
  modules: readonly string[],
  notify?: (url: string) => Promise<string>,
): Promise<Stage> {
  const world = await startWorld({ modules, registry: version, tuning: TUNING, quiet: true, seeded: true, ...(notify && { notify }) });
  onTestFinished(() => world.stop());
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true });
  const start = () => serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  let relay: RelayProcess = await start();
  onTestFinished(() => relay.stop());
  const stage: Stage = {
    world,
    lines: () => relay.lines(),
    down: () => relay.stop("SIGTERM"),
    up: async () => void (relay = await start()),
  };
  await settled(stage);
  await sleep(CALM_MS);
  return stage;
}

const queuedIn = (lines: readonly Line[]) => lines.filter(({ outcome }) => outcome === "QUEUED");
const deliveriesOf = (lines: readonly Line[], digest: string) => queuedIn(lines).filter((line) => line["digest"] === digest);
const keysOf = (lines: readonly Line[], digest: string) => deliveriesOf(lines, digest).map((line) => String(line["key"]));

/** The key of a push of this digest, once the relay says that it took effect. `nth`: which of them, counted from one. */
async function pickedUp({ lines }: Stage, digest: string, nth = 1): Promise<string> {
  return eventually(`push ${nth} of ${digest} is reported as picked up`, async () => {
    const seen = await lines();
    const key = [...new Set(keysOf(seen, digest))][nth - 1];
    const isReport = (line: Line) => line.outcome === "PICKED_UP" && line["key"] === key && line["digest"] === digest;
    return key !== undefined && seen.some(isReport) ? key : null;
  });
}

/** One event after another: once this push was delivered, so was everything before it. Nobody overrides it, so it moves nothing. */
async function everythingDelivered({ world, lines }: Stage): Promise<void> {
  const digest = await world.crane.push(world.image("bystander"));
  await eventually("what waits at the registry is delivered", async () => deliveriesOf(await lines(), digest)[0] ?? null);
}

const ENDS: ReadonlySet<string | undefined> = new Set(["PICKED_UP", "JOINED", "SUPERSEDED", "NOT_OVERRIDDEN"]);

/** Every push was delivered, and the relay has nothing left to do for it. */
async function settled(stage: Stage): Promise<void> {
  await everythingDelivered(stage);
  await eventually("every push came to its end", async () => {
    const lines = await stage.lines();
    const ended = new Set(lines.flatMap((line) => (ENDS.has(line.outcome) ? [line["key"]] : [])));
    return queuedIn(lines).every((line) => ended.has(line["key"])) ? true : null;
  });
}

/** What overrides and registry say. The queue is known to be empty. */
const auditOf = ({ world: { cluster, resolve }, lines }: Stage) =>
  audit({ overrides: () => cluster.overrides(), resolve, digests: async () => digestsIn(await lines()) }, { open: [], buried: [] });

// Most of it is waiting, so two scenarios go at a time; each has its own parts.
describe.concurrent.each(VERSIONS)("Distribution %s", (version) => {
  test("what was pushed while the relay was away for 30 s arrives, in order", async (context) => {
    const { expect } = context;
    const modules = ["echo", "other", "third"];
    const stage = await setStage(context, version, modules);
    const { world } = stage;
    await stage.down();
    const away = sleep(OUTAGE_MS);
    const pushed: string[] = [];
    for (const module of [...modules, ...modules, ...modules]) pushed.push(await world.crane.push(world.image(module)));
    await away;
    await stage.up();
    const back = Date.now();
    await settled(stage);

    const arrived = queuedIn(await stage.lines()).filter((line) => pushed.includes(String(line["digest"])));
    const waited = Date.parse(String(arrived[0]?.["receivedAt"])) - back;
    say(`Distribution ${version}: ${arrived.length} of ${pushed.length} pushes delivered, the first ${waited} ms after the relay was back`);
    expect(arrived.map((line) => line["digest"])).toEqual(pushed);
    expect(await auditOf(stage)).toEqual({ right: modules, named: [], wrong: [], lost: [] });
  });

  test("crane and skopeo push; what the tag holds already is pushed again by skopeo and `crane tag`, not by `crane push`", async (context) => {
    const { expect } = context;
    const stage = await setStage(context, version, ["echo"]);
    const { world, lines } = stage;
    const { crane } = world;
    const echo = world.image("echo");

    const skopeo = await openSkopeo();
    const ofSkopeo = await crane.save(world.folder);
    const bySkopeo = await skopeo.push(ofSkopeo, echo);
    const [old, again] = [await pickedUp(stage, bySkopeo), await skopeo.push(ofSkopeo, echo)];
    expect(again).toBe(bySkopeo);
    const renewed = await pickedUp(stage, bySkopeo, 2);
    const archive = await crane.save(world.folder);
    const byCrane = await crane.pushArchive(archive, echo);
    const first = await pickedUp(stage, byCrane);
    expect((await world.cluster.override("echo")).status).toMatchObject({ imageDigest: byCrane, message: "Ready" });

    await crane.pushArchive(archive, echo);
    await crane.copy(`${echo.slice(0, echo.lastIndexOf(":"))}@${byCrane}`, echo);
    await everythingDelivered(stage);
    expect(keysOf(await lines(), byCrane)).toEqual([first]);

    await crane.tag(echo, "main");
    const second = await pickedUp(stage, byCrane, 2);
    await everythingDelivered(stage);
    expect(second).not.toBe(first);
    expect(keysOf(await lines(), byCrane)).toEqual([first, second]);
    expect(keysOf(await lines(), bySkopeo)).toEqual([old, renewed]);
  });

  test("a restart of the registry loses what it had not delivered; the audit shows it, and `crane tag` makes it good", async (context) => {
    const { expect } = context;
    const stage = await setStage(context, version, ["echo", "other"]);
    const { world } = stage;
    await stage.down();
    const unsent = [await world.crane.push(world.image("echo")), await world.crane.push(world.image("echo"))];
    await world.registry.restart();
    await stage.up();
    await settled(stage);

    const lines = await stage.lines();
    say(`Distribution ${version}: ${unsent.filter((digest) => keysOf(lines, digest).length === 0).length} of ${unsent.length} pushes lost`);
    expect(unsent.map((digest) => keysOf(lines, digest))).toEqual([[], []]);
    const wrong = [{ module: "echo", shows: expect.any(String), registry: unsent[1] }];
    expect(await auditOf(stage)).toEqual({ right: ["other"], named: [], wrong, lost: ["echo"] });

    await world.crane.tag(world.image("echo"), "main");
    await pickedUp(stage, unsent[1] ?? "");
    expect(await auditOf(stage)).toEqual({ right: ["echo", "other"], named: [], wrong: [], lost: [] });
  });

  test("to a relay slower than its patience it delivers again, and one push stays one nudge", async (context) => {
    const { expect, onTestFinished } = context;
    const fronts: Slow[] = [];
    const stage = await setStage(context, version, ["echo", "other"], async (relayUrl) => {
      const front = await startSlow(relayUrl);
      onTestFinished(() => front.stop());
      fronts.push(front);
      return front.url;
    });
    const { world } = stage;
    const [front] = fronts;
    if (front === undefined) throw new Error("nothing stands between");

    front.hold(HELD.count, HELD.ms);
    const [digest, behind] = [await world.crane.push(world.image("echo")), await world.crane.push(world.image("other"))];
    await settled(stage);
    const ids = front.bodies.flatMap((body) => (body.includes(digest) ? idsIn(body) : []));
    say(`Distribution ${version}: ${ids.length} deliveries of one push while ${HELD.count} answers took ${HELD.ms / 1000} s`);
    const lines = await stage.lines();
    const key = await pickedUp(stage, digest);
    expect(ids.length).toBeGreaterThan(HELD.count);
    expect(new Set(ids).size).toBe(1);
    expect(keysOf(lines, digest)).toEqual(ids.map(() => key));
    expect(lines.filter((line) => line.outcome === "NUDGED" && line["key"] === key)).toHaveLength(1);
    expect(keysOf(lines, behind)).toHaveLength(1);
    expect(await auditOf(stage)).toEqual({ right: ["echo", "other"], named: [], wrong: [], lost: [] });
  });
});

const envelope = z.object({ events: z.array(z.object({ id: z.string() })) });
const idsIn = (body: string): string[] => envelope.parse(JSON.parse(body)).events.map(({ id }) => id);
