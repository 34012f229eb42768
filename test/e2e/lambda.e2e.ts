/**
 * The built Lambda functions under AWS's own runtime interface emulator, their queue in ElasticMQ, their cluster a real kube-apiserver, their
 * journal in dynalite, a stand-in for DynamoDB.
 */
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { decode, type RenewRequest } from "../../src/event.ts";
import type { Queue, QueueRecord } from "../../src/queue/queue.ts";
import { openSqs } from "../../src/queue/sqs.ts";
import { startDynamo } from "../support/dynamodb.ts";
import { startCluster } from "./cluster.ts";
import { freePort, run, temporaryFolder } from "./parts/child.ts";
import { openCrane } from "./parts/crane.ts";
import { ELASTICMQ_ENV, startElasticMq } from "./parts/elasticmq.ts";
import { type Lambda, startLambda } from "./parts/lambda-emulator.ts";
import { startRegistry } from "./parts/registry.ts";
import { batchOf, digestOf, notificationOf, type UrlCall, urlEvent as functionUrlEvent } from "../support/lambda-events.ts";
import { eventually } from "./wait.ts";

const BUNDLES = join(import.meta.dirname, "../../dist/lambda");
const REPO = "registry.example.com/deckhouse/modules";
const SECRET = "a-secret-of-the-lambda-scenario";
const urlEvent = (body: string, call: UrlCall = {}) => functionUrlEvent(body, { secret: SECRET, ...call });

