/** The built bundles, as AWS runs them: alone in a folder without node_modules, in a process of their own. `npm test` builds dist/ first. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { builtinModules } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import * as z from "zod";
import { encode } from "../src/event.ts";
import { openDynamoJournal } from "../src/journal/dynamodb.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { deliveriesOf } from "./contracts/deliveries.ts";
import { pushImage } from "../src/sandbox/registry-client.ts";
import { startRegistry } from "../src/sandbox/registry.ts";
import { type BundleName, startBundle } from "./support/bundle.ts";
import { startDynamo, type TestDynamo } from "./support/dynamodb.ts";
import { metricsIn } from "./support/emf.ts";
import { requestOf } from "./support/relay.ts";
import { HEAVY_MS, waited } from "./support/wait.ts";

const root = join(import.meta.dirname, "..");
const SECRET = "a-secret-that-no-log-may-hold";
const TABLE = "journal";
/** But for an entry that is written behind the answer: the first one loads the SDK, and a push does not wait for that. */
const JOURNAL_FAILED = /"JOURNAL_UNAVAILABLE","why":"(?!no answer within \d+ ms")/;

let folder = "";
let sqs: FauxqsServer;
let dynamo: TestDynamo;
beforeAll(async () => {
  dynamo = await startDynamo();
  await dynamo.createTable(TABLE);
  folder = await mkdtemp(join(tmpdir(), "mpo-relay-bundles-"));
  await cp(join(root, "dist/lambda"), folder, { recursive: true });
  await cp(join(root, "dist/workers/edge.mjs"), join(folder, "workers.mjs"));
  sqs = await startFauxqs({ port: 0, logger: false });
});
afterAll(async () => {
  await sqs.stop();
  await dynamo.close();
  await rm(folder, { recursive: true, force: true });
});

let queues = 0;
function createQueue() {
  const name = `dev-${queues++}`;
  const letters = sqs.createQueue(`${name}-dead`);
  const { queueUrl } = sqs.createQueue(name, {
    attributes: { RedrivePolicy: JSON.stringify({ deadLetterTargetArn: letters.queueArn, maxReceiveCount: 10 }) },
  });
  const bodies = (of: string) => {
    const { ready, delayed } = sqs.inspectQueue(of)?.messages ?? expect.fail(`no queue ${of}`);
    return [...ready, ...delayed].map(({ body }) => z.record(z.string(), z.unknown()).parse(JSON.parse(body)));
  };
  return { url: queueUrl, records: () => bodies(name), letters: () => sqs.inspectQueue(`${name}-dead`)?.messages.ready ?? [] };
}

const running: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of running.splice(0)) await stop();
});

async function start(name: BundleName, config: unknown, env: Readonly<Record<string, string>>) {
  const bundle = startBundle(folder, name, config, env);
  running.push(bundle.kill);
  await bundle.ready;
  return bundle;
}

/** What CloudWatch makes of all that a function wrote: the sum of each metric. */
function metricsOf(output: string, name: string): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { dimensions, values } of output.split("\n").flatMap(metricsIn)) {
    expect(dimensions).toEqual({ function: `mpo-relay-test-${name}` });
    for (const [metric, value] of Object.entries(values)) sums[metric] = (sums[metric] ?? 0) + Number(value);
  }
  return sums;
}

