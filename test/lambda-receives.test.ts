/**
 * Records that AWS Lambda receives and does not hand over, since the consumer is throttled or does not start; and one on which it dies. Over
 * the queue's protocol, with the redrive policy of the template; the clock of a visibility timeout is the test's.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import * as z from "zod";
import { MAX_RECEIVE_COUNT, VISIBILITY_SECONDS } from "../infra/template/queues.ts";
import { encode } from "../src/event.ts";
import { MAX_RECEIVES } from "../src/limits.ts";
import type { QueueRecord } from "../src/queue/queue.ts";
import { openSqs } from "../src/queue/sqs.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { startBundle } from "./support/bundle.ts";
import { startDynamo, type TestDynamo } from "./support/dynamodb.ts";
import { batchOf } from "./support/lambda-events.ts";
import { requestOf } from "./support/relay.ts";
import { HEAVY_MS, waited } from "./support/wait.ts";

const TOKEN = "a-token-of-the-receives";
const TABLE = "journal";
const HOURS = 72;
/** One that is throttled is tried again until its visibility ends: that is a receive. */
const receivesIn = (hours: number) => (hours * 3600) / VISIBILITY_SECONDS;

let folder = "";
let sqs: FauxqsServer;
let dynamo: TestDynamo;
let api: KubernetesApi;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "mpo-relay-receives-"));
  await cp(join(import.meta.dirname, "../dist/lambda"), folder, { recursive: true });
  [sqs, dynamo] = await Promise.all([startFauxqs({ port: 0, logger: false }), startDynamo()]);
  await dynamo.createTable(TABLE);
});
afterAll(async () => {
  await Promise.all([sqs.stop(), dynamo.close()]);
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  for (const [name, value] of Object.entries(envOf())) vi.stubEnv(name, value);
  api = await startKubernetesApi({ token: TOKEN });
  return async () => {
    vi.unstubAllEnvs();
    await api.close();
  };
});

const envOf = () => ({ ...dynamo.env, AWS_REGION: "us-east-1" }); // fauxqs's own

let queues = 0;
/** The queue as the event source mapping sees it, and a consumer that is started for each invocation. */
function world({ runs = TABLE } = {}) {
  const name = `dev-${queues++}`;
  const dead = sqs.createQueue(`${name}-dead`);
  const redrive = { deadLetterTargetArn: dead.queueArn, maxReceiveCount: MAX_RECEIVE_COUNT };
  const { queueUrl } = sqs.createQueue(name, { attributes: { RedrivePolicy: JSON.stringify(redrive) } });
  const endpoint = `http://127.0.0.1:${sqs.port}`;
  const queue = openSqs({ url: queueUrl, endpoint });
  onTestFinished(() => queue.close());
  const kubernetes = { server: api.url, ca: "env:CLUSTER_CA", token: "env:CLUSTER_TOKEN" };
  const config = { clusters: { dev: { queue: "env:DEV_QUEUE", endpoint, kubernetes, events: false } } };
  const start = async () => {
    const consumer = startBundle(folder, "consumer", config, {
      ...envOf(),
      MPO_RELAY_CLUSTER: "dev",
      MPO_RELAY_RUNS: runs,
      DEV_QUEUE: queueUrl,
      CLUSTER_CA: api.ca,
      CLUSTER_TOKEN: TOKEN,
    });
    onTestFinished(consumer.kill);
    await consumer.ready;
    return consumer;
  };
  const receive = (visibilitySeconds: number) => queue.receive({ max: 10, waitSeconds: 0, visibilitySeconds });
  return {
    queue,
    receive,
    start,
    push: (module: string) => {
      const now = new Date().toISOString();
      api.store.create("modulepulloverrides", { metadata: { name: module }, spec: { imageTag: "main" } });
      return queue.send([{ body: encode(requestOf({ module, receivedAt: now, pushedAt: now })) }]);
    },
    /** So many times it is received, and not handed over. */
    throttle: async (times: number) => {
      for (let time = 0; time < times; time++) expect(await receive(0)).not.toEqual([]);
    },
    /** As Lambda does: what was not given back is deleted. */
    settle: async (records: readonly QueueRecord[], answer: unknown) => {
      const { batchItemFailures } = failures.parse(answer);
      const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
      await queue.acknowledge(records.filter(({ id }) => !failed.has(id)));
      return failed.size;
    },
    letters: async () => (await queue.deadLetters.list(9)).letters,
  };
}
const failures = z.object({ batchItemFailures: z.array(z.object({ itemIdentifier: z.string() })) });
const annotationsOf = (module: string) => api.store.get("modulepulloverrides", module)?.metadata.annotations ?? {};

describe("a consumer that could not run", () => {
  test(
    `for ${HOURS} hours applies what waited, and nothing is a dead letter`,
    async () => {
      const { push, throttle, receive, start, settle, letters } = world();
      await push("echo");
      await throttle(receivesIn(HOURS));
      const records = await receive(60);
      expect(records).toMatchObject([{ receiveCount: receivesIn(HOURS) + 1 }]);
      const consumer = await start();
      expect(await settle(records, await consumer.invoke(batchOf(records)))).toBe(0);
      expect(annotationsOf("echo")).toMatchObject({ renew: requestOf().key });
      expect(await letters()).toEqual([]);
    },
    HEAVY_MS,
  );

  test(
    "applies it also while runs cannot be counted, and tells so",
    async () => {
      const { push, throttle, receive, start, settle, letters } = world({ runs: "no-such-table" });
      await push("echo");
      await throttle(MAX_RECEIVES);
      const records = await receive(60);
      const consumer = await start();
      expect(await settle(records, await consumer.invoke(batchOf(records)))).toBe(0);
      expect(annotationsOf("echo")).toMatchObject({ renew: requestOf().key });
      expect(await letters()).toEqual([]);
      expect(await consumer.output()).toContain('"alarm":"JOURNAL_UNAVAILABLE"');
    },
    HEAVY_MS,
  );
});

test(
  "a record on which the process dies is a named dead letter after so many runs, however often it was received without one",
  async () => {
    const { push, throttle, receive, start, settle, letters } = world();
    await push("echo");
    await throttle(MAX_RECEIVES); // nothing that was received before is held against it
    let runs = 0;
    for (; (await letters()).length === 0; runs++) {
      expect(runs, "no end").toBeLessThan(3 * MAX_RECEIVES);
      const records = await receive(0);
      expect(records).toHaveLength(1);
      const consumer = await start();
      api.faults.next(1, "hang");
      const before = api.counters().requests;
      const answered = consumer.invoke(batchOf(records)).then(
        (answer) => answer,
        () => "dead",
      );
      const reached = vi.waitFor(() => expect(api.counters().requests).toBeGreaterThan(before), waited).then(() => consumer.kill());
      const answer = await Promise.race([answered, reached.then(() => answered)]);
      if (answer !== "dead") await settle(records, answer);
      api.faults.clear();
      await throttle(answer === "dead" ? 2 : 0);
    }
    expect(runs).toBe(MAX_RECEIVES); // the last one is of the burial
    expect(await letters()).toMatchObject([
      { code: "LAST_RECEIVE", text: expect.stringMatching(/^received \d+ times; of its runs the last 7 never/) },
    ]);
    expect(annotationsOf("echo")).toEqual({});
    expect(await receive(0)).toEqual([]);
  },
  2 * HEAVY_MS,
);
