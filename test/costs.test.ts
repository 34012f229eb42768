/**
 * What a push costs in calls: the edge and the consumer of the Lambda functions, over a queue and a table that are counted. The template's
 * prices and the arithmetic are in infra/costs.json and support/costs.ts; test/readme.test.ts compares the page.
 */
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { expect, onTestFinished, test, vi } from "vitest";
import * as z from "zod";
import { alarms } from "../infra/template/alarms.ts";
import type { QueueRecord } from "../src/queue/queue.ts";
import { openSqs } from "../src/queue/sqs.ts";
import { startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { costs } from "./support/costs.ts";
import { type Counting, countCalls } from "./support/counting.ts";
import { startDynamo } from "./support/dynamodb.ts";
import { digestOf } from "./support/relay.ts";

const SECRET = "a-secret-of-the-costs";
const TABLE = "journal";
test("the alarms that the page counts are those of the stack", () => {
  const count = (...names: readonly string[]) => {
    const clusters = names.map((name) => ({ name, id: name, consumed: true }));
    const all = Object.values(alarms({ service: "mpo-relay", stage: "dev", sweepMinutes: 5, clusters, inboxes: [] }, ""));
    // paid is each metric of one
    return all.reduce((sum, { Properties }) => sum + (JSON.stringify(Properties).match(/"MetricName":/g)?.length ?? 0), 0);
  };
  const { alarmsOfStage, alarmsOfCluster } = costs.assumed;
  expect([count(), count("Dev"), count("Dev", "Stage")]).toEqual([0, 1, 2].map((many) => alarmsOfStage + many * alarmsOfCluster));
});

const lambda = { getRemainingTimeInMillis: () => 60_000 };
const outcome = z.looseObject({ outcome: z.string() });

// On a busy machine a store takes longer than a sender may wait for, and is tried twice: not what a push costs.
test("a push that takes effect at once costs the calls that the page counts", { retry: 3 }, async () => {
  const sqs = await startFauxqs({ port: 0, logger: false });
  const queue = await countCalls(`http://127.0.0.1:${sqs.port}`);
  const dynamo = await startDynamo();
  await dynamo.createTable(TABLE);
  const table = await countCalls(dynamo.env["AWS_ENDPOINT_URL_DYNAMODB"] ?? expect.fail("no endpoint"));
  const api = await startKubernetesApi({ token: SECRET });
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    queue.close();
    table.close();
    await Promise.all([sqs.stop(), dynamo.close(), api.close()]);
  });
  api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main", source: "test" } });
  api.store.create("modules", { metadata: { name: "echo" }, properties: { source: "test" } });
  const lines: string[] = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => lines.push(String(text)) > 0);

  const { edge, consumer, url } = await functions(sqs, queue, table, api);
  const digest = digestOf("a");
  const body = JSON.stringify({ repository: "registry.example.com/modules/echo", tag: "main", digest });
  const answer = await edge(body);
  expect(answer).toMatchObject({ statusCode: 202 });

  // As AWS's event source mapping: receive, invoke, delete. Those two calls are Lambda's own; here nobody counts them.
  const mapping = openSqs({ url, endpoint: `http://127.0.0.1:${sqs.port}` });
  onTestFinished(() => mapping.close());
  let invocations = 0;
  for (;;) {
    const records = await mapping.receive({ max: 10, waitSeconds: 5, visibilitySeconds: 60 });
    if (records.length === 0) break;
    invocations++;
    expect(await consumer(eventOf(records))).toEqual({ batchItemFailures: [] });
    await mapping.acknowledge(records);
    // Deckhouse took it
    api.store.patchStatus("modulepulloverrides", "echo", { imageDigest: digest, message: "", updatedAt: new Date().toISOString() });
    api.store.patchStatus("modules", "echo", { phase: "Ready", conditions: [{ type: "IsReady", status: "True" }] });
  }
  const told = lines
    .join("")
    .trim()
    .split("\n")
    .map((line) => outcome.parse(JSON.parse(line)).outcome);
  expect(told).toEqual(expect.arrayContaining(["QUEUED", "NUDGED", "PICKED_UP", "RUNNING"]));
  expect({ invocations, sent: queue.take(), written: table.take() }).toEqual({
    invocations: costs.counted.consumerInvocations,
    sent: { SendMessageBatch: costs.counted.sends },
    written: { UpdateItem: costs.counted.journalWrites },
  });
  const bytes = Buffer.byteLength(lines.join(""));
  expect(bytes).toBeLessThanOrEqual(costs.counted.logBytes);
  expect(bytes).toBeGreaterThan(costs.counted.logBytes / 2);
});

async function functions(sqs: FauxqsServer, queue: Counting, table: Counting, api: Awaited<ReturnType<typeof startKubernetesApi>>) {
  const url = sqs.createQueue("dev").queueUrl;
  const kubernetes = { server: api.url, ca: "env:CLUSTER_CA", token: "env:CLUSTER_TOKEN" };
  const config = {
    webhooks: { pipelines: { provider: "generic", auth: "token", secret: "env:CLUSTER_TOKEN" } },
    sources: [{ repo: "registry.example.com/modules", name: "test" }],
    clusters: { dev: { queue: url, endpoint: queue.endpoint, kubernetes, events: false } },
    unparsed: sqs.createQueue("unparsed").queueUrl,
    journal: `dynamodb:${TABLE}`,
    tuning: { looks: ["1s", "2s", "3s", "4s", "5s"] },
  };
  const env = {
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    AWS_ENDPOINT_URL_DYNAMODB: table.endpoint,
    MPO_RELAY_CONFIG: JSON.stringify(config),
    MPO_RELAY_CLUSTER: "dev",
    CLUSTER_CA: api.ca,
    CLUSTER_TOKEN: SECRET,
  };
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  const { handler: edge } = await import("../functions/edge.ts");
  const { handler: consumer } = await import("../functions/consumer.ts");
  return {
    url,
    edge: (body: string) => edge(urlEvent(body)),
    consumer: (event: unknown) => consumer(event, lambda),
  };
}

/** https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads */
function urlEvent(body: string) {
  const [path, host] = ["/hooks/pipelines", "relay.lambda-url.eu-central-1.on.aws"];
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: path,
    rawQueryString: "",
    headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json", host },
    requestContext: {
      accountId: "anonymous",
      apiId: "relay",
      authentication: null,
      authorizer: {},
      domainName: host,
      domainPrefix: "relay",
      http: { method: "POST", path, protocol: "HTTP/1.1", sourceIp: "192.0.2.1", userAgent: "curl" },
      requestId: "00000000-0000-4000-8000-000000000000",
      routeKey: "$default",
      stage: "$default",
      time: "24/Nov/2026:12:00:00 +0000",
      timeEpoch: 1_795_521_600_000,
    },
    body,
    isBase64Encoded: false,
  };
}

/** https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event */
function eventOf(records: readonly QueueRecord[]) {
  return {
    Records: records.map(({ id, receipt, body, receiveCount, sentAt }) => ({
      messageId: id,
      receiptHandle: receipt,
      body,
      attributes: { ApproximateReceiveCount: String(receiveCount), SentTimestamp: String(Date.parse(sentAt)) },
    })),
  };
}
