/**
 * An API server that is away for hours: nothing is lost, no receive count is burnt, and its first minute back is no storm. On the embedded
 * queue, and on SQS, whose stand-in fauxqs runs in this process and so on the same fake clock.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startFauxqs } from "fauxqs";
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from "vitest";
import { consume } from "../src/consume.ts";
import { consumeContext } from "../src/consumer.ts";
import type { ClusterPort } from "../src/cluster/channels.ts";
import type { Override } from "../src/cluster/overrides.ts";
import { encode } from "../src/event.ts";
import { MAX_RECEIVES } from "../src/limits.ts";
import { RelayError } from "../src/outcome.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import type { Queue } from "../src/queue/queue.ts";
import { openSqs } from "../src/queue/sqs.ts";
import { fakeChannels } from "./support/channels.ts";
import { configOf, fakeObserver, overrideOf, requestOf, start } from "./support/relay.ts";
import { HEAVY_MS } from "./support/wait.ts";

const HOURS = 3600 * 1000;

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: start }));
afterEach(() => void vi.useRealTimers());

function embedded(): Queue {
  const folder = mkdtempSync(join(tmpdir(), "mpo-relay-outage-"));
  const store = openEmbedded(folder);
  onTestFinished(async () => {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return store.queue("dev");
}

/** With the redrive policy of infra/template/queues.ts: what is received too often becomes a dead letter by the service's own doing. */
async function fauxqs(): Promise<Queue> {
  for (const name of ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) vi.stubEnv(name, "test");
  const server = await startFauxqs({ port: 0, logger: false });
  const letters = server.createQueue("dead");
  const policy = JSON.stringify({ deadLetterTargetArn: letters.queueArn, maxReceiveCount: MAX_RECEIVES + 2 });
  const { queueUrl } = server.createQueue("dev", { attributes: { RedrivePolicy: policy } });
  const queue = openSqs({ url: queueUrl, endpoint: `http://127.0.0.1:${server.port}` });
  onTestFinished(async () => {
    await queue.close();
    await server.stop();
    vi.unstubAllEnvs();
  });
  return queue;
}

/** Every tenth module has an override, so most runs only look. While it is away, what is asked fails; `answersProbes`: all but probes, as where only a conversion webhook is gone. */
function server(answersProbes: boolean) {
  const requests: number[] = [];
  let isAway = true;
  const ask = <T>(answer: T, isProbe = false): T => {
    requests.push(Date.now());
    if (isAway && !(isProbe && answersProbes)) throw new RelayError("CLUSTER_UNREACHABLE", "connect ECONNREFUSED");
    return answer;
  };
  const overrides: ClusterPort = {
    cluster: "dev",
    get: async (name) => ask(name.endsWith("0") ? overrideOf({ name }) : null),
    annotate: async (override: Override, change) => {
      const kept = Object.entries({ ...override.annotations, ...change }).filter((entry): entry is [string, string] => entry[1] !== null);
      return ask({ ...override, annotations: Object.fromEntries(kept) });
    },
    setScanInterval: async (override: Override) => ask(override),
    list: async () => [],
    probe: async () => ask(undefined, true),
    uid: async () => "",
    tell: async () => {},
    state: async () => null,
    close() {},
    channels: fakeChannels().channels,
  };
  return { overrides, requests, comeBack: () => void (isAway = false) };
}

it.each([
  ["embedded", "does not answer at all", embedded, false, 2000],
  ["embedded", "answers probes and nothing else", embedded, true, 100], // each is stored anew some forty times
  ["SQS", "does not answer at all", fauxqs, false, 2000],
  ["SQS", "answers probes and nothing else", fauxqs, true, 20],
])(
  "%s: 3 hours in which the API server %s, with many records waiting",
  { timeout: HEAVY_MS },
  async (_queue, _how, open, answersProbes, total) => {
    const { overrides, requests, comeBack } = server(answersProbes);
    const { observer, lines } = fakeObserver();
    const queue = await open();
    const config = configOf({ tuning: { cooldownMs: 5000, looksMs: [HOURS], patchesPerSecond: 50, sweepMs: 0 } });
    const context = consumeContext(config, { cluster: "dev", queue, overrides, observer });
    const name = (n: number) => String(n).padStart(8, "0");
    await queue.send(
      Array.from({ length: total }, (_, n) => ({ body: encode(requestOf({ module: `module-${n}`, source: null, key: name(n) })) })),
    );

    let mostReceives = 0;
    /** As src/worker.ts, whose waits the test makes go by. */
    const work = async (until: number) => {
      while (Date.now() < until) {
        if (context.circuit.error !== null) {
          await vi.advanceTimersByTimeAsync(context.circuit.waitMs);
          if (!(await context.circuit.probe())) continue;
        }
        const records = await queue.receive({ max: 1000, waitSeconds: 0, visibilitySeconds: 120 });
        mostReceives = Math.max(mostReceives, ...records.map(({ receiveCount }) => receiveCount));
        const run = { isDone: false };
        const running = consume(records, context).finally(() => (run.isDone = true));
        while (!run.isDone) await vi.advanceTimersByTimeAsync(5);
        await running;
        if (records.length === 0) await vi.advanceTimersByTimeAsync(1000);
      }
    };
    const ended = (how: string) => lines.filter(({ outcome }) => outcome === how).length;

    await work(start.getTime() + 3 * HOURS);
    expect([ended("NUDGED"), ended("NOT_OVERRIDDEN"), (await queue.depth()).records]).toEqual([0, 0, total]);
    expect(requests.length).toBeLessThan(3 * 3600);

    comeBack();
    const back = requests.push(Date.now()) - 1;
    await work(Date.now() + 15 * 60 * 1000); // the last wait for a probe, the last back-off, and then 200 a second
    expect([ended("NUDGED"), ended("NOT_OVERRIDDEN")]).toEqual([total / 10, total - total / 10]);
    expect([mostReceives, await queue.deadLetters.count()]).toEqual([1, 0]);
    const after = requests.slice(back);
    const inTheSecondOf = (from: number) => after.filter((each) => each >= from && each < from + 1000).length;
    expect(Math.max(...after.map(inTheSecondOf))).toBeLessThanOrEqual(200 + 50 + 1); // looks, patches, a probe
  },
);
