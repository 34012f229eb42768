/**
 * Tried as the one on call: each cause is real, exactly its alarm fires (log, /metrics, and alert in a real Prometheus), the commands of its
 * page are taken from the runbook and typed as they stand, and it ends green. Here: what queue, hub and SQS can do, and nothing at all for `ONCALL_MINUTES` (default 2).
 */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startFauxqs } from "fauxqs";
import { describe, expect, onTestFinished, test } from "vitest";
import { encode } from "../../src/event.ts";
import { openFolder } from "../../src/queue/folder.ts";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { expressions, selectorsIn } from "../support/monitoring.ts";
import { requestOf } from "../support/relay.ts";
import { DLQ_WAITS, MODULES, openTrial, SWEEPING } from "./oncall-shared.ts";
import { PUSHED } from "./oncall.ts";
import { say } from "./parts/cache.ts";
import { freePort } from "./parts/child.ts";
import { ELASTICMQ_ENV } from "./parts/elasticmq.ts";
import { serveRelay } from "./relay.ts";
import { SMALL, VOLUME } from "./shipped.ts";
import { eventually } from "./wait.ts";

const FULL = /^\[0\] [\s\S]*100%/;
const MINUTES = Number(process.env["ONCALL_MINUTES"] ?? 2);
const { desk, push, emptied, deny, allow } = openTrial();

const queueOf = async () => {
  const path = /queue: embedded:(\S+)/.exec(await readFile(join(desk().world.folder, "relay.yaml"), "utf8"))?.[1] ?? "";
  return openFolder(path.replace(VOLUME, desk().volume), "dev");
};
async function store(body: string): Promise<void> {
  const queue = await queueOf();
  try {
    await queue.send([{ body }]);
  } finally {
    await queue.close();
  }
}

test(`a clean system fires nothing in ${MINUTES} minutes of normal traffic, and has every metric of rules and dashboard`, async () => {
  const relay = await desk().serve({ lookUp: true, more: { tuning: SWEEPING } });
  await desk().expectPickedUp();
  const until = Date.now() + MINUTES * 60_000;
  let pushes = 1;
  while (Date.now() < until) {
    await desk().world.crane.push(desk().world.image(MODULES[pushes % MODULES.length] ?? PUSHED));
    pushes += 1;
    await sleep(1_500);
  }
  await desk().expectPickedUp();
  expect((await relay.lines()).filter(({ alarm }) => alarm !== undefined)).toEqual([]);
  expect(await desk().counted()).toEqual({});
  expect(await desk().firing()).toEqual([]);
  const text = await desk().metrics();
  const series = text.split("\n").filter((line) => !line.startsWith("#"));
  for (const { name, matchers } of expressions().flatMap(({ expr }) => selectorsIn(expr)))
    for (const { label } of [{ label: "" }, ...matchers])
      expect(
        series.some((line) => line.startsWith(`${name}{`) && (label === "" || line.includes(`${label}="`))),
        `${name} ${label}`,
      ).toBe(true);
  say(`on call: ${pushes} pushes in ${MINUTES} min without an alarm; ${series.length} series, ${text.length} bytes a scrape`);
}, 900_000);

