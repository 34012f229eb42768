/** A registry's events from a queue: the real loop and the real SQS adapter, against fauxqs. */
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { admit, queuedDelivery } from "../src/admit.ts";
import { createApp } from "../src/app.ts";
import type { RelayConfig, WebhookConfig } from "../src/config.ts";
import { decode } from "../src/event.ts";
import { type InboxContext, takeIn } from "../src/inbox.ts";
import { RelayError } from "../src/outcome.ts";
import type { NewDeadLetter, NewRecord } from "../src/queue/queue.ts";
import { openSqs } from "../src/queue/sqs.ts";
import { receive } from "../src/receive.ts";
import { redriveOf } from "../src/redrive.ts";
import { startRelay } from "../src/relay.ts";
import { clusterOf, configOf, digestOf, fakeObserver, source, start, webhook } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

/** Whoever waits a minute for an alarm in earnest is tested in lasting.test.ts. */
vi.mock("../src/limits.ts", async (original) => ({ ...(await original<object>()), QUEUE_TOLD_AFTER_MS: 0 }));

const HOST = "210987654321.dkr.ecr.eu-central-1.amazonaws.com";

let server: FauxqsServer;
let sender: SQSClient;
const closings: Promise<void>[] = [];
beforeAll(async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
  server = await startFauxqs({ port: 0, logger: false });
  sender = new SQSClient({ endpoint: `http://127.0.0.1:${server.port}`, region: "eu-central-1" });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await Promise.all(closings);
  sender.destroy();
  await server.stop();
});

function eventOf(id: string, module = "echo") {
  const detail = {
    "action-type": "PUSH",
    result: "SUCCESS",
    "repository-name": `deckhouse/modules/${module}`,
    "image-tag": "main",
    "image-digest": digestOf("a"),
  };
  const account = { account: "210987654321", region: "eu-central-1", time: "2026-11-24T11:59:59Z" };
  return JSON.stringify({ version: "0", id, "detail-type": "ECR Image Action", source: "aws.ecr", ...account, detail });
}

function hookOf(url: string): WebhookConfig {
  const queue = { kind: "sqs", url, region: null, endpoint: `http://127.0.0.1:${server.port}` } as const;
  return { ...webhook, provider: "ecr", secret: null, queue };
}

function world(part: Partial<RelayConfig> = {}, url = "https://sqs.eu-central-1.amazonaws.com/1/ecr") {
  const config = configOf({ webhooks: { ecr: hookOf(url) }, sources: [{ ...source, repo: `${HOST}/deckhouse/modules` }], ...part });
  const observed = fakeObserver();
  const stored: NewRecord[] = [];
  const letters: NewDeadLetter[] = [];
  const context = {
    config,
    observer: observed.observer,
    readSecret: async () => "secret",
    store: async (records: ReadonlyMap<string, readonly NewRecord[]>) => void stored.push(...[...records.values()].flat()),
    storeUnparsed: async (letter: NewDeadLetter) => letters.push(letter) > 0,
    now: () => start,
  };
  const requests = () =>
    stored.map(({ body }) => {
      const read = decode(body);
      return read.kind === "request" ? read.request : expect.fail(body);
    });
  return { ...observed, config, context, letters, requests };
}

