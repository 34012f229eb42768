import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { lambdaQueue } from "../src/lambda.ts";
import { openSqs, type SqsOptions } from "../src/queue/sqs.ts";
import { endpointOf, partsOfArn, regionOf } from "../src/queue/sqs/address.ts";
import { batchesOf, twice } from "../src/queue/sqs/batch.ts";
import { SqsDeadLetters } from "../src/queue/sqs/letters.ts";
import { SqsQueue } from "../src/queue/sqs/queue.ts";
import type { Wire } from "../src/queue/sqs/wire.ts";
import { queueContract } from "./contracts/queue.ts";

let server: FauxqsServer;
let queues = 0;

beforeAll(async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
  vi.stubEnv("AWS_REGION", undefined);
  server = await startFauxqs({ port: 0, logger: false });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.stop();
});

/** A queue of its own, with a dead-letter queue behind a redrive policy. */
function createQueue(maxReceiveCount = 100): { url: string; letters: string; name: string } {
  const name = `queue-${queues++}`;
  const letters = server.createQueue(`${name}-dead`);
  const policy = JSON.stringify({ deadLetterTargetArn: letters.queueArn, maxReceiveCount });
  const { queueUrl } = server.createQueue(name, { attributes: { RedrivePolicy: policy } });
  return { url: queueUrl, letters: letters.queueUrl, name };
}
// fauxqs knows a queue by its exact URL, whose host does not resolve everywhere: so the endpoint is given.
const at = (url: string, more: Partial<SqsOptions> = {}) => openSqs({ url, endpoint: `http://127.0.0.1:${server.port}`, ...more });

queueContract(
  "sqs (fauxqs 1.9.2)",
  async () => {
    const queue = at(createQueue().url);
    return { queue, cleanup: () => queue.close() };
  },
  {
    step: 1,
    lacks: {
      outdated: "SQS promises nothing for an old receipt, and fauxqs deletes by any",
      swept: "the sweep's end is a time, with 5 s for the difference of two clocks",
    },
  },
);