describe("the queue", () => {
  test("MALFORMED: somebody else writes into it", async () => {
    await desk().serve();
    await desk().incident({
      code: "MALFORMED",
      cause: () => store("not ours"),
      says: [/^\[3\] [\s\S]*MALFORMED/],
      remedy: () => emptied("mpo-relay dlq purge --code MALFORMED --yes"),
    });
  });

  test("WRONG_CLUSTER: an edge means another queue", async () => {
    await desk().serve();
    await desk().incident({
      code: "WRONG_CLUSTER",
      cause: () => store(encode(requestOf({ cluster: "stage" }))),
      says: [/^\[3\] [\s\S]*WRONG_CLUSTER/, /^\[0\]/],
      remedy: () => emptied("mpo-relay dlq purge --code WRONG_CLUSTER --yes"),
    });
  });

  test("WORKER_TOO_OLD: an edge was updated first", async () => {
    await desk().serve();
    await desk().incident({
      code: "WORKER_TOO_OLD",
      cause: () => store(JSON.stringify({ ...requestOf(), v: 2 })),
      says: [/^\[0\] \d+\.\d+/, DLQ_WAITS],
    });
  });

  test("LAST_RECEIVE: a consumer dies of a record, eight times", async () => {
    await desk().serve();
    await desk().rest();
    const queue = await queueOf();
    await queue.send([{ body: encode(requestOf({ module: PUSHED })) }]);
    for (let times = 0; times < 8; times += 1) {
      const [record] = await queue.receive({ max: 1, waitSeconds: 5, visibilitySeconds: 30 });
      if (record) await queue.extend(record, 0);
    }
    await queue.close();
    await desk().incident({
      code: "LAST_RECEIVE",
      cause: () => desk().again(),
      says: [/^\[3\] [\s\S]*LAST_RECEIVE/, /^\[0\]/],
      remedy: () => emptied("mpo-relay dlq purge --code LAST_RECEIVE --yes"),
    });
  });

  test("UNCONFIRMED: what was announced is not what the tag names", async () => {
    await desk().serve({ more: { tuning: { cooldown: "100ms", looks: ["300ms", "600ms", "1s", "2s", "3s"] } } });
    const image = desk()
      .world.image("third")
      .replace(/:main$/, "");
    const body = JSON.stringify({ repository: image, tag: "main", digest: `sha256:${"0".repeat(64)}` });
    await desk().incident({
      code: "UNCONFIRMED",
      cause: async () => expect(await desk().post("pipelines", body)).toBe(202),
      says: [/^\[3\] [\s\S]*UNCONFIRMED/, /^\[1\]/, /^\[\d\]/],
      remedy: async () => {
        await emptied("mpo-relay dlq purge --code UNCONFIRMED --yes");
        await desk().serve(); // which looks for longer
      },
    });
  });

  test.each(["QUEUE_UNAVAILABLE", "JOURNAL_UNAVAILABLE"])("%s: its volume is full", async (code) => {
    const on = `embedded:${SMALL}`;
    desk().names["DATA"] = SMALL;
    onTestFinished(() => void (desk().names["DATA"] = VOLUME));
    await desk().serve(code === "QUEUE_UNAVAILABLE" ? { queue: on, more: { unparsed: on, journal: "off" } } : { more: { journal: on } });
    await desk().expectPickedUp();
    const filler = join(`/proc/${desk().relay().pid}/root`, SMALL, "filler");
    await desk().incident({
      code,
      cause: async () => {
        await writeFile(filler, Buffer.alloc(8 * 1024 * 1024)).catch((error: NodeJS.ErrnoException) => expect(error.code).toBe("ENOSPC"));
        const padding = "x".repeat(20_000);
        await eventually("it is full", async () => {
          await desk().post(
            "pipelines",
            JSON.stringify({
              repository: desk()
                .world.image("other")
                .replace(/:main$/, ""),
              tag: "elsewhere",
              padding,
            }),
          );
          return (await desk().alarms()).length > 0 ? true : null;
        });
      },
      says: code === "QUEUE_UNAVAILABLE" ? [/^\[1\] [\s\S]*\(0 %\) free on the volume/, FULL, /^\[0\] [\s\S]*filler/] : [/^\[\d\]/, FULL],
      remedy: () => rm(filler),
    });
  });
});