describe("edge.mjs", () => {
  const delivery = deliveriesOf("distribution").find(({ name }) => name === "push-by-named-user-2.8.2") ?? expect.fail("no such fixture");
  const [push = expect.fail("the fixture is no push")] = delivery.events;
  const repo = `${push.host}/${push.repository.split("/").slice(0, -1).join("/")}`;

  /** https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads */
  function event(body: Buffer, { secret = SECRET, base64 = false, path = "/hooks/registry", method = "POST" } = {}) {
    return {
      version: "2.0",
      rawPath: path,
      rawQueryString: "",
      headers: { ...delivery.headers, authorization: `Bearer ${secret}`, host: "relay.lambda-url.eu-west-1.on.aws" },
      requestContext: { domainName: "relay.lambda-url.eu-west-1.on.aws", http: { method, path, protocol: "HTTP/1.1" } },
      ...(method === "POST" && { body: body.toString(base64 ? "base64" : "utf8") }),
      isBase64Encoded: base64,
    };
  }
  const answer = z.object({ statusCode: z.number(), body: z.string() });
  const endpoint = () => `http://127.0.0.1:${sqs.port}`;

  async function startEdge(part: Readonly<Record<string, unknown>> = {}, env: Readonly<Record<string, string>> = {}) {
    const [queue, unparsed] = [createQueue(), createQueue()];
    const config = {
      webhooks: { registry: { provider: "distribution", secret: "env:WEBHOOK_SECRET" } },
      sources: [{ repo }],
      clusters: { dev: { queue: "env:MPO_RELAY_QUEUE", endpoint: endpoint() } },
      limits: { body: 4096 },
      unparsed: "env:MPO_RELAY_UNPARSED",
      ...part,
    };
    const variables = {
      WEBHOOK_SECRET: SECRET,
      MPO_RELAY_QUEUE: queue.url.split("/").at(-1) ?? "", // by name alone, as the stack gives it to an edge
      MPO_RELAY_UNPARSED: unparsed.url,
      AWS_ENDPOINT_URL_SQS: endpoint(),
      ...env,
    };
    const edge = await start("edge", config, variables);
    const invoke = async (given: unknown) => answer.parse(await edge.invoke(given));
    // A delivery is given 600 ms to be stored, which the SDK's loading and a first connection can take alone on a busy machine.
    const ready = event(delivery.body, { method: "GET", path: "/readyz" });
    await vi.waitFor(async () => expect(await invoke(ready)).toMatchObject({ statusCode: 200 }), waited);
    return { queue, unparsed, output: edge.output, invoke };
  }

  test(
    "stores a delivery, base64 or not, under one key, and answers every other call as it must",
    async () => {
      const { queue, unparsed, output, invoke } = await startEdge();
      const plain = await invoke(event(delivery.body));
      const encoded = await invoke(event(delivery.body, { base64: true }));
      expect([plain.statusCode, encoded.statusCode]).toEqual([202, 202]);
      const { key } = z.object({ key: z.string() }).parse(JSON.parse(plain.body));
      expect(JSON.parse(encoded.body)).toEqual({ decision: "queued", reason: null, key });
      const record = { kind: "renew", cluster: "dev", module: push.repository.split("/").at(-1), tag: push.tag, digest: push.digest, key };
      expect(queue.records()).toEqual([expect.objectContaining(record), expect.objectContaining(record)]);

      const large = Buffer.alloc(4097, "x");
      expect(await invoke(event(large))).toMatchObject({ statusCode: 413 });
      expect(await invoke(event(large, { base64: true }))).toMatchObject({ statusCode: 413 });
      // a stranger's is none of ours, however large
      expect(await invoke(event(large, { secret: "another-secret" }))).toMatchObject({ statusCode: 401, body: "" });
      expect(await invoke(event(large, { path: "/hooks/other" }))).toMatchObject({ statusCode: 404, body: "" });
      for (const secret of ["", "another-secret", SECRET.slice(0, -1)]) {
        expect(await invoke(event(delivery.body, { secret }))).toMatchObject({ statusCode: 401, body: "" });
      }
      expect(await invoke(event(delivery.body, { path: "/hooks/other" }))).toMatchObject({ statusCode: 404, body: "" });
      expect(await invoke(event(delivery.body, { method: "GET" }))).toMatchObject({ statusCode: 405 });
      expect(await invoke(event(delivery.body, { method: "GET", path: "/readyz" }))).toMatchObject({ statusCode: 200 });
      expect(queue.records()).toHaveLength(2);

      expect(await invoke(event(Buffer.from("no JSON")))).toMatchObject({ statusCode: 202 });
      expect(unparsed.records()).toEqual([expect.objectContaining({ kind: "delivery", webhook: "registry" })]);
      expect(await output()).toContain(`"outcome":"UNPARSED"`);
      const alarms = 1 + 2; // unparsed, and two that were too large
      const counted = { Queued: 2, AuthFailed: 4, Unparsed: 1, Alarms: alarms, ReceiveToQueued: expect.any(Number) };
      expect(metricsOf(await output(), "edge")).toEqual(counted);
      expect(await output()).not.toContain(SECRET);
    },
    HEAVY_MS,
  );

  test.each([
    ["a function URL, which leaves it as it came", "relay.lambda-url.eu-west-1.on.aws", (path: string) => path],
    ["an HTTP API, which decodes it", "0a1b2c.execute-api.eu-west-1.amazonaws.com", decodeURIComponent],
    ["a domain of its own, as an HTTP API has it", "relay.example.com", decodeURIComponent],
  ])("knows a secret in the path behind %s", async (_where, domainName, pathOf) => {
    const odd = "a/b+c=%2F#d e: a secret of base64 and worse";
    const { invoke, output } = await startEdge(
      { webhooks: { registry: { provider: "quay", secret: "env:WEBHOOK_SECRET" } } },
      { WEBHOOK_SECRET: odd },
    );
    const call = async (secret: string) => {
      const given = event(Buffer.from('{"docker_url":"registry.example.com/other/echo","updated_tags":["main"]}'), {
        path: pathOf(`/hooks/registry/${secret}`),
      });
      return (await invoke({ ...given, requestContext: { ...given.requestContext, domainName } })).statusCode;
    };
    expect([await call(encodeURIComponent(odd)), await call(encodeURIComponent(`${odd}/`)), await call("a")]).toEqual([202, 401, 401]);
    expect(await output()).not.toContain("base64 and worse");
  });

  const journal = { journal: "env:MPO_RELAY_JOURNAL" };

  test(
    "writes down what it stored, and tells it to whoever has the webhook's credential",
    async () => {
      const { invoke, output } = await startEdge(journal, { ...dynamo.env, MPO_RELAY_JOURNAL: TABLE });
      const { key } = z.object({ key: z.string() }).parse(JSON.parse((await invoke(event(delivery.body))).body));
      const question = event(delivery.body, { method: "GET", path: `/pushes/${key}` });
      const told = { key, state: "waiting", applied: null, clusters: [{ cluster: "dev", outcome: "QUEUED" }] };
      await vi.waitFor(async () => expect(JSON.parse((await invoke(question)).body)).toMatchObject(told), waited);
      const stranger = event(delivery.body, { method: "GET", path: `/pushes/${key}`, secret: "another-secret" });
      expect(await invoke(stranger)).toMatchObject({ statusCode: 401 });
      expect(await output()).not.toMatch(JOURNAL_FAILED);
    },
    HEAVY_MS,
  );

  test(
    "takes a delivery while its journal answers nothing, and tells of it once",
    async () => {
      const silent = createServer(() => {}).listen(0, "127.0.0.1");
      await once(silent, "listening");
      const address = silent.address();
      const endpointUrl = `http://127.0.0.1:${typeof address === "object" && address ? address.port : expect.fail("no port")}`;
      const env = { ...dynamo.env, AWS_ENDPOINT_URL_DYNAMODB: endpointUrl, MPO_RELAY_JOURNAL: TABLE };
      const { invoke, output, queue } = await startEdge(journal, env);
      running.push(async () => void silent.close());
      expect(await invoke(event(delivery.body))).toMatchObject({ statusCode: 202 });
      expect(await invoke(event(delivery.body))).toMatchObject({ statusCode: 202 });
      expect(queue.records().length).toBeGreaterThanOrEqual(2); // a store that was slow is tried again, and a copy costs nothing
      expect((await output()).match(/"alarm":"JOURNAL_UNAVAILABLE","why":"no answer within 300 ms"/g)).toHaveLength(1);
    },
    HEAVY_MS,
  );

  test("asks the sender to try again while SQS cannot be reached", async () => {
    const queue = `http://127.0.0.1:${await closedPort()}/queue`;
    const config = {
      webhooks: { registry: { provider: "distribution", secret: "env:WEBHOOK_SECRET" } },
      sources: [{ repo }],
      clusters: { dev: { queue } },
      unparsed: `${queue}-unparsed`,
    };
    const edge = await start("edge", config, { WEBHOOK_SECRET: SECRET });
    expect(await edge.invoke(event(delivery.body))).toMatchObject({ statusCode: 503, headers: { "retry-after": "5" } });
    expect(await edge.output()).not.toContain(SECRET);
  });

  test.each([
    ["a wrong configuration", { clusters: {} }, "there is no cluster"],
    [
      "an embedded queue",
      { clusters: { dev: { queue: "embedded:" } } },
      "clusters.dev.queue, unparsed, journal: what is embedded needs a disk that lasts",
    ],
    ["a queue's variable that is not set", { clusters: { dev: { queue: "env:NOT_SET" } } }, "variable NOT_SET is not set"],
  ])("does not start with %s, and says why", async (_what, config, text) => {
    await expect(start("edge", config, {})).rejects.toThrow(text);
  });
});

