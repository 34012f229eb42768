/** `mpo-relay doctor` on queues: an embedded one beside its relay and alone, SQS (fauxqs), and a hub's. It receives nothing. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { configOrThrow } from "../src/config.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import { lookIntoFolder, openFolder } from "../src/queue/folder.ts";
import { openSqs } from "../src/queue/sqs.ts";
import { startRelay } from "../src/relay.ts";
import { type Clinic, openClinic } from "./support/doctor.ts";
import { fakeObserver } from "./support/relay.ts";

const DAY = 24 * 3600;
const at = "2026-01-02T03:04:05.678Z";
const letter = { body: "b", code: "INVALID", text: "t", attempts: 1, firstAt: at, lastAt: at };
let clinic: Clinic;
let server: FauxqsServer;
let count = 0;

beforeAll(async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
  vi.stubEnv("AWS_REGION", "us-east-1");
  server = await startFauxqs({ port: 0, logger: false });
  vi.stubEnv("AWS_ENDPOINT_URL_SQS", `http://127.0.0.1:${server.port}`);
  clinic = await openClinic();
});
beforeEach(() => clinic.reset());
afterAll(async () => {
  await clinic.close();
  await server.stop();
  vi.unstubAllEnvs();
});

const dev = (queue: string, more: Record<string, unknown> = {}) => {
  clinic.config.clusters = { dev: { queue, ...more } };
};

describe("an embedded queue", () => {
  it("beside its relay: what waits is no finding, dead letters and unread deliveries are", async () => {
    const [queue, unparsed] = [
      await openFolder(join(clinic.folder, "queue"), "dev"),
      await openFolder(join(clinic.folder, "queue"), "unparsed"),
    ];
    await queue.send([{ body: "one", delaySeconds: 600 }]);
    expect((await clinic.examine()).wrong).toEqual([]);
    await queue.deadLetters.put(letter);
    await unparsed.deadLetters.put(letter);
    const { wrong, findings, exitCode } = await clinic.examine();
    expect(exitCode).toBe(0);
    expect(wrong).toMatchObject([
      {
        level: "warning",
        code: "DEAD_LETTERS",
        where: "clusters.dev.queue",
        what: "1 dead letter",
        todo: expect.stringContaining("mpo-relay dlq list --cluster dev --config"),
      },
      { level: "warning", code: "DEAD_LETTERS", where: "unparsed", todo: expect.stringContaining("--cluster unparsed") },
    ]);
    expect(findings).toContainEqual(
      expect.objectContaining({ where: "clusters.dev.queue", what: expect.stringContaining("1 record waiting, the oldest stored") }),
    );
    for (const each of [queue, unparsed]) await each.deadLetters.sweep(async () => "remove");
    await queue.close();
    await unparsed.close();
  });

  it("whose relay does not run, or was killed: looked at without a lock, and its file stays as it is", async () => {
    const folder = join(clinic.folder, "alone");
    const store = openEmbedded(folder);
    await store.queue("dev").deadLetters.put(letter);
    await store.close();
    await copyFile(join(clinic.folder, "queue", "queue.marker"), join(folder, "relay.sock")); // nobody answers there
    const file = () => readFile(join(folder, "queue.db"), "base64");
    const before = await file();
    dev("embedded:./alone");
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "warning", code: "DEAD_LETTERS", where: "clusters.dev.queue" },
      { level: "warning", code: "RELAY_NOT_RUNNING", where: "clusters.dev.queue" },
      { code: "JOURNAL_UNAVAILABLE", what: expect.stringMatching(/^there is no .*journal\.db yet/) },
    ]);
    expect(await file()).toBe(before);
    expect(await lookIntoFolder(folder, "dev")).toEqual({ records: 0, oldestSeconds: null, letters: 1, isOwned: false });
  });

  it("that was never made, and one that is damaged", async () => {
    dev("embedded:./never");
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "warning", code: "RELAY_NOT_RUNNING", where: "clusters.dev.queue" },
      { level: "warning", code: "RELAY_NOT_RUNNING", where: "unparsed" },
      { code: "JOURNAL_UNAVAILABLE" },
    ]);
    await mkdir(join(clinic.folder, "damaged"));
    await writeFile(join(clinic.folder, "damaged", "queue.db"), "no database at all, ".repeat(500));
    dev("embedded:./damaged");
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "error", code: "QUEUE_UNAVAILABLE", where: "clusters.dev.queue" },
      { level: "error", code: "QUEUE_UNAVAILABLE", where: "unparsed" },
      { code: "JOURNAL_UNAVAILABLE" },
    ]);
  });
});

describe("an SQS queue", () => {
  interface Made {
    readonly maxReceiveCount?: number | null;
    readonly days?: number;
    readonly letterDays?: number;
  }
  const kept = (days: number) => ({ MessageRetentionPeriod: String(days * DAY) });
  function make({ maxReceiveCount = 10, days = 14, letterDays = 14 }: Made = {}) {
    const name = `doctor-${count++}`;
    const letters = server.createQueue(`${name}-dead`, { attributes: kept(letterDays) });
    const policy =
      maxReceiveCount === null ? {} : { RedrivePolicy: JSON.stringify({ deadLetterTargetArn: letters.queueArn, maxReceiveCount }) };
    const queue = server.createQueue(name, { attributes: { ...kept(days), ...policy } });
    return { url: queue.queueUrl, letters: letters.queueUrl };
  }
  beforeEach(() => {
    const { url } = make({ maxReceiveCount: null });
    clinic.config = { ...clinic.config, webhooks: {}, sources: [], journal: "off", unparsed: url };
  });

  it("that is as the template makes it has no finding, and nothing was received", async () => {
    const { url, letters } = make();
    const queue = openSqs({ url });
    await queue.send([{ body: "one" }]);
    dev(url);
    expect((await clinic.examine()).wrong).toEqual([]);
    await queue.deadLetters.put(letter);
    expect((await clinic.examine()).wrong).toMatchObject([{ level: "warning", code: "DEAD_LETTERS", where: "clusters.dev.queue" }]);
    for (const each of [url, letters]) {
      const [first] = await openSqs({ url: each, deadLettersUrl: each }).receive({ max: 1, waitSeconds: 0, visibilitySeconds: 1 });
      expect(first?.receiveCount).toBe(1); // by this look alone
    }
    await queue.close();
  });

  it.each<[string, Made, object[]]>([
    [
      "no dead letters",
      { maxReceiveCount: null },
      [{ level: "error", code: "NO_DEAD_LETTERS", todo: expect.stringContaining("redrive policy") }],
    ],
    ["too few receives", { maxReceiveCount: 8 }, [{ level: "warning", code: "MAX_RECEIVES", todo: expect.stringContaining("10 or more") }]],
    ["days of its own", { days: 4 }, [{ level: "warning", code: "RETENTION", what: expect.stringContaining("its records after 4 d") }]],
    [
      "days of its letters",
      { letterDays: 4 },
      [{ level: "warning", code: "RETENTION", what: expect.stringContaining("its dead letters after 4 d") }],
    ],
  ])("with %s", async (_what, made, expected) => {
    dev(make(made).url);
    expect((await clinic.examine()).wrong).toMatchObject(expected.map((each) => ({ where: "clusters.dev.queue", ...each })));
  });

  it("without a policy, and a queue for its letters by the configuration, is well; one that is not there is told", async () => {
    const { url, letters } = make({ maxReceiveCount: null });
    dev(url, { deadLetters: letters });
    expect((await clinic.examine()).wrong).toEqual([]);
    dev(url, { deadLetters: `${letters}-absent` });
    expect((await clinic.examine()).wrong).toMatchObject([
      { code: "NO_DEAD_LETTERS", what: expect.stringContaining("GetQueueAttributes") },
    ]);
    dev(`${url}-absent`);
    expect((await clinic.examine()).wrong).toMatchObject([
      { level: "error", code: "QUEUE_UNAVAILABLE", todo: expect.stringContaining("AccessDenied") },
    ]);
  });

  it("by variables, as the template names them: which are not set, and which name one queue twice", async () => {
    const { url } = make();
    clinic.config.clusters = { dev: { queue: "env:DEV_QUEUE" }, prod: { queue: "env:PROD_QUEUE" } };
    clinic.config["unparsed"] = "env:MPO_RELAY_UNPARSED";
    clinic.config.webhooks = { ecr: { provider: "ecr", queue: "env:ECR_QUEUE" } };
    clinic.config.sources = [{ repo: "1.dkr.ecr.eu-central-1.amazonaws.com/modules" }];
    const unset = (await clinic.examine({ env: { ECR_QUEUE: "hub:https://hub.example.com" } })).wrong;
    expect(unset.map(({ code, where }) => `${code} ${where}`)).toEqual([
      "VARIABLE_UNSET clusters.dev.queue",
      "VARIABLE_UNSET clusters.prod.queue",
      "VARIABLE_UNSET webhooks.ecr.queue",
      "VARIABLE_UNSET unparsed",
    ]);
    expect(unset[0]?.todo).toContain("export DEV_QUEUE=");
    const twice = await clinic.examine({ env: { DEV_QUEUE: url, PROD_QUEUE: url, MPO_RELAY_UNPARSED: make().url, ECR_QUEUE: make().url } });
    expect(twice.wrong).toMatchObject([
      {
        level: "error",
        code: "QUEUES_SHARED",
        what: "clusters.dev.queue and clusters.prod.queue name one queue: each needs its own; look at the variables that they name",
      },
    ]);
  });

  it("of a webhook and of unread deliveries", async () => {
    const [inbox, unparsed] = [make({ maxReceiveCount: 5, days: 4 }), make({ days: 4 })];
    dev(make().url);
    clinic.config.webhooks = { ecr: { provider: "ecr", queue: inbox.url } };
    clinic.config.sources = [{ repo: "1.dkr.ecr.eu-central-1.amazonaws.com/modules" }];
    clinic.config["unparsed"] = unparsed.url;
    const queue = openSqs({ url: unparsed.url, deadLettersUrl: unparsed.url });
    await queue.deadLetters.put(letter);
    await queue.close();
    const { wrong } = await clinic.examine();
    expect(wrong.map(({ code, where }) => `${code} ${where}`)).toEqual([
      "RETENTION webhooks.ecr.queue",
      "MAX_RECEIVES webhooks.ecr.queue",
      "RETENTION unparsed",
      "DEAD_LETTERS unparsed",
    ]);
  });
});

it("a hub's queue: as its worker sees it, with its token and with another", async () => {
  await clinic.write("hub.token", "a-hub-token-of-good-length");
  const { kubernetes } = clinic.config.clusters["dev"] ?? {};
  const file = join(clinic.folder, "hub.json");
  const lent = {
    clusters: { dev: { queue: "embedded:./lent", hubToken: "file:hub.token" } },
    hub: { listen: "127.0.0.1:0" },
    listen: "127.0.0.1:0",
  };
  await writeFile(file, JSON.stringify(lent));
  const relay = await startRelay({ config: await configOrThrow({ file, env: {} }), observer: fakeObserver().observer });
  const queue = `hub:${relay.hubUrl}`;
  clinic.config = { clusters: { dev: { queue, hubToken: "file:hub.token", kubernetes } }, webhooks: {}, sources: [] };
  clinic.secrets.push("a-hub-token-of-good-length", "another-token-of-good-length");
  expect((await clinic.examine()).wrong).toEqual([]);
  await clinic.write("hub.token.other", "another-token-of-good-length");
  Object.assign(clinic.config.clusters["dev"] ?? {}, { hubToken: "file:hub.token.other" });
  expect((await clinic.examine()).wrong).toMatchObject([
    { level: "error", code: "QUEUE_REFUSED", where: "clusters.dev.queue", todo: expect.stringContaining("hubToken") },
    { level: "warning", code: "JOURNAL_UNAVAILABLE" },
  ]);
  await relay.stop();
  expect((await clinic.examine()).wrong).toMatchObject([
    { level: "error", code: "QUEUE_UNAVAILABLE", where: "clusters.dev.queue" },
    { level: "warning", code: "JOURNAL_UNAVAILABLE" },
  ]);
});