describe("the loop", () => {
  let name: string;
  let url: string;
  let stop: () => Promise<void> = async () => {};
  let queues = 0;
  beforeEach(() => {
    name = `ecr-${queues++}`;
    url = server.createQueue(name).queueUrl;
  });
  afterEach(async () => stop());

  const put = async (...bodies: readonly string[]) => {
    for (const MessageBody of bodies) await sender.send(new SendMessageCommand({ QueueUrl: url, MessageBody }));
  };
  /** Waiting and hidden ones. */
  const there = () => {
    const { ready, delayed, inflight } = server.inspectQueue(name)?.messages ?? expect.fail("no queue");
    return [...ready, ...delayed, ...inflight].length;
  };

  /** Runs the loop; a hidden message shows again at once. */
  function run(
    context: Omit<InboxContext, "webhook" | "queue">,
    part: (queue: InboxContext["queue"]) => Partial<InboxContext["queue"]> = () => ({}),
  ) {
    const sqs = openSqs({ url, endpoint: `http://127.0.0.1:${server.port}` });
    const controller = new AbortController();
    const plain: InboxContext["queue"] = {
      receive: (options) => sqs.receive({ ...options, waitSeconds: 1 }),
      acknowledge: (records) => sqs.acknowledge(records),
      extend: (record) => sqs.extend(record, 0),
    };
    const queue = { ...plain, ...part(plain) };
    const running = takeIn({ ...context, webhook: "ecr", queue }, controller.signal);
    stop = async () => {
      controller.abort();
      await running;
      closings.push(sqs.close()); // the last poll ends by itself
      stop = async () => {};
    };
  }

  it("stores an event as a delivery by HTTP, and then acknowledges it", async () => {
    const { context, requests, outcomes, lines } = world();
    await put(eventOf("1"), eventOf("2", "parca"));
    run(context);
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(
      requests()
        .map(({ module }) => module)
        .toSorted(),
    ).toEqual(["echo", "parca"]);
    expect(requests()[0]).toMatchObject({ tag: "main", webhook: "ecr", digest: digestOf("a"), pushedAt: "2026-11-24T11:59:59.000Z" });
    expect(outcomes()).toEqual(["QUEUED", "QUEUED"]);
    expect(lines[0]).toMatchObject({ event: "delivery", webhook: "ecr", receivedAt: start.toISOString() });
  });

  it("acknowledges what is not for us", async () => {
    const { context, outcomes } = world();
    await put(eventOf("1").replace("deckhouse/modules/echo", "other/thing"), eventOf("2").replace('"PUSH"', '"DELETE"'));
    run(context);
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(outcomes().toSorted()).toEqual(["NOT_A_PUSH", "OTHER_REPOSITORY"]);
  });

  it("keeps what it cannot read, raw, and acknowledges it", async () => {
    const { context, letters, codes } = world();
    await put("no JSON: Füße");
    run(context);
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(letters).toMatchObject([{ code: "UNPARSED", text: "not JSON" }]);
    expect(JSON.parse(letters[0]?.body ?? "")).toMatchObject({ webhook: "ecr", headers: {}, body: { text: "no JSON: Füße", whole: true } });
    expect(codes()).toEqual(["UNPARSED"]);
  });

  it("what it cannot read stays in the queue where there is no room for it", async () => {
    const { context, codes } = world();
    await put("no JSON");
    let asked = 0;
    run({ ...context, storeUnparsed: async () => (asked += 1) < 0 });
    await vi.waitFor(() => expect(asked).toBeGreaterThan(0), waited);
    await vi.waitFor(() => expect(codes()).toContain("QUEUE_UNAVAILABLE"), waited);
    expect(there()).toBe(1);
  });

  it("a crash between storing and acknowledging: the message comes again, with the same key", async () => {
    const { context, requests, codes } = world();
    await put(eventOf("1"));
    let crashed = 0;
    run(context, ({ acknowledge, extend }) => ({
      acknowledge: async (records) => {
        if (crashed++ > 0) return acknowledge(records);
        for (const record of records) await extend(record, 0);
        throw new RelayError("QUEUE_UNAVAILABLE", "as if the process had ended here");
      },
    }));
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(requests()).toHaveLength(2);
    expect(requests()[1]?.key).toBe(requests()[0]?.key);
    expect(codes()).toEqual(["QUEUE_UNAVAILABLE"]);
  });

  it("a store that is away: the message stays, an alarm tells, and others are stored meanwhile", async () => {
    const { context, requests, letters, codes } = world();
    let away = true;
    const store: typeof context.store = async (records) => {
      const [first] = [...records.values()].flat();
      if (away && first?.body.includes('"echo"')) throw new RelayError("QUEUE_UNAVAILABLE", "gone");
      await context.store(records);
    };
    let failures = 0;
    await put(eventOf("1"));
    run({ ...context, store }, ({ receive: plain, extend }) => ({
      // as often as would bury a message that is itself to blame
      receive: async (options) => (await plain(options)).map((record) => ({ ...record, receiveCount: 100 })),
      extend: async (record) => {
        failures++;
        await extend(record, 0);
      },
    }));
    await vi.waitFor(() => expect(failures).toBeGreaterThan(0), waited);
    await put(eventOf("2", "parca"));
    await vi.waitFor(() => expect(requests().map(({ module }) => module)).toEqual(["parca"]), waited);
    await vi.waitFor(() => expect(there()).toBe(1), waited);
    expect(codes()).toContain("QUEUE_UNAVAILABLE");
    away = false;
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(requests().map(({ module }) => module)).toEqual(["parca", "echo"]);
    expect(letters).toEqual([]);
  });

  it("a message that fails again and again for itself ends among the unread ones, from where it gets another run", async () => {
    const { context, config, letters, codes } = world();
    await put(eventOf("1"));
    const store = async () => {
      throw new RelayError("INTERNAL", "a bug");
    };
    let receives = 0;
    run({ ...context, store }, ({ receive: plain }) => ({
      receive: async (options) => (await plain(options)).map((record) => ({ ...record, receiveCount: ++receives + 5 })),
    }));
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(receives).toBe(3);
    expect(codes()).toEqual(["INTERNAL", "INTERNAL", "INTERNAL", "LAST_RECEIVE"]);
    const [letter] = letters;
    expect(letter).toMatchObject({ code: "UNPARSED", text: "received 8 times, never settled: a bug" });
    expect(letter && redriveOf(letter, config)).toMatchObject({ kind: "send", requests: [{ module: "echo" }] });
  });

  it("what nobody foresaw leaves the message there, and the loop goes on", async () => {
    const { context, codes, requests } = world();
    await put(eventOf("1"));
    let calls = 0;
    const now = () => {
      if (calls++ === 0) throw new RangeError("Invalid time value");
      return start;
    };
    run({ ...context, now });
    await vi.waitFor(() => expect(there()).toBe(0), waited);
    expect(codes()).toEqual(["INTERNAL"]);
    expect(requests()).toHaveLength(1);
  });

  it("hides what failed for longer each time, up to a quarter of an hour", async () => {
    const { context } = world();
    const hidden: number[] = [];
    const store = async () => {
      throw new RelayError("QUEUE_UNAVAILABLE", "gone");
    };
    await put(eventOf("1"));
    let count = 0;
    run({ ...context, store, random: () => 0.999 }, ({ receive: plain, extend }) => ({
      receive: async (options) => (await plain(options)).map((record) => ({ ...record, receiveCount: [1, 5, 1000][count++] ?? 1 })),
      extend: async (record, seconds) => {
        hidden.push(Math.round(seconds));
        await extend(record, 0);
      },
    }));
    await vi.waitFor(() => expect(hidden.slice(0, 3)).toEqual([2, 32, 900]), waited);
  });

  it("one stop settles what is in hand", async () => {
    const { context, requests } = world();
    await put(eventOf("1"));
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    let isHeld = false;
    run({
      ...context,
      store: async (records) => {
        isHeld = true;
        await held;
        await context.store(records);
      },
    });
    await vi.waitFor(() => expect(isHeld).toBe(true), waited);
    const stopped = stop();
    release();
    await stopped;
    expect(there()).toBe(0);
    expect(requests()).toHaveLength(1);
  });

  it("in a relay: starts beside a queue that does not answer, tells it, and ends when it is told to", async () => {
    const gone = {
      ...hookOf("http://127.0.0.1:1/000000000000/ecr"),
      queue: { kind: "sqs", url: "http://127.0.0.1:1/0/ecr", region: null, endpoint: null },
    } as const;
    const { config, observer, codes, alarms } = world({
      webhooks: { ecr: gone },
      clusters: {
        dev: clusterOf({ kind: "sqs", url, region: null, endpoint: null }),
      },
    });
    const relay = await startRelay({ config, observer, roles: ["edge"] });
    await vi.waitFor(() => expect(codes()).toContain("QUEUE_UNAVAILABLE"), waited);
    expect(alarms[0]).toMatchObject({ webhook: "ecr" });
    expect((await fetch(`${relay.url}/healthz`)).status).toBe(200);
    await relay.stop();
  });
});

