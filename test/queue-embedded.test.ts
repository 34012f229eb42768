import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { build } from "esbuild";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { type EmbeddedOptions, type EmbeddedStore, FolderInUse, openEmbedded } from "../src/queue/embedded.ts";
import { Bell } from "../src/queue/embedded/bell.ts";
import { queueContract } from "./contracts/queue.ts";

queueContract(
  "embedded",
  async () => {
    const folder = temporary();
    const store = openEmbedded(folder);
    const cleanup = async () => {
      await store.close();
      rmSync(folder, { recursive: true });
    };
    return { queue: store.queue("dev"), cleanup };
  },
  { step: 0.1 },
);

function temporary(): string {
  return mkdtempSync(join(tmpdir(), "mpo-relay-queue-"));
}
function emptyFolder(): string {
  const folder = temporary();
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}
function opened(folder: string, options?: EmbeddedOptions): EmbeddedStore {
  const store = openEmbedded(folder, options);
  onTestFinished(() => store.close());
  return store;
}
const take = { max: 1000, waitSeconds: 0, visibilitySeconds: 60 };

it("a new owner sees at once what the old one held: whoever received it is gone; what was delayed stays so", async () => {
  const folder = emptyFolder();
  const store = openEmbedded(folder);
  await store.queue("dev").send([{ body: "held" }]);
  expect(await store.queue("dev").receive(take)).toHaveLength(1);
  await store.queue("dev").send([{ body: "delayed", delaySeconds: 60 }]);
  await store.close();
  const records = await opened(folder).queue("dev").receive(take);
  expect(records.map(({ body, receiveCount }) => [body, receiveCount])).toEqual([["held", 2]]);
});

