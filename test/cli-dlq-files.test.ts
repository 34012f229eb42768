/** Export, purge, import, redrive: nothing is lost and nothing changed, on an embedded queue and on SQS. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { decode, encode } from "../src/event.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import type { NewDeadLetter, Queue } from "../src/queue/queue.ts";
import { openSqs } from "../src/queue/sqs.ts";
import { unparsedLetter } from "../src/unparsed.ts";
import { mpoRelay } from "./support/cli.ts";
import { requestOf } from "./support/relay.ts";
import { HEAVY_MS } from "./support/wait.ts";

let server: FauxqsServer;
let folder: string;
let config: string;
beforeAll(async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
  server = await startFauxqs({ port: 0, logger: false });
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await server.stop();
});
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dlq-files-"));
  config = join(folder, "relay.json");
});
afterEach(async () => rm(folder, { recursive: true }));

const dlq = (...args: string[]) => mpoRelay(["dlq", ...args, "--config", config]);
const letterOf = (body: string, code: string, part: Partial<NewDeadLetter> = {}): NewDeadLetter => ({
  body,
  code,
  text: `why "${code}"`,
  attempts: 5,
  firstAt: "2026-06-01T09:00:00.000Z",
  lastAt: "2026-06-01T11:20:00.000Z",
  ...part,
});
const delivery = JSON.stringify({ repository: "registry.example.com/deckhouse/modules/echo", tag: "main" });
const unread = unparsedLetter({ webhook: "ci", headers: {}, body: Buffer.from(delivery) }, [], ["not JSON"], new Date(0));
const records = ["echo", "other"].map((module) => requestOf({ module, image: `registry.example.com/deckhouse/modules/${module}:main` }));
const letters = [...records.map((request) => letterOf(encode(request), "FORBIDDEN")), letterOf("no record at all\n", "MALFORMED")];

interface Place {
  /** Opens what the configuration names: the cluster's queue, and the one whose letters are unread deliveries. */
  open(): Promise<{ dev: Queue; unparsed: Queue; close(): Promise<void> }>;
}

async function embedded(): Promise<Place> {
  await configure({ dev: { queue: "embedded:" } }, "embedded:");
  return {
    async open() {
      const store = openEmbedded(join(folder, "data"));
      return { dev: store.queue("dev"), unparsed: store.queue("unparsed"), close: () => store.close() };
    },
  };
}

let queues = 0;
async function sqs(): Promise<Place> {
  queues += 1;
  const endpoint = `http://127.0.0.1:${server.port}`;
  const dead = server.createQueue(`dead-${queues}`);
  const RedrivePolicy = JSON.stringify({ deadLetterTargetArn: dead.queueArn, maxReceiveCount: 2 });
  const { queueUrl } = server.createQueue(`queue-${queues}`, { attributes: { RedrivePolicy } });
  const unread = server.createQueue(`unread-${queues}`);
  await configure({ dev: { queue: queueUrl, endpoint } }, unread.queueUrl);
  vi.stubEnv("AWS_ENDPOINT_URL", endpoint);
  return {
    async open() {
      const dev = openSqs({ url: queueUrl, endpoint });
      const unparsed = openSqs({ url: unread.queueUrl, endpoint, deadLettersUrl: unread.queueUrl });
      return { dev, unparsed, close: async () => void (await Promise.all([dev.close(), unparsed.close()])) };
    },
  };
}

const configure = (clusters: unknown, unparsed: string) =>
  writeFile(
    config,
    JSON.stringify({
      webhooks: { ci: { provider: "generic", secret: "env:S" } },
      sources: [{ repo: "registry.example.com/deckhouse/modules" }],
      clusters,
      unparsed,
    }),
  );

/** Ids are the queue's own, and an expiry counts from the sending; everything else must be as it was. */
const plain = (page: { letters: readonly NewDeadLetter[] }) =>
  page.letters
    .map(({ body, code, text, attempts, firstAt, lastAt }) => ({ body, code, text, attempts, firstAt, lastAt }))
    .toSorted((a, b) => (a.body < b.body ? -1 : 1));

