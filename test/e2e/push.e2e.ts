/** The main job with real parts: a push by crane becomes a renewed override, and the relay reports that it took effect. */
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { startElasticMq } from "./parts/elasticmq.ts";
import { type RelayProcess, serveRelay, workRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld, type World } from "./world.ts";

const pickedUp = z.object({
  key: z.string().regex(/^[0-9a-f]{32}$/),
  digest: z.string(),
  patchedAt: z.iso.datetime(),
  pickedUpAt: z.iso.datetime(),
  pushToPatchedMs: z.number().min(0),
  pushToPickedUpMs: z.number().min(0),
});

/** Pushes twice by crane, a new image and then a newer one, and follows each to its end. */
async function followPushes(world: World, consumer: RelayProcess): Promise<void> {
  for (const nth of ["first", "second"]) {
    const digest = await world.crane.push(world.image("echo"));
    const line = await eventually(`the ${nth} push is reported as picked up`, async () => {
      const lines = await consumer.lines();
      return lines.find(({ outcome, digest: pushed }) => outcome === "PICKED_UP" && pushed === digest) ?? null;
    });
    const { key, patchedAt, pickedUpAt } = pickedUp.parse(line);
    expect(Date.parse(pickedUpAt)).toBeGreaterThanOrEqual(Date.parse(patchedAt));
    const override = await world.cluster.override("echo");
    expect(override.metadata.annotations).toMatchObject({ "mpo-relay/key": key, "mpo-relay/digest": digest });
    expect(override.status).toMatchObject({ imageDigest: digest, message: "Ready" });
    expect(await world.resolve("echo")).toBe(digest);
  }
  expect((await world.cluster.override("other")).metadata.annotations).toEqual({});
}

test("edge and worker over ElasticMQ", async () => {
  const world = await startWorld({ modules: ["echo", "other"] });
  onTestFinished(() => world.stop());
  const queues = await startElasticMq();
  onTestFinished(() => queues.stop());
  const { url: queue } = await queues.createQueue("dev");
  const edgeConfig = await world.writeConfig("edge.yaml", { queue, edge: true, consumer: false });
  const workerConfig = await world.writeConfig("worker.yaml", { queue, edge: false, consumer: true });
  const edge = await serveRelay({ config: edgeConfig, log: join(world.folder, "edge.log"), url: world.relayUrl });
  onTestFinished(() => edge.stop());
  const worker = await workRelay({ config: workerConfig, log: join(world.folder, "worker.log"), cluster: "dev" });
  onTestFinished(() => worker.stop());
  await followPushes(world, worker);
  expect((await edge.lines()).some(({ event }) => event === "record")).toBe(false);
});

test("everything in one serve with the embedded queue", async () => {
  const world = await startWorld({ modules: ["echo", "other"] });
  onTestFinished(() => world.stop());
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true });
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  onTestFinished(() => relay.stop());
  await followPushes(world, relay);
  await relay.stop("SIGTERM");
  expect((await relay.lines()).at(-1)).toMatchObject({ event: "process", outcome: "STOPPED" });
});