describe("several queues in one file", () => {
  it("keeps them apart, and stores in several at once", async () => {
    const store = opened(emptyFolder());
    const waiting = store.queue("stage").receive({ ...take, waitSeconds: 20 });
    await store.sendAll([
      { queue: "dev", records: [{ body: "for dev" }] },
      { queue: "stage", records: [{ body: "for stage" }] },
    ]);
    expect((await waiting).map(({ body }) => body)).toEqual(["for stage"]);
    expect((await store.queue("dev").receive(take)).map(({ body }) => body)).toEqual(["for dev"]);
  });

  it("stores in none where one record cannot be stored", async () => {
    const store = opened(emptyFolder());
    const batches = [
      { queue: "dev", records: [{ body: "fine" }] },
      { queue: "stage", records: [{ body: "ü" }] },
    ];
    await expect(store.sendAll(batches)).rejects.toMatchObject({ code: "INTERNAL" });
    expect(await store.queue("dev").depth()).toMatchObject({ records: 0 });
  });

  it("a receipt says nothing of a record in another queue: it may come from whoever has a hub's token", async () => {
    const store = opened(emptyFolder());
    await store.queue("stage").send([{ body: "for stage" }, { body: "also" }]);
    const [held] = await store.queue("stage").receive({ ...take, max: 1 });
    if (held === undefined) return expect.fail("no record");
    const dev = store.queue("dev");
    const unreceived = { ...held, id: "2", receipt: "2:0" };
    await dev.acknowledge([held, unreceived]);
    await dev.defer([{ record: unreceived, next: { body: "x" } }]);
    await dev.bury(unreceived, { body: "x", code: "INVALID", text: "t", attempts: 1, firstAt: "f", lastAt: "l" });
    await dev.extend(unreceived, 600);
    expect(await store.queue("stage").depth()).toMatchObject({ records: 2 });
    expect((await store.queue("stage").receive(take)).map(({ body }) => body)).toEqual(["also"]);
  });

  it("one call that the database refuses takes no other of its tick with it", async () => {
    const store = opened(emptyFolder());
    const stage = store.queue("stage");
    await stage.send([{ body: "held" }]);
    const [held] = await stage.receive(take);
    if (held === undefined) return expect.fail("no record");
    const ends = await Promise.allSettled([stage.extend(held, 1e300), store.queue("dev").send([{ body: "fine" }])]);
    expect(ends.map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });

  it("gives hundreds at once, and each to one of several receivers", async () => {
    const queue = opened(emptyFolder()).queue("dev");
    await queue.send(Array.from({ length: 700 }, (_, index) => ({ body: `${index}` })));
    const got = await Promise.all([1, 2, 3].map(() => queue.receive({ ...take, max: 300 })));
    expect(got.map((records) => records.length)).toEqual([300, 300, 100]);
    expect(new Set(got.flat().map(({ id }) => id)).size).toBe(700);
  });

  it("delays by fractions of a second", async () => {
    const queue = opened(emptyFolder()).queue("dev");
    await queue.send([{ body: "b", delaySeconds: 0.2 }]);
    await queue.send([{ body: "a", delaySeconds: 0.05 }]);
    const order = [await queue.receive({ ...take, max: 1, waitSeconds: 20 }), await queue.receive({ ...take, max: 1, waitSeconds: 20 })];
    expect(order.flat().map(({ body }) => body)).toEqual(["a", "b"]);
  });
});

describe("the bell", () => {
  it("lets nobody sleep who has not heard the last ring", async () => {
    const bell = new Bell();
    const heard = bell.rings;
    bell.ring();
    await bell.sleep(heard, Date.now() + 3_600_000);
    expect(bell.rings).toBe(heard + 1);
  });
});

describe("the folder", () => {
  it("keeps records, letters and receive counts over a restart", async () => {
    const folder = join(emptyFolder(), "new", "data");
    const first = openEmbedded(folder);
    await first.queue("dev").send([{ body: "held" }, { body: "waits", delaySeconds: 60 }]);
    await first.queue("dev").receive({ ...take, visibilitySeconds: 0 });
    await first.close();
    const queue = opened(folder).queue("dev");
    expect(await queue.receive(take)).toMatchObject([{ body: "held", receiveCount: 2 }]);
    expect(await queue.depth()).toMatchObject({ records: 2, oldestSeconds: expect.any(Number) });
  });

  it("is refused to a second owner, with what to do, until the first lets go", async () => {
    const folder = emptyFolder();
    const first = openEmbedded(folder);
    expect(() => openEmbedded(folder, { lockTimeoutMs: 0 })).toThrow(FolderInUse);
    expect(() => openEmbedded(folder, { lockTimeoutMs: 0 })).toThrow(`${folder} is in use by another process. Stop the other`);
    await first.queue("dev").send([{ body: "still works" }]);
    await first.close();
    expect(await opened(folder).queue("dev").depth()).toMatchObject({ records: 1 });
  });

  it("settles what is in flight before it is closed, and takes nothing afterwards", async () => {
    const folder = emptyFolder();
    const store = openEmbedded(folder);
    const queue = store.queue("dev");
    const sending = queue.send([{ body: "in flight" }]);
    await Promise.all([sending, store.close(), store.close()]);
    await expect(queue.send([{ body: "too late" }])).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE", message: "the queue is closed" });
    expect(await opened(folder).queue("dev").receive(take)).toMatchObject([{ body: "in flight" }]);
  });

  it("is not taken over from others: it must be empty", () => {
    const folder = emptyFolder();
    writeFileSync(join(folder, "notes.txt"), "mine");
    expect(() => openEmbedded(folder)).toThrow(/holds no queue, and is not empty \(notes\.txt\)/);
    expect(readdirSync(folder)).toEqual(["notes.txt"]);
  });

  it("is not created where only an existing queue is wanted", () => {
    const folder = join(emptyFolder(), "none");
    expect(() => openEmbedded(folder, { create: false })).toThrow(`${folder}: there is no queue here`);
    expect(existsSync(folder)).toBe(false);
  });

  it("takes over from a creation that was cut off", async () => {
    const folder = emptyFolder();
    writeFileSync(join(folder, ".queue.db.new"), "half");
    await opened(folder)
      .queue("dev")
      .send([{ body: "a" }]);
    expect(statSync(join(folder, "queue.db")).mode & 0o777).toBe(0o600);
  });

  it("takes a database that was copied back without its marker", async () => {
    const folder = await usedFolder();
    rmSync(join(folder, "queue.marker"));
    expect(await opened(folder).queue("dev").depth()).toMatchObject({ records: 50 });
    expect(existsSync(join(folder, "queue.marker"))).toBe(true);
  });

  it.each<[string, (database: string) => void, RegExp]>([
    ["missing", (database) => rmSync(database), /queue\.db is missing although queue\.marker is there/],
    ["empty", (database) => truncateSync(database), /queue\.db is empty/],
    ["cut off", (database) => truncateSync(database, 3 * 4096), /queue\.db (is damaged|cannot be read)/],
    ["overwritten at its start", (database) => scribble(database, 0), /queue\.db cannot be read \(SQLITE_NOTADB/],
    ["overwritten in the middle", (database) => scribble(database, 4096 * 2), /queue\.db (is damaged|cannot be read)/],
    ["something else's", (database) => writeFileSync(database, "hello, I am a text file"), /queue\.db cannot be read/],
  ])("refuses a database that is %s, says how to restore, and leaves it alone", async (_, harm, message) => {
    const folder = await usedFolder();
    const database = join(folder, "queue.db");
    harm(database);
    const before = existsSync(database) ? readFileSync(database) : null;
    expect(() => openEmbedded(folder)).toThrow(message);
    expect(() => openEmbedded(folder)).toThrow(
      /To restore: stop mpo-relay, copy queue\.db back from a backup .* delete queue\.db, .* and queue\.marker/,
    );
    expect(existsSync(database) ? readFileSync(database) : null).toEqual(before);
  });
});

/** A folder whose queue was used and closed. */
async function usedFolder(): Promise<string> {
  const folder = emptyFolder();
  const store = openEmbedded(folder);
  await store.queue("dev").send(Array.from({ length: 50 }, () => ({ body: "x".repeat(1000) })));
  await store.close();
  return folder;
}
function scribble(database: string, at: number): void {
  const bytes = readFileSync(database);
  bytes.fill(0xaa, at, at + 4096);
  writeFileSync(database, bytes);
}

describe("a full disk", () => {
  it("fails sends, acknowledges none of them, and goes on when there is space again", async () => {
    const store = opened(emptyFolder(), { maxBytes: 300_000 });
    const queue = store.queue("dev");
    const body = "x".repeat(20_000);
    const results = [];
    for (let sent = 0; sent < 40; sent++) results.push(...(await Promise.allSettled([queue.send([{ body }])])));
    const stored = results.filter(({ status }) => status === "fulfilled").length;
    expect(results.find(({ status }) => status === "rejected")).toMatchObject({
      reason: { code: "QUEUE_UNAVAILABLE", message: expect.stringMatching(/FULL|full/) },
    });
    expect(await queue.depth()).toMatchObject({ records: stored });
    await expect(queue.ready()).rejects.toMatchObject({ code: "QUEUE_UNAVAILABLE" });
    await queue.acknowledge((await queue.receive(take)).slice(0, 5));
    await queue.ready();
    await queue.send([{ body }]);
    expect(await queue.depth()).toMatchObject({ records: stored - 4 });
  });

  it("refuses what does not fit, each for itself, and stores what it acknowledges", async () => {
    const queue = opened(emptyFolder(), { maxBytes: 300_000 }).queue("dev");
    const sends = Array.from({ length: 40 }, () => queue.send([{ body: "x".repeat(20_000) }]));
    const statuses = (await Promise.allSettled(sends)).map(({ status }) => status);
    const stored = statuses.filter((status) => status === "fulfilled").length;
    expect(stored).toBeLessThan(40);
    expect(await queue.depth()).toMatchObject({ records: stored });
  });
});

describe("a killed process", () => {
  it("loses nothing that it had acknowledged, and its lock dies with it", async () => {
    const folder = emptyFolder();
    const acknowledged = await untilKilled(await childProgram(emptyFolder()), join(folder, "data"), 300);
    expect(acknowledged.length).toBeGreaterThanOrEqual(300);
    const queue = opened(join(folder, "data"), { lockTimeoutMs: 0 }).queue("dev");
    const kept = new Set<string>();
    for (let got = await queue.receive(take); got.length > 0; got = await queue.receive(take)) got.forEach(({ body }) => kept.add(body));
    expect(acknowledged.filter((body) => !kept.has(body))).toEqual([]);
  });
});

/** Twenty callers who each print what was acknowledged, until somebody kills them. */
const CHILD = `
  import { openEmbedded } from "./src/queue/embedded.ts";
  import { writeSync } from "node:fs";
  const queue = openEmbedded(process.argv[2]).queue("dev");
  let next = 0;
  async function caller() {
    for (;;) {
      const body = "record " + next++;
      await queue.send([{ body }]);
      writeSync(1, body + "\\n");
    }
  }
  for (let each = 0; each < 20; each++) void caller();`;

async function childProgram(folder: string): Promise<string> {
  const outfile = join(folder, "child.mjs");
  const libsql = createRequire(import.meta.url).resolve("libsql");
  await build({
    stdin: { contents: CHILD, resolveDir: process.cwd(), loader: "ts" },
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    alias: { libsql },
    external: [libsql],
  });
  return outfile;
}

async function untilKilled(program: string, folder: string, count: number): Promise<string[]> {
  const child = spawn(process.execPath, [program, folder], { stdio: ["ignore", "pipe", "inherit"] });
  const printed: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    printed.push(line);
    if (printed.length === count) child.kill("SIGKILL");
  }
  return printed;
}

describe("a clock that goes back by an hour", () => {
  const HOUR = 3_600_000;
  /** Only `Date` is set: timers go on. */
  function clockAt(time: number): void {
    vi.useFakeTimers({ toFake: ["Date"], now: time });
    onTestFinished(() => void vi.useRealTimers());
  }
  const now = { max: 10, waitSeconds: 0, visibilitySeconds: 60 };
  const bodies = (records: readonly { body: string }[]) => records.map(({ body }) => body);

  it("hides nothing that was stored before, when it happens while we run", async () => {
    const start = Date.now();
    clockAt(start + HOUR);
    const queue = opened(emptyFolder()).queue("dev");
    await queue.send([{ body: "waiting" }, { body: "delayed", delaySeconds: 600 }]);
    expect(bodies(await queue.receive(now))).toEqual(["waiting"]);
    await queue.send([{ body: "next" }]);
    clockAt(start);
    const records = await queue.receive(now);
    expect(bodies(records)).toEqual(["waiting", "delayed", "next"]);
    expect(await queue.receive(now)).toEqual([]); // held now, like everything that was received
    await queue.acknowledge(records);
    expect(await queue.depth()).toMatchObject({ records: 0 });
  });

  it("nor when it happens between two starts, and leaves what is stored afterwards as it is", async () => {
    const folder = emptyFolder();
    const start = Date.now();
    clockAt(start + HOUR);
    const first = openEmbedded(folder);
    await first.queue("dev").send([{ body: "before" }]);
    await first.close();
    clockAt(start);
    const queue = opened(folder).queue("dev");
    await queue.send([{ body: "delayed", delaySeconds: 600 }]);
    expect(bodies(await queue.receive(now))).toEqual(["before"]);
  });

  it("and a clock that is being set right, by less than two seconds, changes nothing", async () => {
    const start = Date.now();
    clockAt(start);
    const queue = opened(emptyFolder()).queue("dev");
    await queue.receive(now);
    await queue.send([{ body: "delayed", delaySeconds: 600 }]);
    clockAt(start - 1900);
    expect(await queue.receive(now)).toEqual([]);
  });
});