describe("sqs", () => {
  const take = { max: 100, waitSeconds: 5, visibilitySeconds: 60 };
  const letter = {
    body: "b",
    code: "INVALID",
    text: "Füße\n😀",
    attempts: 1,
    firstAt: "2026-01-02T03:04:05.678Z",
    lastAt: "2026-01-02T03:04:05.678Z",
  };

  it("gives more than ten where there are more", async () => {
    const queue = at(createQueue().url);
    await queue.send(Array.from({ length: 35 }, (_, index) => ({ body: `${index}` })));
    const records = await queue.receive({ ...take, max: 33 });
    expect(new Set(records.map(({ body }) => body)).size).toBe(33);
    await queue.acknowledge(records);
    expect(await queue.depth()).toEqual({ records: 2, oldestSeconds: null });
    await queue.close();
  });

  it("rounds delays up to whole seconds", async () => {
    const { url, name } = createQueue();
    const queue = at(url);
    await queue.send([{ body: "a", delaySeconds: 0.1 }]);
    expect(server.inspectQueue(name)?.messages.delayed).toHaveLength(1);
    await queue.close();
  });

  it("finds dead letters by their explicit URL, and writes their facts in ASCII", async () => {
    const { url } = createQueue();
    const { letters } = createQueue();
    const queue = at(url, { deadLettersUrl: letters });
    await queue.deadLetters.put(letter);
    expect((await queue.deadLetters.list(1)).letters).toMatchObject([{ ...letter, text: "F??e???" }]);
    const direct = at(letters);
    expect(await direct.depth()).toMatchObject({ records: 1 });
    await Promise.all([queue.close(), direct.close()]);
  });

  it("knows when the service deletes a letter, where it says so", async () => {
    const dead = server.createQueue(`queue-${queues++}`, { attributes: { MessageRetentionPeriod: "86400" } });
    const queue = at(createQueue().url, { deadLettersUrl: dead.queueUrl });
    const direct = at(dead.queueUrl);
    await direct.send([{ body: "as the service itself would put it there" }]);
    const [found] = (await queue.deadLetters.list(1)).letters;
    expect(Date.parse(found?.expiresAt ?? "") - Date.parse(found?.lastAt ?? "")).toBe(86_400_000);
    await Promise.all([queue.close(), direct.close()]);
  });

  it("knows letters that the service itself moved", async () => {
    const { url } = createQueue(1);
    const queue = at(url);
    await queue.send([{ body: "crashes" }]);
    await queue.receive({ ...take, visibilitySeconds: 0 });
    expect(await queue.receive({ ...take, waitSeconds: 1 })).toEqual([]);
    expect((await queue.deadLetters.list(1)).letters).toMatchObject([
      { body: "crashes", code: "UNKNOWN", text: expect.stringMatching(/moved by the queue service/) },
    ]);
    await queue.close();
  });

  // SQS takes more than the relay would write; whoever wrote it, it must not come again and again until SQS moves it without a reason
  it("buries what lay in a queue whatever its size, from a Lambda function too", async () => {
    const queue = at(createQueue().url);
    const body = "x".repeat(230 * 1024);
    const record = { id: "a", receipt: "a", body, receiveCount: 1, sentAt: letter.firstAt };
    await lambdaQueue(queue).bury(record, { ...letter, body, code: "MALFORMED" });
    expect((await queue.deadLetters.list(2)).letters).toMatchObject([{ code: "MALFORMED", body }]);
    await queue.close();
  });

  it("says what to do without a dead-letter queue, and keeps the record", async () => {
    const queue = at(server.createQueue(`queue-${queues++}`).queueUrl);
    await queue.send([{ body: "a" }]);
    const [record] = await queue.receive(take);
    if (record === undefined) throw new Error("no record");
    await expect(queue.bury(record, letter)).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/redrive policy, or set `deadLetters:`/),
    });
    expect(await queue.depth()).toMatchObject({ records: 1 });
    await queue.close();
  });

  it.each(["{}", '{"Failed":[]}'])("takes an answer %s, which does not say that the entry was stored, for no store", async (body) => {
    const proxy = createHttpServer((_request, answer) => answer.end(body)).listen(0, "127.0.0.1");
    await once(proxy, "listening");
    const address = proxy.address();
    const port = typeof address === "object" && address ? address.port : expect.fail("no port");
    const queue = openSqs({ url: `http://127.0.0.1:${port}/1/q` });
    await expect(queue.send([{ body: "a" }])).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    await queue.close();
    proxy.close();
  });

  it("names the error of an unknown queue and of a server that does not answer, and nothing else", async () => {
    const lost = at(`http://sqs.us-east-1.localhost:${server.port}/000000000000/none`);
    const thrown = await lost.send([{ body: "SECRET" }]).catch((error: unknown) => error);
    expect(thrown).toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/^SQS SendMessageBatch: \w*QueueDoesNotExist/),
    });
    expect(JSON.stringify(thrown, Object.getOwnPropertyNames(thrown))).not.toContain("SECRET");
    const down = openSqs({ url: "http://127.0.0.1:9/000000000000/q" });
    await expect(down.send([{ body: "a" }], { timeoutMs: 30_000 })).rejects.toMatchObject({
      message: "SQS SendMessageBatch: Error ECONNREFUSED",
    });
    await Promise.all([lost.close(), down.close()]);
  });

  it("gives up a send after its time, without trying again", async () => {
    let connections = 0;
    const silent = createServer(() => connections++).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const address = silent.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const queue = openSqs({ url: `http://127.0.0.1:${port}/000000000000/q` });
    await expect(queue.send([{ body: "a" }], { timeoutMs: 300 })).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/^SQS SendMessageBatch: (Abort|Timeout)Error/),
    });
    expect(connections).toBeLessThanOrEqual(1); // none where this process was too busy to take it in that time
    await queue.close();
    silent.close();
  });

  it("refuses what is no URL", () => {
    expect(() => openSqs({ url: "queue" })).toThrow("URL of the SQS queue");
  });
});

describe("where an SQS queue is", () => {
  const none = {};
  it.each([
    ["https://sqs.eu-west-1.amazonaws.com/1/q", "eu-west-1"],
    ["https://eu-central-1.queue.amazonaws.com/1/q", "eu-central-1"],
    ["https://sqs.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1"],
    ["https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"],
    ["https://vpce-0a1b-x9.sqs.ap-southeast-2.vpce.amazonaws.com/1/q", "ap-southeast-2"],
    ["https://sqs.eu-west-3.api.aws/1/q", "eu-west-3"],
    ["https://message-queue.api.cloud.yandex.net/b1g/dj6/q", "ru-central1"],
    ["http://127.0.0.1:9324/000000000000/q", "us-east-1"],
    ["https://amazonaws.com.evil.example/1/q", "us-east-1"],
  ])("reads the region of %s", (url, region) => {
    expect(regionOf(new URL(url), null, none)).toBe(region);
    expect(regionOf(new URL(url), "mars-1", { AWS_REGION: "eu-west-2" })).toBe("mars-1");
  });

  it("takes AWS_REGION where the host says nothing, and refuses to guess for AWS", () => {
    const env = { AWS_REGION: "eu-west-2" };
    expect(regionOf(new URL("http://queue.local/1/q"), null, env)).toBe("eu-west-2");
    expect(regionOf(new URL("https://queue.amazonaws.com/1/q"), null, env)).toBe("eu-west-2");
    expect(() => regionOf(new URL("https://queue.amazonaws.com/1/q"), null, none)).toThrow("set `region:` or AWS_REGION");
  });

  it("calls the explicit endpoint, else that of the environment, else the URL's origin", () => {
    const url = new URL("https://sqs.eu-west-1.amazonaws.com/1/q");
    expect(endpointOf(url, "http://e:1", { AWS_ENDPOINT_URL: "http://env" })).toBe("http://e:1");
    expect(endpointOf(url, null, { AWS_ENDPOINT_URL: "http://env" })).toBeNull();
    expect(endpointOf(url, null, { AWS_ENDPOINT_URL_SQS: "http://env" })).toBeNull();
    expect(endpointOf(url, null, none)).toBe("https://sqs.eu-west-1.amazonaws.com");
  });

  it("reads an ARN", () => {
    expect(partsOfArn("arn:aws:sqs:eu-west-1:123456789012:dead")).toEqual({ account: "123456789012", name: "dead" });
    expect(partsOfArn("arn:aws:sns:eu-west-1:123456789012:topic")).toBeNull();
    expect(partsOfArn("nonsense")).toBeNull();
  });
});