describe("admission", () => {
  it("is for the queue alone: by HTTP such a webhook is one that is not there", async () => {
    const { context } = world();
    const app = createApp({ ...context, receive: (delivery) => receive(delivery, context), ready: async () => {} });
    const call = async (path: string, init: RequestInit) => {
      const response = await app.request(path, init);
      return { status: response.status, body: await response.text(), headers: Object.fromEntries(response.headers) };
    };
    const body = JSON.stringify({ ...JSON.parse(eventOf("1")), messageId: "1" });
    for (const end of ["", "/secret", "?messageId=1"])
      for (const method of ["POST", "OPTIONS"]) {
        const init = {
          method,
          headers: { messageId: "1", messageid: "1", authorization: "Bearer secret" },
          ...(method === "POST" && { body }),
        };
        expect(await call(`/hooks/ecr${end}`, init)).toEqual(await call(`/hooks/nobody${end}`, init));
        expect((await call(`/hooks/ecr${end}`, init)).status).toBe(404);
      }
  });

  it("a message lets nobody in at a webhook that has a secret", async () => {
    const { context } = world({ webhooks: { registry: webhook } });
    const message = queuedDelivery("registry", { id: "1", body: "{}" });
    await expect(admit(message, context, start)).rejects.toMatchObject({ code: "UNKNOWN_WEBHOOK" });
  });
});

describe("the key", () => {
  // Quay gives neither id nor time
  const push = JSON.stringify({ repository: "m/echo", docker_url: "quay.example.com/m/echo", updated_tags: ["main"] });

  it("of a sender that gives neither id nor time is one for each message, whenever it is received", async () => {
    const { context, requests } = world({
      webhooks: { quay: { ...hookOf("https://sqs.eu-central-1.amazonaws.com/1/q"), provider: "quay" } },
      sources: [{ ...source, repo: "quay.example.com/m" }],
    });
    for (const [id, at] of [
      ["1", 0],
      ["1", 60_000],
      ["2", 60_000],
    ] as const)
      await receive(queuedDelivery("quay", { id, body: push }), { ...context, now: () => new Date(start.getTime() + at) });
    const [first, again, other] = requests().map(({ key }) => key);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });
});
