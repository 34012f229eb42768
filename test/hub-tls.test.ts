/** The hub as a network reaches it: the queue's contract over TLS, who is let in to what, and what a restart leaves. */
import { EventEmitter, once } from "node:events";
import { request, type RequestOptions } from "node:https";
import { text } from "node:stream/consumers";
import { connect } from "node:tls";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { makeCertificates } from "../src/sandbox/kubernetes/certificates.ts";
import type { LendableQueue } from "../src/queue/hub/server.ts";
import type { Queue } from "../src/queue/queue.ts";
import { queueContract } from "./contracts/queue.ts";
import { startTestHub, testHub, type TestHub } from "./support/hub.ts";
import { waited } from "./support/wait.ts";

const take = { max: 10, waitSeconds: 0, visibilitySeconds: 60 };

queueContract(
  "hub over TLS",
  async () => {
    const hub = await startTestHub();
    const queue = hub.open();
    const cleanup = async () => {
      await queue.close();
      await hub.close();
    };
    return { queue, cleanup };
  },
  { step: 0.1 },
);

function opened(hub: TestHub, ...which: Parameters<TestHub["open"]>) {
  const queue = hub.open(...which);
  onTestFinished(() => queue.close());
  return queue;
}

describe("a token", () => {
  it("opens the queue of its cluster, and each operation of it", async () => {
    const hub = await testHub();
    const queue = opened(hub, "stage");
    await queue.send([{ body: "a" }]);
    expect(await hub.store().queue("stage").depth()).toMatchObject({ records: 1 });
    expect(await hub.store().queue("dev").depth()).toMatchObject({ records: 0 });
  });

  it.each<[string, string, string]>([
    ["the token of another cluster", "dev", "STAGE"],
    ["the previous token of another cluster", "dev", "STAGE_OLD"],
    ["a token that nobody has", "dev", "NOBODY"],
    ["a queue that is not lent", "other", "DEV"],
    ["the place of unreadable deliveries", "unparsed", "DEV"],
    ["a name that every object has", "constructor", "DEV"],
  ])("does not: %s", async (_what, queue, token) => {
    const hub = await testHub();
    hub.secrets.set("NOBODY", "token-of-dev-0123456788");
    await hub
      .store()
      .queue(queue)
      .send([{ body: "kept" }]);
    const stranger = opened(hub, queue, token);
    const record = { id: "1", receipt: "1", body: "", receiveCount: 1, sentAt: "" };
    const letter = { body: "", code: "", text: "", attempts: 1, firstAt: "", lastAt: "" };
    const asked: Promise<unknown>[] = [
      stranger.receive(take),
      stranger.send([{ body: "in" }]),
      stranger.acknowledge([record]),
      stranger.defer([{ record, next: { body: "in" } }]),
      stranger.bury(record, letter),
      stranger.extend(record, 0),
      stranger.ready(),
      stranger.depth(),
      stranger.deadLetters.list(1),
      stranger.deadLetters.count(),
      stranger.deadLetters.put(letter),
    ];
    for (const each of await Promise.allSettled(asked))
      expect(each).toMatchObject({ status: "rejected", reason: { code: "QUEUE_REFUSED" } });
    expect(await hub.store().queue(queue).receive(take)).toMatchObject([{ body: "kept", receiveCount: 1 }]);
  });

  it("may be the previous one, which is told once, and until it ends", async () => {
    const hub = await testHub();
    const [old, current] = [opened(hub, "dev", "DEV_OLD"), opened(hub)];
    await old.ready();
    await old.ready();
    expect(hub.observed.alarms).toMatchObject([{ code: "OLD_SECRET", cluster: "dev" }]);
    await current.ready();
    hub.secrets.set("DEV_OLD", "something-else-altogether");
    hub.secrets.delete("STAGE_OLD");
    await opened(hub, "stage").ready(); // gone without a word to the configuration
    expect(hub.observed.codes()).toEqual(["OLD_SECRET", "OLD_SECRET_MISSING"]);
  });

  it("is read anew at both ends: a rotation needs no restart", async () => {
    const hub = await testHub();
    const queue = opened(hub);
    await queue.ready();
    hub.secrets.set("DEV", "new-token-of-dev-0123456789");
    await queue.ready();
  });

  it("that cannot be read at the hub is 503, and its worker waits", async () => {
    const hub = await testHub();
    hub.secrets.set("WORKER", hub.secrets.get("DEV") ?? "");
    hub.secrets.delete("DEV");
    await expect(opened(hub, "dev", "WORKER").ready()).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    expect(hub.observed.codes()).toEqual(["SECRET_MISSING"]);
    hub.secrets.set("DEV", hub.secrets.get("WORKER") ?? "");
    await opened(hub, "dev", "WORKER").ready();
  });
});

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}
/** A request as anybody can write it. */
function ask(hub: TestHub, path: string, { body = "{}", ...options }: RequestOptions & { body?: string } = {}): Promise<Reply> {
  const ca = hub.secrets.get("CA") ?? "";
  return new Promise((resolve, reject) => {
    const asked = request(`${hub.url}${path}`, { method: "POST", ca, agent: false, ...options }, (reply) => {
      text(reply).then((read) => resolve({ status: reply.statusCode ?? 0, headers: reply.headers, body: read }), reject);
    });
    asked.on("error", reject).end(body);
  });
}
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

