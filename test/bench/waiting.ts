/** A hundred thousand records wait while their API server is away: what they cost in memory, and what meets it when it is back. */
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { encode } from "../../src/event.ts";
import { openEmbedded } from "../../src/queue/embedded.ts";
import { startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";
import { Cluster } from "./cluster.ts";
import type { Figure } from "./figures.ts";
import { Gate } from "./gate.ts";
import { startServe } from "./relay.ts";
import { TAG } from "./sender.ts";
import { memoryOf, type Options, place, say } from "./world.ts";

const AT_ONCE = 1_000;
const SETTLE_MS = 5_000;
const LOOK_MS = 100;
const WATCHED_MS = 15_000;

export async function waiting({ quick, profile }: Options): Promise<Figure[]> {
  const total = quick ? 10_000 : 100_000;
  const token = "token-of-the-benchmark";
  const api = await startKubernetesApi({ token });
  const gate = new Gate(api.port);
  try {
    await gate.set("open");
    const cluster = new Cluster({ server: gate.url, ca: api.ca, token }, async () => undefined);
    await gate.set("refused");
    const serveWith = async (name: string, records: number) => {
      await fill(name, records);
      const relay = await startServe(name, cluster, { profile });
      await sleep(SETTLE_MS);
      return relay;
    };
    const empty = await serveWith("serve-empty", 0);
    const before = await memoryOf(empty.pid);
    await empty.stop("SIGTERM");
    say(`waiting: ${total} records`);
    const relay = await serveWith("serve-waiting", total);
    try {
      const during = await memoryOf(relay.pid);
      await gate.set("open");
      const busiest = await busiestSecond(() => api.counters().requests);
      const after = await memoryOf(relay.pid);
      const baseline = { of: "none waits", value: before.now };
      return [
        {
          part: "waiting",
          name: `memory, ${total} records waiting`,
          unit: "MB",
          value: during.now,
          baseline,
          targets: [{ of: "value", max: 200 }],
        },
        {
          part: "waiting",
          name: "peak memory after the outage",
          unit: "MB",
          value: after.peak,
          baseline,
          targets: [{ of: "value", max: 300 }],
        },
        {
          part: "waiting",
          name: "API requests in the busiest second after the outage",
          unit: "/s",
          value: busiest,
          targets: [{ of: "value", max: 300 }],
        },
      ];
    } finally {
      await relay.stop("SIGTERM");
    }
  } finally {
    await gate.close();
    await api.close();
  }
}

/** Each of another module, as it is where a whole registry was mirrored in the night: the worst case, for nothing is shared. */
async function fill(name: string, total: number): Promise<void> {
  const store = openEmbedded(`${dirname(await place(name, "relay.json"))}/data`);
  const now = new Date().toISOString();
  for (let from = 0; from < total; from += AT_ONCE) {
    const bodies = Array.from({ length: AT_ONCE }, (_, index) => {
      const module = `module-${from + index}`;
      const image = {
        tag: TAG,
        digest: `sha256:${(from + index).toString(16).padStart(64, "0")}`,
        index: false,
        image: `127.0.0.1:5003/demo/${module}:${TAG}`,
      };
      const times = { pushedAt: now, receivedAt: now, notBefore: null, refusedSince: null };
      const counts = { nudge: 0, attempt: 0, retries: 0 };
      const who = {
        cluster: "dev",
        module,
        source: null,
        webhook: "bench",
        actor: null,
        rival: null,
        key: `key${String(from + index).padStart(9, "0")}`,
      };
      return { body: encode({ v: 1, kind: "renew", ...who, ...image, ...times, ...counts }) };
    });
    await store.queue("dev").send(bodies);
  }
  await store.close();
}

/** The most that a count grew within any second. */
async function busiestSecond(count: () => number): Promise<number> {
  const counts: number[] = [];
  for (let ms = 0; ms < WATCHED_MS; ms += LOOK_MS) {
    counts.push(count());
    await sleep(LOOK_MS);
  }
  const looks = 1000 / LOOK_MS;
  return Math.max(...counts.map((each, index) => each - (counts[index - looks] ?? counts[0] ?? 0)));
}