describe("consumer.mjs", () => {
  let api: KubernetesApi;
  beforeEach(async () => {
    api = await startKubernetesApi({ token: SECRET });
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });
  });
  afterEach(() => api.close());

  const now = () => new Date().toISOString();
  const renewal = () => encode(requestOf({ receivedAt: now(), pushedAt: now() }));
  /** https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event */
  const event = (...bodies: string[]) => ({
    Records: bodies.map((body, index) => ({
      messageId: `id-${index}`,
      receiptHandle: `receipt-${index}`,
      body,
      attributes: { ApproximateReceiveCount: "1", SentTimestamp: String(Date.now()) },
      eventSource: "aws:sqs",
    })),
  });

  async function startConsumer(env: Readonly<Record<string, string>> = {}, part: Readonly<Record<string, unknown>> = {}) {
    const queue = createQueue();
    const kubernetes = { server: api.url, ca: "env:CLUSTER_CA", token: "env:CLUSTER_TOKEN" };
    const endpoint = `http://127.0.0.1:${sqs.port}`;
    const config = { clusters: { dev: { queue: "env:MPO_RELAY_QUEUE", endpoint, kubernetes } }, ...part };
    const variables = { MPO_RELAY_CLUSTER: "dev", MPO_RELAY_QUEUE: queue.url, CLUSTER_CA: api.ca, CLUSTER_TOKEN: SECRET, ...env };
    return { queue, ...(await start("consumer", config, variables)) };
  }
  const annotations = () => api.store.get("modulepulloverrides", "echo")?.metadata.annotations ?? {};

  test(
    "nudges the override, and leaves the look for later in the queue",
    async () => {
      const { queue, invoke, output } = await startConsumer();
      expect(await invoke(event(renewal(), "no JSON"))).toEqual({ batchItemFailures: [] });
      expect(annotations()).toMatchObject({ renew: requestOf().key });
      expect(queue.records()).toEqual([expect.objectContaining({ kind: "confirm", module: "echo", key: requestOf().key })]);
      expect(queue.letters().map(({ body }) => body)).toEqual(["no JSON"]);
      const counted = { Nudged: 1, ReceiveToPatched: expect.any(Number), Alarms: 1 };
      expect(metricsOf(await output(), "consumer")).toEqual(counted);
      expect(await output()).not.toContain(SECRET);
    },
    HEAVY_MS,
  );

  test.each<[string, () => Promise<Record<string, string>>]>([
    ["the API server is down", () => api.stop().then(() => ({}))],
    ["its credential cannot be read", async () => ({ CLUSTER_TOKEN: "" })],
  ])("defers by a copy while %s", async (_what, prepare) => {
    const { queue, invoke, output } = await startConsumer(await prepare());
    expect(await invoke(event(renewal()))).toEqual({ batchItemFailures: [] });
    expect(queue.records()).toEqual([expect.objectContaining({ kind: "renew", attempt: 1 })]);
    expect(await output()).toMatch(/"alarm":"CLUSTER_(?:UNREACHABLE|UNAUTHORIZED)"/);
    expect(await output()).not.toContain(SECRET);
  });

  test("writes down what became of each record", async () => {
    const { invoke, output } = await startConsumer({ ...dynamo.env }, { journal: `dynamodb:${TABLE}` });
    const key = "consumer00001";
    expect(await invoke(event(encode(requestOf({ key, receivedAt: now(), pushedAt: now() }))))).toEqual({ batchItemFailures: [] });
    for (const [name, value] of Object.entries(dynamo.env)) vi.stubEnv(name, value);
    const written = openDynamoJournal(TABLE);
    const nudged = [{ stage: "NUDGED", cluster: "dev", module: "echo" }];
    await vi.waitFor(async () => expect(await written.read({ key, limit: 9 })).toMatchObject(nudged), waited);
    await written.close();
    vi.unstubAllEnvs();
    expect(await output()).not.toMatch(JOURNAL_FAILED);
  });

  test("gives back exactly what could not be settled", async () => {
    const skipped = encode(requestOf({ module: "nobody-overrides-it" }));
    const { invoke } = await startConsumer({ MPO_RELAY_QUEUE: `http://127.0.0.1:${sqs.port}/000000000000/gone` });
    expect(await invoke(event(skipped, renewal()))).toEqual({ batchItemFailures: [{ itemIdentifier: "id-1" }] });
  });

  test("does not start for a cluster that the configuration has not", async () => {
    await expect(startConsumer({ MPO_RELAY_CLUSTER: "prod" })).rejects.toThrow('no cluster "prod" in the configuration; known: dev');
  });
});