describe("batches", () => {
  it("are cut at ten entries and at 240 KiB", () => {
    expect(batchesOf(Array.from({ length: 25 }, () => 1)).map((batch) => batch.length)).toEqual([10, 10, 5]);
    const sizes = [100, 100, 100, 40, 100, 200, 1];
    expect(batchesOf(sizes, (kib) => kib * 1024)).toEqual([
      [100, 100],
      [100, 40, 100],
      [200, 1],
    ]);
    expect(batchesOf([])).toEqual([]);
  });

  it("are tried once more, for those entries only that failed", async () => {
    const calls: string[][] = [];
    await twice(["a", "b", "c"], "sending", async (items) => {
      calls.push([...items]);
      return calls.length === 1 ? [0, 2] : [];
    });
    expect(calls).toEqual([
      ["a", "b", "c"],
      ["a", "c"],
    ]);
  });

  it("fail when entries fail twice", async () => {
    const failing = twice(["a", "b"], "sending", async () => [0]);
    await expect(failing).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE", message: "sending: the queue refused 1 of 2 entries" });
  });
});

/** A service that takes everything and tells nothing. */
const QUIET: Pick<Wire, "send" | "remove" | "hide" | "attributes" | "urlOf"> = {
  send: async () => [],
  remove: async () => [],
  hide: async () => [],
  attributes: async () => ({}),
  urlOf: async () => "",
};

describe("a stop", () => {
  it("waits for no long poll of 20 s, nor for one that never ends", async () => {
    const waits: number[] = [];
    let isClosed = false;
    const wire: Wire = {
      ...QUIET,
      at: () => wire,
      close: () => void (isClosed = true),
      receive: ({ waitSeconds }) => (waits.push(waitSeconds), new Promise(() => {})),
    };
    const queue = new SqsQueue("https://sqs.example/1/q", wire, null);
    const poll = queue.receive({ max: 10, waitSeconds: 20, visibilitySeconds: 60 });
    const closing = queue.close();
    expect(await poll).toEqual([]);
    expect(isClosed).toBe(false);
    await closing; // Docker kills after 10 s
    expect([waits, isClosed]).toEqual([[5], true]);
  });
});

describe("a sweep of dead letters", () => {
  /** A queue on a clock of its own, whose messages show again when their time is over. */
  function slowQueue(count: number) {
    let now = 0;
    const messages = Array.from({ length: count }, (_, index) => ({ id: String(index), visibleAt: 0 }));
    const wire: Wire = {
      ...QUIET,
      at: () => wire,
      close() {},
      async receive({ max, visibilitySeconds }) {
        now += 1;
        const taken = messages.filter(({ visibleAt }) => visibleAt <= now).slice(0, max);
        for (const message of taken) message.visibleAt = now + visibilitySeconds;
        return taken.map(({ id }) => ({ id, receipt: id, body: "{}", receiveCount: 1, sentAt: 0, attributes: {} }));
      },
    };
    return { letters: new SqsDeadLetters(async () => wire), pass: (seconds: number) => (now += seconds) };
  }

  it("meets each one once, also when those that are kept show again before it has met the others", async () => {
    const { letters, pass } = slowQueue(45);
    const met: string[] = [];
    const done = await letters.sweep(async ({ id }) => {
      met.push(id);
      pass(4); // a target queue that answers slowly
      return "keep";
    });
    expect(met.toSorted((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 45 }, (_, index) => String(index)));
    expect(done).toEqual({ removed: 0, kept: 45 });
  });
});