describe("whoever has no token", () => {
  it("gets 401 without a body, then 429, and keeps nobody else out", async () => {
    const hub = await testHub();
    const [first, ...more] = [await ask(hub, "/queues/dev/ready")];
    expect([first?.status, first?.body, more]).toEqual([401, "", []]);
    expect(first?.headers["connection"]).toBe("close");
    const statuses: number[] = [];
    for (let n = 0; n < 31; n++) statuses.push((await ask(hub, "/queues/dev/ready", bearer(`guess ${n}`))).status);
    expect([...new Set(statuses)]).toEqual([401, 429]);
    await opened(hub).ready();
  });

  it.each([
    ["/", "POST", 401],
    ["/queues/dev/none", "POST", 401],
    ["/queues/dev/ready", "GET", 401],
    ["/queues/dev/ready/more", "POST", 401],
    ["/healthz", "GET", 401],
    ["/queues/%E0%A4%A/ready", "POST", 400],
  ])("learns nothing from %s by %s", async (path, method, status) => {
    const hub = await testHub();
    const reply = await ask(hub, path, { method, ...(method === "GET" && { body: "" }) });
    expect([reply.status, reply.body]).toEqual([status, ""]);
  });

  it("is refused before the body is read", async () => {
    const hub = await testHub();
    const headers = { ...bearer("wrong").headers, "content-length": String(10 * 1024 ** 3) };
    const reply = new Promise<number>((resolve, reject) => {
      const asked = request(`${hub.url}/queues/dev/send`, { method: "POST", ca: hub.secrets.get("CA"), agent: false, headers }, (got) => {
        resolve(got.statusCode ?? 0);
        asked.destroy();
      });
      asked.on("error", reject).write("the first of many bytes");
    });
    expect(await reply).toBe(401);
  });
});

describe("whoever has one", () => {
  const token = "token-of-dev-0123456789";
  it.each<[string, string, number, RegExp]>([
    ["/queues/dev/none", "{}", 404, /no such operation/],
    ["/queues/dev/toString", "{}", 404, /no such operation/],
    ["/queues/dev/send", "not JSON", 400, /not JSON/],
    ["/queues/dev/send", `{"records":[{"body":"${"x".repeat(2 * 1024 ** 2)}"}]}`, 400, /TOO_LARGE/],
    ["/queues/dev/receive", "{}", 400, /ticket/],
  ])("is told what is wrong: %s %.20s", async (path, body, status, words) => {
    const hub = await testHub();
    const reply = await ask(hub, path, { ...bearer(token), body });
    expect([reply.status, reply.body]).toEqual([status, expect.stringMatching(words)]);
    await opened(hub).ready();
  });

  it("cannot end the long poll of another cluster", async () => {
    const hub = await testHub();
    const waiting = ask(hub, "/queues/stage/receive", {
      ...bearer("token-of-stage-0123456789"),
      body: JSON.stringify({ ticket: "known", ...take, waitSeconds: 20 }),
    });
    await opened(hub, "stage").ready();
    expect((await ask(hub, "/queues/dev/cancel", { ...bearer(token), body: '{"ticket":"known"}' })).status).toBe(200);
    await hub
      .store()
      .queue("stage")
      .send([{ body: "here" }]);
    expect((await waiting).body).toContain("here");
  });

  it("settles long lists in several requests, each in its bounds", async () => {
    const hub = await testHub();
    const queue = opened(hub);
    const body = '"'.repeat(100 * 1024); // twice as long on the way
    await queue.send(Array.from({ length: 30 }, () => ({ body })));
    const records = await queue.receive({ ...take, max: 1000 });
    expect(records).toHaveLength(30);
    await queue.defer(records.map((record) => ({ record, next: { body } })));
    await queue.acknowledge(await queue.receive({ ...take, max: 1000 }));
    expect(await queue.depth()).toMatchObject({ records: 0 });
  });
});

