/** The SQS adapter without the SDK, in Node: the whole contract against fauxqs, and what it tells of errors. test/e2e/workers.e2e.ts runs it in workerd. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import { json } from "node:stream/consumers";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { openSqsByFetch } from "../src/queue/sqs-fetch.ts";
import { queueContract } from "./contracts/queue.ts";

const KEYS = { AWS_ACCESS_KEY_ID: "the-key-id", AWS_SECRET_ACCESS_KEY: "the-secret-key" };
let server: FauxqsServer;
let queues = 0;

beforeAll(async () => {
  server = await startFauxqs({ port: 0, logger: false });
});
afterAll(() => server.stop());

// fauxqs knows a queue by its exact URL, whose host does not resolve everywhere: so the endpoint is given.
const at = (url: string) => openSqsByFetch({ url, endpoint: `http://127.0.0.1:${server.port}` }, KEYS);

queueContract(
  "sqs by fetch (fauxqs 1.9.2)",
  async () => {
    const name = `queue-${queues++}`;
    const letters = server.createQueue(`${name}-dead`);
    const policy = JSON.stringify({ deadLetterTargetArn: letters.queueArn, maxReceiveCount: 100 });
    const queue = at(server.createQueue(name, { attributes: { RedrivePolicy: policy } }).queueUrl);
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

describe("sqs by fetch", () => {
  async function listen(answer: RequestListener): Promise<string> {
    const listener = createServer(answer).listen(0, "127.0.0.1");
    await once(listener, "listening");
    onTestFinished(() => {
      listener.closeAllConnections();
      listener.close();
    });
    const address = listener.address();
    return `http://127.0.0.1:${typeof address === "object" && address ? address.port : expect.fail("no port")}`;
  }

  it("signs for the queue's region, and sends the session's token", async () => {
    const heard: IncomingMessage["headers"][] = [];
    const endpoint = await listen((request, answer) => {
      heard.push(request.headers);
      answer.end("{}");
    });
    const url = "https://sqs.eu-central-1.amazonaws.com/1/q";
    await openSqsByFetch({ url, endpoint }, { ...KEYS, AWS_SESSION_TOKEN: "the-token" }).ready();
    expect(heard).toMatchObject([
      {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": "AmazonSQS.GetQueueAttributes",
        "x-amz-security-token": "the-token",
        authorization: expect.stringMatching(
          /^AWS4-HMAC-SHA256 Credential=the-key-id\/\d{8}\/eu-central-1\/sqs\/aws4_request, SignedHeaders=.*x-amz-target/,
        ),
      },
    ]);
    expect(JSON.stringify(heard)).not.toContain(KEYS.AWS_SECRET_ACCESS_KEY);
  });

  it.each([
    [400, JSON.stringify({ __type: "com.amazonaws.sqs#QueueDoesNotExist", message: "SECRET" }), "QueueDoesNotExist"],
    [403, JSON.stringify({ __type: "InvalidClientTokenId", message: "SECRET" }), "InvalidClientTokenId"],
    [403, JSON.stringify({ __type: "SECRET with spaces" }), "HTTP 403"],
    [503, "<html>SECRET", "HTTP 503"],
    [200, "<html>SECRET", "SyntaxError"],
    [200, JSON.stringify({ Successful: "SECRET" }), "ZodError"],
  ])("takes an answer %d %s for no store, and names it in a word", async (status, body, name) => {
    let requests = 0;
    const url = await listen((_request, answer) => {
      requests++;
      answer.writeHead(status).end(body);
    });
    const thrown = await openSqsByFetch({ url: `${url}/1/q` }, KEYS)
      .send([{ body: "SECRET" }], { timeoutMs: 30_000 })
      .catch((error: unknown) => error);
    expect(thrown).toMatchObject({ code: "QUEUE_UNAVAILABLE", message: `SQS SendMessageBatch: ${name}` });
    expect(JSON.stringify(thrown, Object.getOwnPropertyNames(thrown))).not.toContain("SECRET");
    expect(requests).toBe(1);
  });

  // a proxy's own answer, or that of another service at this address: nobody there has stored anything
  it.each(["", "{}", '{"Failed":[]}', '{"Successful":null}', '{"Successful":[{"Id":"1"}]}'])(
    "takes an answer 200 %s, which does not say that the entry was stored, for no store",
    async (body) => {
      const url = await listen((_request, answer) => answer.end(body));
      const sending = openSqsByFetch({ url: `${url}/1/q` }, KEYS).send([{ body: "a" }]);
      await expect(sending).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    },
  );

  it("tells an entry that the queue refused from one that it took", async () => {
    const bodies: Promise<unknown>[] = [];
    const url = await listen((request, answer) => {
      bodies.push(json(request));
      const Failed = bodies.length === 1 ? [{ Id: "1", Code: "InternalError", SenderFault: false }] : [];
      answer.end(JSON.stringify({ Successful: [{ Id: "0" }], Failed }));
    });
    await openSqsByFetch({ url: `${url}/1/q` }, KEYS).send([{ body: "a" }, { body: "b" }]);
    const [first, second] = await Promise.all(bodies);
    expect(first).toMatchObject({ Entries: [{ MessageBody: "a" }, { MessageBody: "b" }] });
    expect(second).toMatchObject({ Entries: [{ MessageBody: "b" }] });
  });

  it("names a server that is not there, and keys that are not set, before anything is sent", async () => {
    const down = openSqsByFetch({ url: "http://127.0.0.1:9/1/q" }, KEYS).send([{ body: "a" }]);
    await expect(down).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/^SQS SendMessageBatch: TypeError/),
    });
    const keyless = openSqsByFetch({ url: "http://127.0.0.1:9/1/q" }, { AWS_ACCESS_KEY_ID: "the-key-id" }).send([{ body: "a" }]);
    await expect(keyless).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set",
    });
  });

  it("gives up a send after its time", async () => {
    const url = await listen(() => {});
    const sending = openSqsByFetch({ url: `${url}/1/q` }, KEYS).send([{ body: "a" }], { timeoutMs: 300 });
    await expect(sending).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE", message: "SQS SendMessageBatch: TimeoutError" });
  });

  it("refuses what is no URL, and a queue of AWS whose region nobody knows", () => {
    expect(() => openSqsByFetch({ url: "queue" }, KEYS)).toThrow("URL of the SQS queue");
    expect(() => openSqsByFetch({ url: "https://queue.amazonaws.com/1/q" }, KEYS)).toThrow("set `region:` or AWS_REGION");
  });
});