describe("inbox.mjs", () => {
  const HOST = "210987654321.dkr.ecr.eu-central-1.amazonaws.com";
  const pushed = (id: string, action = "PUSH") => ({
    id,
    "detail-type": "ECR Image Action",
    source: "aws.ecr",
    account: "210987654321",
    region: "eu-central-1",
    time: "2026-11-24T11:59:59Z",
    detail: { "action-type": action, result: "SUCCESS", "repository-name": "deckhouse/modules/echo", "image-tag": "main" },
  });
  const event = (...bodies: unknown[]) => ({
    Records: bodies.map((body, index) => ({
      messageId: `id-${index}`,
      receiptHandle: `receipt-${index}`,
      body: JSON.stringify(body),
      attributes: { ApproximateReceiveCount: "1", SentTimestamp: String(Date.now()) },
    })),
  });

  async function startInbox(env: Readonly<Record<string, string>> = {}) {
    const queue = createQueue();
    const unparsed = createQueue();
    const endpoint = `http://127.0.0.1:${sqs.port}`;
    const config = {
      webhooks: { ecr: { provider: "ecr", queue: "env:ECR_QUEUE" } },
      sources: [{ repo: `${HOST}/deckhouse/modules` }],
      clusters: { dev: { queue: "env:DEV_QUEUE" } },
      unparsed: "env:UNPARSED_QUEUE",
    };
    const urls = { AWS_ENDPOINT_URL_SQS: endpoint, ECR_QUEUE: createQueue().url, DEV_QUEUE: queue.url, UNPARSED_QUEUE: unparsed.url };
    return { queue, unparsed, ...(await start("inbox", config, { MPO_RELAY_WEBHOOK: "ecr", ...urls, ...env })) };
  }

  test("stores what EventBridge put into the webhook's queue, and keeps what it cannot read", async () => {
    const { queue, unparsed, invoke } = await startInbox();
    expect(await invoke(event(pushed("1"), { "detail-type": 7 }))).toEqual({ batchItemFailures: [] });
    expect(queue.records()).toEqual([expect.objectContaining({ kind: "renew", module: "echo", tag: "main" })]);
    expect(unparsed.records()).toHaveLength(1);
  });

  test("gives back what it could not store, so that SQS shows it again", async () => {
    const { invoke, output } = await startInbox({ DEV_QUEUE: `http://127.0.0.1:${sqs.port}/000000000000/gone` });
    expect(await invoke(event(pushed("2", "DELETE"), pushed("1")))).toEqual({ batchItemFailures: [{ itemIdentifier: "id-1" }] });
    expect(await output()).toContain('"alarm":"QUEUE_');
  });

  test("does not start for a webhook that has no queue", async () => {
    await expect(startInbox({ MPO_RELAY_WEBHOOK: "team" })).rejects.toThrow('no webhook "team" with a queue in the configuration');
  });
});