describe("TLS", () => {
  it("is asked for: a hub of an unknown authority, and one in plain text, get no token", async () => {
    const hub = await testHub();
    hub.secrets.set("CA", (await makeCertificates()).ca);
    await expect(opened(hub).ready()).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/^the hub https:\/\/127\.0\.0\.1:\d+ shows a certificate that we do not trust \(\w+\); see hubCa$/),
    });
    const plain = await testHub({ tls: false });
    await expect(
      ask({ ...plain, url: plain.url.replace("http:", "https:") }, "/queues/dev/ready").then(
        () => "answered",
        () => "no",
      ),
    ).resolves.toBe("no");
    await opened(plain).ready(); // on loopback, where nobody listens in
  });

  it("shows a new certificate without a restart, and keeps the old one until the new one is whole", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const hub = await testHub();
    const kept = opened(hub);
    await kept.ready();
    const before = await serialOf(hub);
    const next = await makeCertificates();
    hub.secrets.set("CERT", next.cert); // its key is not there yet
    await vi.advanceTimersByTimeAsync(30_000);
    await vi.advanceTimersByTimeAsync(30_000);
    await vi.waitFor(() => expect(hub.observed.codes()).toEqual(["HUB_CERTIFICATE"]), waited);
    expect(await serialOf(hub)).toBe(before);
    hub.secrets.set("KEY", next.key);
    await vi.advanceTimersByTimeAsync(30_000);
    await vi.waitFor(() => expect(hub.observed.outcomes()).toEqual(["HUB_CERTIFICATE_RENEWED"]), waited);
    expect(await serialOf(hub)).not.toBe(before);
    hub.secrets.set("CA", next.ca);
    await kept.ready();
  });

  it("without a certificate that can be read does not start", async () => {
    const hub = await testHub();
    await hub.stop();
    hub.secrets.delete("CERT");
    await expect(hub.start()).rejects.toThrow("the secret env:CERT is not set");
  });
});

/** Of the certificate that a new connection is shown. */
function serialOf(hub: TestHub): Promise<string> {
  const { hostname: host, port } = new URL(hub.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

const everything = async (queue: Queue) => (await queue.receive({ ...take, waitSeconds: 5, max: 100 })).map(({ body }) => body);

describe("a restart of the hub", () => {
  it("in the middle of a long poll: the poll ends, the next one brings what came meanwhile", async () => {
    const hub = await testHub();
    const queue = opened(hub);
    const waiting = queue.receive({ ...take, waitSeconds: 3600 });
    await queue.ready();
    await hub.stop();
    expect(await waiting).toEqual([]);
    await expect(queue.receive(take)).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE", message: expect.stringMatching(/ECONNREFUSED/) });
    await hub.start();
    await hub
      .store()
      .queue("dev")
      .send([{ body: "kept" }]);
    expect(await everything(queue)).toEqual(["kept"]);
  });

  it("with records in hand: they are settled by the receipts from before", async () => {
    const hub = await testHub();
    const queue = opened(hub);
    await queue.send([{ body: "a" }, { body: "b" }, { body: "c" }]);
    const [a, b, c] = await queue.receive(take);
    if (!a || !b || !c) expect.fail("three records");
    await hub.stop();
    await hub.start();
    await queue.acknowledge([a]);
    await queue.defer([{ record: b, next: { body: "b again" } }]);
    await queue.bury(c, { body: "c", code: "INVALID", text: "", attempts: 1, firstAt: "", lastAt: "" });
    expect(await everything(queue)).toEqual(["b again"]);
    expect(await queue.deadLetters.count()).toBe(1);
  });

  /** The hub is cut off where `defer` stands: what it does before is done, the answer reaches nobody. */
  const cutAt = (where: "before" | "after", cut: () => void) => (queue: LendableQueue) => {
    const defer = queue.defer.bind(queue);
    queue.defer = async (moves) => {
      queue.defer = defer;
      if (where === "after") await defer(moves);
      cut();
      await new Promise(() => {}); // this process is gone
    };
    return queue;
  };

  it.each([
    ["before", ["old"]],
    ["after", ["new"]],
  ] as const)("in the middle of a deferral, %s it was stored: the record or its copy is there", async (where, left) => {
    const hub = await testHub();
    const queue = opened(hub);
    await queue.send([{ body: "old" }]);
    await hub.stop();
    const stands = new EventEmitter();
    const cut = once(stands, "cut");
    await hub.start({ lend: cutAt(where, () => stands.emit("cut")) });
    const [record] = await queue.receive(take);
    const deferring = queue.defer([{ record: record ?? expect.fail("no record"), next: { body: "new" } }]).then(
      () => "done",
      () => "failed",
    );
    await cut;
    await hub.stop();
    expect(await deferring).toBe("failed");
    await hub.start();
    expect(await everything(queue)).toEqual(left);
  });

  it("is not noticed by whoever was idle: a kept connection that was closed is made anew", async () => {
    const hub = await testHub();
    const queue = opened(hub);
    await queue.ready();
    await hub.stop();
    await hub.start();
    await queue.send([{ body: "a" }]);
    expect(await everything(queue)).toEqual(["a"]);
  });
});