async function start(name: "edge" | "inbox" | "consumer" | "sweep", config: object, env: Record<string, string> = {}): Promise<Lambda> {
  const settings = { ...ELASTICMQ_ENV, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true", MPO_RELAY_CONFIG: JSON.stringify(config) };
  // The consumer keeps ten seconds of its time in reserve.
  const lambda = await startLambda({ bundle: join(BUNDLES, `${name}.mjs`), env: { ...settings, ...env }, timeoutSeconds: 60 });
  onTestFinished(() => lambda.stop());
  return lambda;
}

async function startQueues() {
  const queues = await startElasticMq();
  onTestFinished(() => queues.stop());
  const dev = await queues.createQueue("dev");
  const unparsed = await queues.createQueue("unparsed");
  const open = (url: string, deadLettersUrl: string) => {
    const queue = openSqs({ url, deadLettersUrl });
    onTestFinished(() => queue.close());
    return queue;
  };
  return {
    urls: { dev: dev.url, unparsed: unparsed.url },
    dev: open(dev.url, dev.deadLetterUrl),
    unparsed: open(unparsed.url, unparsed.url),
  };
}

const edgeConfig = (urls: { dev: string; unparsed: string }) => ({
  webhooks: { registry: { provider: "distribution", secret: "env:HOOK_SECRET" } },
  sources: [{ repo: REPO, name: "test" }],
  clusters: { dev: { queue: urls.dev } },
  unparsed: urls.unparsed,
});

/** A cluster, and what a consumer of it is given. */
async function startConsumed(modules: readonly string[], repo = REPO) {
  const cluster = await startCluster({ repo, modules });
  onTestFinished(() => cluster.stop());
  const kubernetes = { server: cluster.kube.server, ca: "env:CLUSTER_CA", token: "env:CLUSTER_TOKEN" };
  return {
    cluster,
    consumerConfig: (queue: string) => ({
      clusters: { dev: { queue, kubernetes } },
      tuning: { looks: ["500ms", "1s"], sweep: "20s" }, // a confirm record waits for the first look; what a sweep found, 3 s
    }),
    env: { MPO_RELAY_CLUSTER: "dev", CLUSTER_CA: cluster.kube.ca, CLUSTER_TOKEN: cluster.token },
  };
}

const ECR = "210987654321.dkr.ecr.eu-central-1.amazonaws.com";
/** https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html */
const ecrPush = (module: string) => ({
  id: `push-${module}`,
  "detail-type": "ECR Image Action",
  source: "aws.ecr",
  account: "210987654321",
  region: "eu-central-1",
  time: new Date().toISOString(),
  detail: { "action-type": "PUSH", result: "SUCCESS", "repository-name": `deckhouse/modules/${module}`, "image-tag": "main" },
});
const message = (body: object): QueueRecord => ({
  id: randomUUID(),
  receipt: "receipt",
  body: JSON.stringify(body),
  receiveCount: 1,
  sentAt: new Date().toISOString(),
});

const answer = z.object({ statusCode: z.number(), body: z.string().nullish() });
async function call(edge: Lambda, event: object): Promise<{ status: number; body: unknown }> {
  const { statusCode, body } = answer.parse(await edge.invoke(event));
  return { status: statusCode, body: body ? JSON.parse(body) : null };
}

async function take(queue: Queue, count: number): Promise<QueueRecord[]> {
  const records: QueueRecord[] = [];
  return eventually(`${count} records are in the queue`, async () => {
    records.push(...(await queue.receive({ max: 10, waitSeconds: 1, visibilitySeconds: 600 })));
    return records.length >= count ? records : null;
  });
}

function requestOf({ body }: QueueRecord): RenewRequest {
  const read = decode(body);
  return read.kind === "request" ? read.request : expect.fail(`a record that is ${read.kind}`);
}
const moduleOf = (record: QueueRecord): string => requestOf(record).module;

test("edge: function URL events, plain and base64; a wrong secret; a body that can't be read", async () => {
  const { urls, dev, unparsed } = await startQueues();
  const edge = await start("edge", edgeConfig(urls), { HOOK_SECRET: SECRET });

  const plain = await call(edge, urlEvent(notificationOf("echo")));
  expect(plain).toMatchObject({ status: 202, body: { decision: "queued" } });
  expect(await call(edge, urlEvent(notificationOf("other"), { base64: true }))).toMatchObject({
    status: 202,
    body: { decision: "queued" },
  });
  expect(await call(edge, urlEvent(notificationOf("echo"), { secret: "another-secret-altogether" }))).toEqual({ status: 401, body: null });
  expect(await call(edge, urlEvent("{ no JSON", { base64: true }))).toMatchObject({ status: 202, body: { decision: "unparsed" } });

  const requests = (await take(dev, 2)).map(requestOf).toSorted((a, b) => a.module.localeCompare(b.module));
  expect(requests).toMatchObject([
    { kind: "renew", cluster: "dev", module: "echo", tag: "main", digest: digestOf("echo"), nudge: 0 },
    { kind: "renew", cluster: "dev", module: "other", tag: "main", digest: digestOf("other"), nudge: 0 },
  ]);
  expect(plain.body).toMatchObject({ key: requests[0]?.key });
  expect(await dev.depth()).toMatchObject({ records: 2 });
  const page = await unparsed.deadLetters.list(10);
  expect(page.letters).toMatchObject([{ code: "UNPARSED" }]);
  expect(`${await edge.output()}${JSON.stringify(page)}`).not.toContain(SECRET);
});

test("consumer: an SQS batch with a malformed record; one that can't be settled is given back, and done the next time", async () => {
  const { urls, dev } = await startQueues();
  const { cluster, consumerConfig, env } = await startConsumed(["echo", "other"]);
  const edge = await start("edge", edgeConfig(urls), { HOOK_SECRET: SECRET });
  for (const module of ["echo", "other", "nobody"]) await call(edge, urlEvent(notificationOf(module)));
  await dev.send([{ body: "no record at all" }]);
  const records = await take(dev, 4);
  const isOf = (module: string) => (record: QueueRecord) => decode(record.body).kind === "request" && moduleOf(record) === module;
  const [echo, other, nobody] = ["echo", "other", "nobody"].map(
    (module) => records.find(isOf(module)) ?? expect.fail(`no record of ${module}`),
  );
  const malformed = records.find(({ body }) => decode(body).kind === "malformed") ?? expect.fail("no malformed record");
  if (!echo || !other || !nobody) expect.fail("a record is missing");

  const consumer = await start("consumer", consumerConfig(urls.dev), env);
  expect(await consumer.invoke(batchOf([malformed, echo]))).toEqual({ batchItemFailures: [] });
  expect((await dev.deadLetters.list(10)).letters).toMatchObject([{ code: "MALFORMED", body: "no record at all" }]);
  expect((await cluster.override("echo")).metadata.annotations).toMatchObject({ "mpo-relay/key": requestOf(echo).key });
  expect((await take(dev, 1)).map(requestOf)).toMatchObject([{ kind: "confirm", module: "echo", key: requestOf(echo).key }]);

  // Patched, but the confirm record can't be stored, nor the record deferred: SQS has to keep it. The other one needs no queue.
  const cut = await start("consumer", consumerConfig(`http://127.0.0.1:${await freePort()}/000000000000/gone`), env);
  expect(await cut.invoke(batchOf([nobody, other]))).toEqual({ batchItemFailures: [{ itemIdentifier: other.id }] });
  const patched = (await cluster.override("other")).metadata.annotations;
  expect(patched).toMatchObject({ "mpo-relay/key": requestOf(other).key });
  expect(await cut.output()).toContain("NOT_OVERRIDDEN");

  expect(await consumer.invoke(batchOf([other]))).toEqual({ batchItemFailures: [] });
  expect((await cluster.override("other")).metadata.annotations).toEqual(patched);
  expect((await take(dev, 1)).map(requestOf)).toMatchObject([{ kind: "confirm", module: "other", key: requestOf(other).key }]);
  expect(await consumer.output()).not.toContain(cluster.token);
});

test("inbox: a batch of EventBridge's messages; one that nobody can read is kept, one whose queue is away is given back", async () => {
  const { urls, dev, unparsed } = await startQueues();
  const config = (queue: string) => ({
    webhooks: { ecr: { provider: "ecr", queue: "env:ECR_QUEUE" } },
    sources: [{ repo: `${ECR}/deckhouse/modules` }],
    clusters: { dev: { queue } },
    unparsed: urls.unparsed,
  });
  const env = { MPO_RELAY_WEBHOOK: "ecr", ECR_QUEUE: urls.unparsed.replace("unparsed", "ecr") };
  const inbox = await start("inbox", config(urls.dev), env);
  expect(await inbox.invoke(batchOf([message(ecrPush("echo")), message({ "detail-type": 7 })]))).toEqual({ batchItemFailures: [] });
  const stored = (await take(dev, 1)).map(requestOf); // twice, where the first answer took longer than a sender may wait
  expect(stored[0]).toMatchObject({ kind: "renew", module: "echo", tag: "main", webhook: "ecr" });
  expect(new Set(stored.map(({ key }) => key)).size).toBe(1);
  expect((await unparsed.deadLetters.list(10)).letters).toMatchObject([{ code: "UNPARSED" }]);

  const cut = await start("inbox", config(`http://127.0.0.1:${await freePort()}/000000000000/gone`), env);
  const pushed = message(ecrPush("other"));
  expect(await cut.invoke(batchOf([pushed]))).toEqual({ batchItemFailures: [{ itemIdentifier: pushed.id }] });
});

test("sweep: what a real registry's tag names and the override does not show is queued, once", async () => {
  const { urls, dev } = await startQueues();
  const registry = await startRegistry({ hooks: [] });
  onTestFinished(() => registry.stop());
  const repo = `${registry.host}/deckhouse/modules`;
  const digest = await (await openCrane()).push(`${repo}/echo:main`);
  const { cluster, consumerConfig, env } = await startConsumed(["echo"], repo);
  const sources = [{ repo, name: "test", registry: { plainHttp: true } }];
  const sweep = await start("sweep", { ...consumerConfig(urls.dev), sources }, env);
  expect(await sweep.invoke({})).toEqual({ queued: 1 });
  expect(await sweep.invoke({})).toEqual({ queued: 0 });
  const records = await take(dev, 1); // it comes after the grace in which its delivery may still be on its way
  expect(records.map(requestOf)).toMatchObject([{ kind: "renew", module: "echo", digest, webhook: "(sweep)" }]);
  const consumer = await start("consumer", { ...consumerConfig(urls.dev), sources }, env);
  expect(await consumer.invoke(batchOf(records))).toEqual({ batchItemFailures: [] });
  expect((await cluster.override("echo")).metadata.annotations).toMatchObject({ "mpo-relay/digest": digest });
});

const story = z.object({ key: z.string(), clusters: z.array(z.object({ stages: z.array(z.object({ stage: z.string() })) })) });

test("journal: edge and consumer write it, and `mpo-relay history` and the function URL tell of it", async () => {
  const { urls, dev } = await startQueues();
  const dynamo = await startDynamo();
  onTestFinished(() => dynamo.close());
  await dynamo.createTable("journal");
  const { consumerConfig, env } = await startConsumed(["echo"]);
  const journal = "env:MPO_RELAY_JOURNAL"; // as the template sets it
  const table = { ...dynamo.env, MPO_RELAY_JOURNAL: "journal" };
  const edge = await start("edge", { ...edgeConfig(urls), journal }, { HOOK_SECRET: SECRET, ...table });
  const consumer = await start("consumer", { ...consumerConfig(urls.dev), journal }, { ...env, ...table });

  const pushed = await call(edge, urlEvent(notificationOf("echo")));
  const { key } = z.object({ key: z.string() }).parse(pushed.body);
  expect(await consumer.invoke(batchOf(await take(dev, 1)))).toEqual({ batchItemFailures: [] });

  const folder = await temporaryFolder("history");
  onTestFinished(() => folder.remove());
  const file = join(folder.path, "relay.json");
  await writeFile(file, JSON.stringify({ ...edgeConfig(urls), journal }));
  const history = [join(BUNDLES, "../cli.js"), "history", "echo", "--config", file, "--json"];
  // an edge waits 300 ms for a journal, and then its first entry may be a little later than its answer
  const read = await eventually("history tells of both functions' stages", async () => {
    const printed = await run(process.execPath, history, { env: { PATH: process.env["PATH"], ...table } });
    const found = story.parse(JSON.parse(printed));
    return found.clusters.flatMap(({ stages }) => stages.map(({ stage }) => stage)).join() === "QUEUED,NUDGED" ? found : null;
  });
  expect(read.key).toBe(key);

  const answered = await call(edge, urlEvent("", { method: "GET", path: `/pushes/${key}` }));
  expect(answered).toMatchObject({ status: 200, body: { key, state: "waiting", clusters: [{ cluster: "dev", outcome: "NUDGED" }] } });
  expect(await call(edge, urlEvent("", { method: "GET", path: `/pushes/${key}`, secret: "another-secret" }))).toMatchObject({
    status: 401,
  });
});
