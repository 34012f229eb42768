import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it, onTestFinished } from "vitest";
import { type EmbeddedStore, openEmbedded } from "../src/queue/embedded.ts";
import { openFolder } from "../src/queue/folder.ts";
import { openHub, serveHub } from "../src/queue/hub.ts";
import { journalOfCluster } from "../src/queue/hub/journal.ts";
import { hubHandler } from "../src/queue/hub/server.ts";
import { queueContract } from "./contracts/queue.ts";

const temporary = () => mkdtempSync(join(tmpdir(), "mpo-relay-hub-"));
const take = { max: 10, waitSeconds: 0, visibilitySeconds: 60 };

queueContract(
  "hub",
  async () => {
    const folder = temporary();
    const store = openEmbedded(folder);
    const hub = await serveHub(store);
    const queue = openHub({ socketPath: join(folder, "relay.sock"), queue: "dev" });
    const cleanup = async () => {
      await queue.close();
      await hub.close();
      await store.close();
      rmSync(folder, { recursive: true });
    };
    return { queue, cleanup };
  },
  { step: 0.1 },
);

/** A folder with its owner, who serves it. */
async function served(
  folder = temporary(),
): Promise<{ store: EmbeddedStore; folder: string; socketPath: string; hub: { close(): Promise<void> } }> {
  const store = openEmbedded(folder);
  const hub = await serveHub(store);
  onTestFinished(async () => {
    await hub.close();
    await store.close();
    rmSync(folder, { recursive: true });
  });
  return { store, folder, socketPath: join(folder, "relay.sock"), hub };
}

describe("the socket", () => {
  it("is its owner's alone, replaces a stale one, and is removed at the end", async () => {
    const folder = temporary();
    const store = openEmbedded(folder);
    writeFileSync(join(folder, "relay.sock"), "stale");
    const hub = await serveHub(store);
    expect(statSync(join(folder, "relay.sock")).mode & 0o777).toBe(0o600);
    await hub.close();
    expect(existsSync(join(folder, "relay.sock"))).toBe(false);
    await store.close();
    rmSync(folder, { recursive: true });
  });

  it.runIf(process.platform === "linux")("works below a path that is longer than a socket's may be", async () => {
    const folder = join(temporary(), "long".repeat(40));
    mkdirSync(folder);
    const { store, socketPath, hub } = await served(folder);
    const queue = openHub({ socketPath, queue: "dev" });
    await queue.send([{ body: "far" }]);
    expect(await store.queue("dev").receive(take)).toMatchObject([{ body: "far" }]);
    expect(existsSync(socketPath)).toBe(true);
    await queue.close();
    await hub.close();
    expect(existsSync(socketPath)).toBe(false);
  });

  it("says so when nobody answers", async () => {
    const queue = openHub({ socketPath: join(temporary(), "relay.sock"), queue: "dev" });
    await expect(queue.ready()).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: "the owner of the queue on relay.sock does not answer (ENOENT)",
    });
    await queue.close();
  });

  it("does not wait for the long polls of others when it closes", async () => {
    const { socketPath, hub } = await served();
    const queue = openHub({ socketPath, queue: "dev" });
    const waiting = queue.receive({ ...take, waitSeconds: 3600 });
    await queue.ready();
    await hub.close();
    expect(await waiting).toEqual([]);
    await queue.close();
  });
});

describe("a caller who goes away", () => {
  it("swallows nothing: a poll whose connection is cut takes no record", async () => {
    const { store, socketPath } = await served();
    const poll = post(socketPath, "/queues/dev/receive", { ticket: "t", ...take, waitSeconds: 60 });
    poll.answer.catch(() => {});
    await openHub({ socketPath, queue: "dev" }).ready();
    poll.cut();
    await expect(poll.answer).rejects.toThrow();
    await store.queue("dev").send([{ body: "kept" }]);
    expect(await store.queue("dev").receive({ ...take, waitSeconds: 20 })).toMatchObject([{ body: "kept" }]);
  });

  it("gives records back that its cancelled poll still brings", async () => {
    const { store, socketPath } = await served();
    const owned = store.queue("dev");
    await owned.send([{ body: "kept" }]);
    const receive = owned.receive.bind(owned);
    // The owner's answer and the caller's cancel cross each other.
    owned.receive = async ({ signal, ...options }) => {
      if (signal) await once(signal, "abort");
      return receive(options);
    };
    const queue = openHub({ socketPath, queue: "dev" });
    const abort = new AbortController();
    const waiting = queue.receive({ ...take, waitSeconds: 20, signal: abort.signal });
    await queue.ready();
    abort.abort();
    expect(await waiting).toEqual([]);
    await queue.close();
    expect(await receive(take)).toMatchObject([{ body: "kept", receiveCount: 2 }]);
  });

  it("gives records back that were claimed when the connection broke", async () => {
    const { store } = await served();
    const queue = store.queue("dev");
    await queue.send([{ body: "kept" }]);
    const gone = new AbortController();
    const body = JSON.stringify({ ticket: "t", ...take });
    const answer = await hubHandler(() => ({ queue, journal: journalOfCluster(null, "dev") })).fetch(
      new Request("http://hub/queues/dev/receive", { method: "POST", body, signal: gone.signal }),
    );
    expect(await answer.json()).toMatchObject([{ body: "kept" }]);
    expect(await queue.receive(take)).toEqual([]);
    gone.abort();
    expect(await queue.receive({ ...take, waitSeconds: 20 })).toMatchObject([{ body: "kept", receiveCount: 2 }]);
  });
});