describe("sweep.mjs", () => {
  test("queues what is behind, and writes no secret", async () => {
    const api = await startKubernetesApi({ token: SECRET });
    const registry = await startRegistry({ port: 0, notify: null, log: () => {} });
    running.push(
      () => api.close(),
      () => registry.close(),
    );
    const digest = await pushImage(registry.url, "modules/echo", "main");
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });
    const queue = createQueue();
    const kubernetes = { server: api.url, ca: "env:CLUSTER_CA", token: "env:CLUSTER_TOKEN" };
    const endpoint = `http://127.0.0.1:${sqs.port}`;
    const config = {
      sources: [{ repo: `localhost:${registry.port}/modules`, registry: { plainHttp: true } }],
      clusters: { dev: { queue: "env:MPO_RELAY_QUEUE", endpoint, kubernetes } },
    };
    const env = { MPO_RELAY_CLUSTER: "dev", MPO_RELAY_QUEUE: queue.url, CLUSTER_CA: api.ca, CLUSTER_TOKEN: SECRET };
    const { invoke, output } = await start("sweep", config, env);
    expect(await invoke({})).toEqual({ queued: 1 });
    expect(await invoke({})).toEqual({ queued: 0 });
    expect(queue.records()).toEqual([expect.objectContaining({ kind: "renew", module: "echo", digest, webhook: "(sweep)" })]);
    expect(metricsOf(await output(), "sweep")).toMatchObject({ OverridesBehind: 2, OverridesPush: 0, OverridesUnserved: 0 }); // one in each of two sweeps
    expect(await output()).toContain('"outcome":"SWEPT"');
    expect(await output()).not.toContain(SECRET);
  });
});

