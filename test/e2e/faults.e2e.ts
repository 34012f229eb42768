/** Something dies in the middle of 500 pushes. At the end every override must show what the registry's tag resolves to. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { openFolder } from "../../src/queue/folder.ts";
import type { Queue } from "../../src/queue/queue.ts";
import { openSqs } from "../../src/queue/sqs.ts";
import { audit, behind, describe, remainsOf } from "./audit.ts";
import { createLoad, PUSHES } from "./load.ts";
import { say } from "./parts/cache.ts";
import { startElasticMq } from "./parts/elasticmq.ts";
import { digestsIn, type Line, type RelayProcess, serveRelay, workRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld, type World } from "./world.ts";

const OUTAGE_MS = 20_000;
const modules = Array.from({ length: 20 }, (_, index) => `module-${index}`);
/** Deckhouse looks at every override once more after its last restart; a push into that look needs no relay, and would prove nothing of it. */
const CALM_MS = 3_000;
/** Pushed last: its override shows that the relay is at work again, where Deckhouse alone could have put the others right. */
const LAST = "module-last";

/** Sees the relay at work, stops it, and looks at what is left. */
async function expectNothingLost(world: World, relay: RelayProcess, openQueue: () => Promise<Queue>): Promise<void> {
  await expectPickedUp(world, relay, LAST);
  await relay.stop("SIGTERM");
  const queue = await openQueue();
  onTestFinished(() => queue.close());
  const remains = await remainsOf(queue);
  const findings = await audit(surroundingsOf(world, relay), remains);
  say(describe(findings, remains));
  for (const [reason, count] of counted(remains.reasons.map((text) => text.slice(0, text.indexOf(":"))))) say(`  ${count} × ${reason}`);
  expect(findings).toEqual({ right: expect.arrayContaining([...modules, LAST]), named: [], wrong: [], lost: [] });
  expect(remains.unreadable).toBe(0);

  // An audit that finds nothing proves something only if it would have found it.
  const shows = `sha256:${"0".repeat(64)}`;
  await world.cluster.spoil(LAST, shows);
  const { wrong } = await audit(surroundingsOf(world, relay), { open: [], buried: [] });
  expect(wrong).toEqual([{ module: LAST, shows, registry: await world.resolve(LAST) }]);
}

/** The relay's own word that a push took effect, once Deckhouse has nothing else to do. */
async function expectPickedUp(world: World, relay: RelayProcess, module: string): Promise<void> {
  await eventually("every override follows its tag", async () => {
    const late = await behind(surroundingsOf(world, relay));
    if (late === null) return true;
    throw new Error(`${late} does not`);
  });
  await sleep(CALM_MS);
  const digest = await world.crane.push(world.image(module));
  await eventually(`the push of ${module} is reported as picked up`, async () => {
    const isReport = (line: Line) => line.outcome === "PICKED_UP" && line["digest"] === digest;
    return (await relay.lines()).find(isReport) ?? null;
  });
}

const surroundingsOf = ({ cluster, resolve }: World, relay: RelayProcess) => ({
  overrides: () => cluster.overrides(),
  resolve,
  digests: async () => digestsIn(await relay.lines()),
});

function counted(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

const alarmsIn = (lines: readonly Line[]) => new Set(lines.flatMap(({ alarm }) => alarm ?? []));
const outcomesIn = (lines: readonly Line[]) => new Set(lines.flatMap(({ outcome }) => outcome ?? []));

async function withWorker(world: World) {
  const queues = await startElasticMq();
  onTestFinished(() => queues.stop());
  const { url } = await queues.createQueue("dev");
  const edgeConfig = await world.writeConfig("edge.yaml", { queue: url, edge: true, consumer: false });
  const workerConfig = await world.writeConfig("worker.yaml", { queue: url, edge: false, consumer: true });
  const edge = await serveRelay({ config: edgeConfig, log: join(world.folder, "edge.log"), url: world.relayUrl });
  onTestFinished(() => edge.stop());
  const worker = await workRelay({ config: workerConfig, log: join(world.folder, "worker.log"), cluster: "dev" });
  onTestFinished(() => worker.stop());
  return { worker, openQueue: async () => openSqs({ url }) };
}

test("the API server is killed for 20 s in the middle of 500 pushes", async () => {
  const world = await startWorld({ modules: [...modules, LAST], quiet: true, seeded: true });
  onTestFinished(() => world.stop());
  const { worker, openQueue } = await withWorker(world);
  const load = createLoad(world, modules);

  await load.push(150);
  const flowing = load.push(200);
  await world.cluster.kube.kill();
  await sleep(OUTAGE_MS);
  await flowing;
  expect(alarmsIn(await worker.lines())).toContain("CLUSTER_UNREACHABLE");
  await world.cluster.kube.start();
  await load.push(PUSHES - 350);
  say(`${load.counts.crane} pushes by crane, ${load.counts.http} by HTTP`);

  await eventually("the circuit is closed again", async () => (outcomesIn(await worker.lines()).has("CIRCUIT_CLOSED") ? true : null));
  await expectNothingLost(world, worker, openQueue);
  const lines = await worker.lines();
  expect(outcomesIn(lines)).not.toContain("NOT_OVERRIDDEN");
  // An outage uses up no receives: those count crashes alone.
  expect(Math.max(...lines.map(({ receiveCount }) => Number(receiveCount ?? 0)))).toBe(1);
});

test("the resource definition goes from v1alpha1 to v1alpha2 under a running worker", async () => {
  const world = await startWorld({ modules: [...modules, LAST], version: "v1alpha1", quiet: true, seeded: true });
  onTestFinished(() => world.stop());
  const { worker, openQueue } = await withWorker(world);
  const load = createLoad(world, modules);

  await expectPickedUp(world, worker, "module-0");
  const flowing = load.push(150);
  await world.cluster.upgrade();
  await flowing;
  await load.push(100);

  await expectNothingLost(world, worker, openQueue);
  const lines = await worker.lines();
  expect(alarmsIn(lines)).toContain("API_VERSION_GONE");
  expect(outcomesIn(lines)).not.toContain("NOT_OVERRIDDEN");
});

test("serve is killed three times during 500 pushes", async () => {
  const world = await startWorld({ modules: [...modules, LAST], quiet: true, seeded: true });
  onTestFinished(() => world.stop());
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true });
  const start = () => serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  let relay = await start();
  onTestFinished(() => relay.stop());
  const load = createLoad(world, modules);

  const kills: Promise<void>[] = [];
  const kill = async () => {
    await relay.stop("SIGKILL");
    relay = await start();
  };
  await load.push(PUSHES, (pushed) => {
    if ([120, 250, 380].includes(pushed)) kills.push(kill());
  });
  await Promise.all(kills);
  expect(kills).toHaveLength(3);
  say(`${load.counts.crane} pushes by crane, ${load.counts.http} by HTTP`);
  // What the registry could not deliver while nobody listened comes now, and a module's last push last.
  await eventually("every last push was acknowledged", async () => {
    const acknowledged = JSON.stringify(await relay.lines());
    const digests = await Promise.all(modules.map((module) => world.resolve(module)));
    return digests.every((digest) => digest !== null && acknowledged.includes(digest)) ? true : null;
  });

  await expectNothingLost(world, relay, () => openFolder(join(world.folder, "data"), "dev"));
  expect((await relay.lines()).filter(({ outcome }) => outcome === "STARTED")).toHaveLength(4);
});