describe("what is asked of a hub", () => {
  it.each([
    ["/queues/dev/none", {}, 404, "no such operation"],
    ["/queues/dev/toString", {}, 404, "no such operation"],
    ["/queues/dev/send/more", {}, 404, "no such operation"],
    ["/", {}, 404, "no such operation"],
    ["/queues/dev/send", { records: [{ body: 1 }] }, 400, "records.0.body"],
    ["/queues/dev/send", "not JSON", 400, "not JSON"],
    ["/queues/dev/letters.remove", { id: "1 OR 1=1" }, 400, "id:"],
    ["/queues/%E0%A4%A/ready", {}, 400, "URI"],
  ])("is checked: %s %j", async (path, body, status, message) => {
    const { socketPath } = await served();
    const answer = await post(socketPath, path, body).answer;
    expect(answer.status).toBe(status);
    expect(answer.body).toContain(message);
  });
});

describe("a folder, whoever owns it", () => {
  it("is reached through its owner", async () => {
    const { store, folder } = await served();
    const queue = await openFolder(folder, "dev");
    await queue.send([{ body: "a" }]);
    expect(await store.queue("dev").receive(take)).toMatchObject([{ body: "a" }]);
    await queue.close();
  });

  it("is owned for the while where nobody owns it, and shared by several queues", async () => {
    const folder = temporary();
    await openEmbedded(folder).close();
    const dev = await openFolder(folder, "dev");
    const stage = await openFolder(folder, "stage");
    await dev.send([{ body: "for dev" }]);
    await stage.send([{ body: "for stage" }]);
    expect(await stage.receive(take)).toMatchObject([{ body: "for stage" }]);
    await stage.close();
    await dev.close();
    const store = openEmbedded(folder, { lockTimeoutMs: 0 });
    expect(await store.queue("dev").depth()).toMatchObject({ records: 1 });
    await store.close();
    expect(existsSync(join(folder, "relay.sock"))).toBe(false);
    rmSync(folder, { recursive: true });
  });

  it("is not created", async () => {
    const folder = join(temporary(), "none");
    await expect(openFolder(folder, "dev")).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/there is no queue here/),
    });
    expect(existsSync(folder)).toBe(false);
  });

  it("is in use where an owner serves nobody", async () => {
    const folder = temporary();
    const store = openEmbedded(folder);
    await expect(openFolder(folder, "dev")).rejects.toMatchObject({ message: expect.stringMatching(/is in use by another process/) });
    await store.close();
    rmSync(folder, { recursive: true });
  });

  it("is lent by an owner whose volume is full: what lies there is seen, and nothing can be stored", async () => {
    const folder = temporary();
    const store = openEmbedded(folder, { maxBytes: 256 * 1024 });
    const hub = await serveHub(store);
    const records = [{ body: "x".repeat(10_000) }];
    const fill = async (): Promise<number> =>
      store
        .queue("dev")
        .send(records)
        .then(fill, () => 0);
    await fill();
    await expect(store.queue("dev").ready()).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    const guest = await openFolder(folder, "dev");
    expect((await guest.depth()).records).toBeGreaterThan(0);
    expect(await guest.deadLetters.count()).toBe(0);
    await expect(guest.send(records)).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    await guest.close();
    await hub.close();
    await store.close();
    rmSync(folder, { recursive: true });
  });

  it("by an owner that runs and gives no answer is not called in use: what to look at is said", async () => {
    const folder = temporary();
    const store = openEmbedded(folder);
    const broken = createServer((_, reply) => void reply.writeHead(500).end("no"));
    await new Promise<void>((resolve) => broken.listen(join(folder, "relay.sock"), resolve));
    await expect(openFolder(folder, "dev")).rejects.toMatchObject({
      code: "QUEUE_UNAVAILABLE",
      message: expect.stringMatching(/the relay that runs on it does not answer: .*status 500.*mpo-relay doctor/),
    });
    broken.close();
    await store.close();
    rmSync(folder, { recursive: true });
  });
});

function post(socketPath: string, path: string, body: unknown): { answer: Promise<{ status: number; body: string }>; cut(): void } {
  const ask = request({ socketPath, path, method: "POST", headers: { "content-type": "application/json" } });
  const answer = new Promise<{ status: number; body: string }>((resolve, reject) => {
    ask.on("error", reject);
    ask.on("response", (reply) => {
      text(reply).then((read) => resolve({ status: reply.statusCode ?? 0, body: read }), reject);
    });
  });
  ask.end(typeof body === "string" ? body : JSON.stringify(body));
  return { answer, cut: () => void ask.destroy() };
}