describe("workers/edge.mjs, in Node", () => {
  const config = {
    webhooks: { registry: { provider: "distribution", secret: "env:WEBHOOK_SECRET" } },
    sources: [{ repo: "registry.example.com/modules" }],
    clusters: { dev: { queue: "env:MPO_RELAY_QUEUE" } },
    unparsed: "http://127.0.0.1:9/000000000000/none",
  };
  const bound = (part: object = {}) => ({ MPO_RELAY_CONFIG: JSON.stringify({ ...config, ...part }) });
  // fauxqs knows a queue by its exact URL, whose host does not resolve everywhere
  const env = (queue: string) => ({ ...bound(), MPO_RELAY_QUEUE: queue, AWS_ENDPOINT_URL: `http://127.0.0.1:${sqs.port}` });

  /** What its `fetch` answers to one notification, and what it wrote. */
  async function ask(env: Readonly<Record<string, string>>, secret = SECRET) {
    const target = {
      repository: "modules/echo",
      tag: "main",
      digest: `sha256:${"a".repeat(64)}`,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
    };
    const body = JSON.stringify({
      events: [{ id: "1", timestamp: new Date().toISOString(), action: "push", target, request: { host: "registry.example.com" } }],
    });
    const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
    const call = JSON.stringify({ method: "POST", body, headers });
    const program = `
      const { default: app } = await import(process.argv[1]);
      const answer = await app.fetch(new Request("https://relay.example.com/hooks/registry", JSON.parse(process.argv[2])));
      process.stderr.write(JSON.stringify({ status: answer.status, body: await answer.text() }));`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", program, join(folder, "workers.mjs"), call], {
      cwd: folder,
      env: { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test", WEBHOOK_SECRET: SECRET, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [written, said] = await Promise.all([textOf(child.stdout), textOf(child.stderr), once(child, "close")]);
    return { written, said };
  }

  test("stores a push in its queue, and answers 202", async () => {
    const queue = createQueue();
    const { written, said } = await ask(env(queue.url));
    expect(JSON.parse(said)).toMatchObject({ status: 202, body: expect.stringContaining(`"decision":"queued"`) });
    expect(queue.records()).toEqual(expect.arrayContaining([expect.objectContaining({ kind: "renew", cluster: "dev", module: "echo" })]));
    expect(written).toContain(`"outcome":"QUEUED"`);
    expect(written).not.toContain(SECRET);
  });

  test("answers 503 where the queue is not there, and 401 to a stranger", async () => {
    const gone = env(`http://127.0.0.1:${sqs.port}/000000000000/gone`);
    expect(JSON.parse((await ask(gone)).said)).toMatchObject({ status: 503 });
    expect(JSON.parse((await ask(gone, "another-secret")).said)).toEqual({ status: 401, body: "" });
  });

  test.each([
    ["no configuration", {}, "MPO_RELAY_CONFIG must hold the configuration as JSON"],
    ["a file's name in its place", { MPO_RELAY_CONFIG: "relay.yaml" }, "MPO_RELAY_CONFIG must hold the configuration as JSON"],
    [
      "a webhook that has a queue",
      bound({ webhooks: { ecr: { provider: "ecr", queue: "env:EVENTS" } } }),
      "webhooks.ecr.queue: only mpo-relay serve takes deliveries from a queue",
    ],
    ["one queue for two", { ...bound({ unparsed: "env:OTHER" }), OTHER: "http://127.0.0.1:9/1/q" }, "name one queue"],
  ])("does not start with %s, and says why", async (_what, given, text) => {
    expect((await ask({ MPO_RELAY_QUEUE: "http://127.0.0.1:9/1/q", ...given })).said).toContain(text);
  });
});

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : expect.fail("no port");
}