describe.each([
  ["embedded", embedded],
  ["sqs", sqs],
])("%s", { timeout: HEAVY_MS }, (name, make) => {
  it("a round trip loses and changes nothing", async () => {
    const { open } = await make();
    const queue = await open();
    for (const letter of letters) await queue.dev.deadLetters.put(letter);
    await queue.unparsed.deadLetters.put(unread);
    const before = { dev: plain(await queue.dev.deadLetters.list(10)), unparsed: plain(await queue.unparsed.deadLetters.list(10)) };
    expect(before.dev).toHaveLength(3);
    await queue.close();

    const exported = await dlq("export");
    expect(exported).toMatchObject({ exitCode: 0, err: "4 dead letters exported" });
    const file = join(folder, "letters.jsonl");
    await writeFile(file, `${exported.out}\n`);
    expect(await dlq("purge", "--all", "--yes")).toMatchObject({ exitCode: 0, out: expect.stringContaining("4 dead letters removed") });
    expect(await dlq("list")).toMatchObject({ exitCode: 0 });
    expect(await dlq("import", file)).toMatchObject({ exitCode: 0, out: "4 dead letters imported" });

    const again = await open();
    expect({ dev: plain(await again.dev.deadLetters.list(10)), unparsed: plain(await again.unparsed.deadLetters.list(10)) }).toEqual(
      before,
    );
    await again.close();

    expect((await dlq("redrive", "--all")).out).toContain("3 dead letters sent again, 1 kept");
    const end = await open();
    const received = await end.dev.receive({ max: 10, waitSeconds: 1, visibilitySeconds: 30 });
    const sent = received.map(({ body }) => decode(body)).map((read) => (read.kind === "request" ? read.request : null));
    expect(sent.map((request) => `${request?.module} ${request?.nudge}`).toSorted()).toEqual(["echo 0", "echo 1", "other 1"]);
    expect(plain(await end.dev.deadLetters.list(10)).map(({ code }) => code)).toEqual(["MALFORMED"]);
    await end.close();
  });

  if (name === "sqs") {
    it("knows what SQS itself moved: listed with its reason, shown, sent again", async () => {
      const { open } = await make();
      const queue = await open();
      await queue.dev.send([{ body: encode(requestOf()) }]);
      for (const _ of [1, 2, 3]) await queue.dev.receive({ max: 1, waitSeconds: 0, visibilitySeconds: 0 });
      const { exitCode, out } = await dlq("list");
      expect(exitCode).toBe(3);
      expect(out).toMatch(/^UNKNOWN +1 .*moved by the queue service/m);
      expect(out).toMatch(/^ {2}UNKNOWN: .*own redrive policy.*is deleted by the queue service in \d+ d/m);
      expect(await dlq("redrive", "--code", "UNKNOWN")).toMatchObject({ exitCode: 0 });
      expect(await queue.dev.receive({ max: 1, waitSeconds: 1, visibilitySeconds: 30 })).toHaveLength(1);
      await queue.close();
    });

    it("says where a listing may not be all, and does not call an export complete", async () => {
      const { open } = await make();
      const queue = await open();
      for (const letter of letters) await queue.dev.deadLetters.put(letter);
      const said: Awaited<ReturnType<typeof dlq>>[] = [];
      await queue.dev.deadLetters.sweep(async () => {
        said.push(await dlq("list"), await dlq("export")); // all three are hidden while this one looks at them
        return "stop";
      });
      expect(said).toMatchObject([
        { out: expect.stringContaining("dev: this may not be all, the queue counts more") },
        { exitCode: 1, err: expect.stringContaining("do not purge") },
      ]);
      await queue.close();
    });
  }
});

describe("import", () => {
  const good = (cluster = "dev") => JSON.stringify({ v: 1, cluster, ...letterOf("{}", "INVALID") });
  const imported = async (lines: readonly string[], ...args: string[]) => {
    const file = join(folder, "in.jsonl");
    await writeFile(file, lines.join("\n"));
    return dlq("import", file, ...args);
  };
  const stored = async ({ open }: Place) => {
    const queue = await open();
    const count = await queue.dev.deadLetters.count();
    await queue.close();
    return count;
  };
  const bad = [good(), "{", "", JSON.stringify({ v: 1, cluster: "dev", body: "secret body" }), good("gone"), good()];

  it("names each line that is no dead letter, and imports nothing", async () => {
    const place = await embedded();
    expect(await stored(place)).toBe(0);
    const { exitCode, err } = await imported(bad);
    expect(exitCode).toBe(1);
    expect(err).toContain("nothing was imported: 3 lines");
    expect(err).toContain("\nline 2: not JSON\nline 4: code: ");
    expect(err).toContain('\nline 5: no cluster "gone" in the configuration\n--skip-bad');
    expect(err).not.toContain("secret body");
    expect(await stored(place)).toBe(0);
  });

  it("imports the others where it is told to", async () => {
    const place = await embedded();
    expect(await stored(place)).toBe(0);
    expect(await imported(bad, "--skip-bad")).toMatchObject({ exitCode: 0, out: "2 dead letters imported, 3 lines left out" });
    expect(await stored(place)).toBe(2);
  });

  it("refuses a body that no queue takes before it stores anything", async () => {
    const place = await embedded();
    expect(await stored(place)).toBe(0);
    const large = JSON.stringify({ v: 1, cluster: "dev", ...letterOf("x".repeat(201 * 1024), "INVALID") });
    expect(await imported([good(), large])).toMatchObject({ exitCode: 1, err: expect.stringContaining("line 2: a body of") });
    expect(await stored(place)).toBe(0);
  });

  it("takes only lines of --cluster, and says when there is no such file: 2", async () => {
    const place = await embedded();
    expect(await stored(place)).toBe(0);
    expect(await imported([good("unparsed"), good()], "--cluster", "dev")).toMatchObject({ out: "1 dead letter imported" });
    expect(await dlq("import", join(folder, "nowhere"))).toMatchObject({ exitCode: 2, err: expect.stringContaining("cannot read") });
  });
});