describe("the hub", () => {
  /** Certificate, key, authority and a token of both ends; where it is to listen. */
  async function prepare(): Promise<{ port: number; hub: object }> {
    const { ca, cert, key } = await makeCertificates();
    const token = "a-token-of-the-hub-0123456789abcdef";
    const files = { "hub.crt": cert, "hub.key": key, "hub-ca.crt": ca, "hub.token": token, "worker.token": token };
    for (const [name, text] of Object.entries(files)) await desk().write(name, text);
    const port = await freePort();
    return { port, hub: { listen: `127.0.0.1:${port}`, certificate: "file:hub.crt", key: "file:hub.key" } };
  }

  test("QUEUE_REFUSED: it was given another token for this cluster, and the worker was not told", async () => {
    const { port, hub } = await prepare();
    await desk().rest();
    const queue = "embedded:./hub";
    const lent = { queue, edge: true, consumer: false, cluster: { hubToken: "file:hub.token" }, more: { hub, unparsed: queue } };
    const config = await desk().world.writeConfig("hub.yaml", lent);
    const service = await serveRelay({ config, log: join(desk().world.folder, "hub.log"), url: desk().world.relayUrl });
    onTestFinished(() => service.stop("SIGTERM"));
    const borrowed = { hubToken: "file:worker.token", hubCa: "file:hub-ca.crt" };
    await desk().serve({ queue: `hub:https://127.0.0.1:${port}`, edge: false, cluster: borrowed }, { worker: true });
    await desk().expectPickedUp();
    await desk().incident({
      code: "QUEUE_REFUSED",
      cause: () => desk().write("hub.token", "another-token-of-the-hub-0123456789"),
      says: [/^\[1\] [\s\S]*refuses our token/],
      remedy: () => desk().write("worker.token", "another-token-of-the-hub-0123456789"),
    });
  });

  test("HUB_CERTIFICATE: the key of a new certificate is forgotten", async () => {
    const { hub } = await prepare();
    await desk().serve({ cluster: { hubToken: "file:hub.token" }, more: { hub } });
    const next = await makeCertificates();
    await desk().incident({
      code: "HUB_CERTIFICATE",
      cause: () => desk().write("hub.crt", next.cert),
      says: [/^\[1\] [\s\S]*is that of another one/],
      remedy: () => desk().write("hub.key", next.key),
      green: async () => {
        await eventually("it is renewed", async () =>
          (await desk().relay().lines()).some(({ outcome }) => outcome === "HUB_CERTIFICATE_RENEWED") ? true : null,
        );
      },
    });
  });
});

describe("SQS", () => {
  test("DEAD_LETTERS_EXPIRE: its dead-letter queue keeps them for a day", async () => {
    const server = await startFauxqs({ port: 0, logger: false }); // ElasticMQ knows no retention
    onTestFinished(() => server.stop());
    const { queueArn } = server.createQueue("dev-dead", { attributes: { MessageRetentionPeriod: String(24 * 3600) } });
    const policy = JSON.stringify({ deadLetterTargetArn: queueArn, maxReceiveCount: 10 });
    const { queueUrl } = server.createQueue("dev", { attributes: { RedrivePolicy: policy } });
    const env = { ...ELASTICMQ_ENV, AWS_REGION: "us-east-1", AWS_ENDPOINT_URL: `http://127.0.0.1:${server.port}` };
    const again = () => desk().serve({ queue: queueUrl, more: { unparsed: `embedded:${VOLUME}/unread` } }, { env });
    await again();
    await deny("false");
    await eventually("a push is a dead letter", async () => {
      await push(); // a policy takes a moment
      await sleep(1_000);
      return (await desk().alarms()).includes("FORBIDDEN_BY_POLICY") ? true : null;
    });
    await allow();
    await desk().incident({
      code: "DEAD_LETTERS_EXPIRE",
      cause: again,
      says: [/^\[3\] [\s\S]*FORBIDDEN_BY_POLICY/, /^\[0\]/],
      remedy: async () => {
        expect(await readFile(join(desk().world.folder, "letters.jsonl"), "utf8")).toContain("FORBIDDEN_BY_POLICY");
        await emptied("mpo-relay dlq redrive --code FORBIDDEN_BY_POLICY --wait --timeout 20s");
      },
    });
  });
});