describe("what is loaded", () => {
  const output = z.object({
    bytes: z.number(),
    entryPoint: z.string().optional(),
    imports: z.array(z.object({ path: z.string(), kind: z.string(), external: z.boolean().default(false) })),
    inputs: z.record(z.string(), z.unknown()),
  });
  const metafile = z.object({
    cli: z.record(z.string(), output),
    workers: z.record(z.string(), output),
    lambda: z.record(z.string(), output),
  });
  type Outputs = z.output<typeof metafile>["cli"];
  const meta = async () => metafile.parse(JSON.parse(await readFile(join(root, "dist/meta.json"), "utf8")));

  /** The files that are read when `entries` are: themselves and what they import statically. */
  function closure(outputs: Outputs, entries: readonly string[]) {
    const files = new Set(entries);
    for (const file of files) {
      for (const { path, kind, external } of outputs[file]?.imports ?? expect.fail(`no ${file}`))
        if (kind === "import-statement" && !external) files.add(path);
    }
    const all = [...files].map((file) => outputs[file] ?? expect.fail(`no ${file}`));
    const packages = all.flatMap(({ imports }) =>
      imports.filter(({ external, kind }) => external && kind === "import-statement").map(({ path }) => path),
    );
    return {
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      inputs: all.flatMap(({ inputs }) => Object.keys(inputs)),
      packages: [...new Set(packages)].filter((path) => !path.startsWith("node:")),
    };
  }
  /** What an entry loads at import: its static part, and the SQS adapter, which it opens before it exports its handler. */
  function atImport(outputs: Outputs, name: string) {
    const adapter = Object.keys(outputs).find(
      (file) => file.startsWith(`dist/lambda/${name}/`) && outputs[file]?.entryPoint === "src/queue/sqs.ts",
    );
    return closure(outputs, [`dist/lambda/${name}.mjs`, adapter ?? expect.fail("no chunk of the SQS adapter")]);
  }

  test.each(["edge", "consumer", "sweep", "inbox"])(
    "%s.mjs: at most 500 KiB at import, and nothing that only the Node processes need",
    async (name) => {
      const { bytes, inputs, packages } = atImport((await meta()).lambda, name);
      expect(bytes).toBeLessThanOrEqual(500 * 1024);
      expect(inputs.filter((file) => file.includes("@aws-sdk/client-dynamodb"))).toEqual([]);
      expect(inputs).toContain("src/queues.ts");
      expect(
        inputs.filter((file) => /node_modules\/(?:@kubernetes|yaml|libsql|commander|@hono|pino-pretty|jose|prom-client)\//.test(file)),
      ).toEqual([]);
      expect(inputs).not.toContain("src/relay.ts");
      expect(packages).toEqual([]);
    },
  );

  test("no chunk of a function, loaded or not, holds a YAML parser, SQLite, a command line or a Node server", async () => {
    const inputs = Object.values((await meta()).lambda).flatMap((each) => Object.keys(each.inputs));
    expect(
      inputs.filter((file) => /node_modules\/(?:yaml|libsql|commander|@hono\/node-server|pino-pretty|prom-client)\//.test(file)),
    ).toEqual([]);
  });

  test("the Kubernetes client is a chunk of its own, in consumer and sweep alone, loaded when a cluster is first asked", async () => {
    const { lambda } = await meta();
    const holders = Object.entries(lambda).filter(([, { inputs }]) =>
      Object.keys(inputs).some((file) => file.includes("@kubernetes/client-node/")),
    );
    expect(holders.map(([, { entryPoint }]) => entryPoint)).toEqual(["src/cluster/client-node.ts", "src/cluster/client-node.ts"]);
    expect(new Set(holders.map(([file]) => file.split("/")[2]))).toEqual(new Set(["consumer", "sweep"]));
  });

  test("workers/edge.mjs is one file of at most 400 KiB, without SDK, SQLite, command line and Node server", async () => {
    const { workers } = await meta();
    expect(Object.keys(workers)).toEqual(["dist/workers/edge.mjs"]);
    const { bytes, inputs, packages } = closure(workers, ["dist/workers/edge.mjs"]);
    expect(bytes).toBeLessThanOrEqual(400 * 1024);
    expect(
      inputs.filter((file) => /node_modules\/(?:@aws-sdk|@smithy|@kubernetes|yaml|libsql|commander|@hono|pino-pretty)\//.test(file)),
    ).toEqual([]);
    expect(inputs).toContain("src/queue/sqs-fetch.ts");
    expect(packages.filter((path) => !builtinModules.includes(path))).toEqual([]);
  });

  test("cli.js is a program, and loads adapters only for the commands that use them", async () => {
    expect(await readFile(join(root, "dist/cli.js"), "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
    const { packages } = closure((await meta()).cli, ["dist/cli.js"]);
    const heavy = [
      "@aws-sdk/client-dynamodb",
      "@aws-sdk/client-sqs",
      "@hono/node-server",
      "@kubernetes/client-node",
      "jose",
      "libsql",
      "pino-pretty",
      "prom-client",
      "selfsigned",
      "yaml",
    ];
    expect(packages).toContain("commander");
    expect(packages.filter((name) => heavy.includes(name))).toEqual([]);
  });
});
