/** A flood of notifications with few real pushes among them, into the built program. What lies in its queue afterwards is what counts. */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { decode } from "../../src/event.ts";
import { openEmbedded } from "../../src/queue/embedded.ts";
import type { QueueRecord } from "../../src/queue/queue.ts";
import { median, percentile } from "../bench/figures.ts";
import { cpuOf, memoryOf } from "../bench/world.ts";
import { freePort, serve, temporaryFolder } from "../e2e/parts/child.ts";
import { openRegistry, openTemplates, SOURCE } from "./registry.ts";

const REGISTRIES = 4; // replicas of one registry: each sends for itself
const TICK_MS = 20;

export interface FloodOptions {
  /** The built program. */
  readonly cli: string;
  readonly seconds: number;
  readonly noisePerSecond: number;
  readonly pushEverySeconds: number;
}
export interface Flooded {
  readonly noise: number;
  /** Digests, in the order in which they were pushed. */
  readonly pushed: readonly string[];
  /** Digests of the records in the queue, in its order, the repetitions of a delivery that was sent again left out. */
  readonly queued: readonly (string | null)[];
  /** Letters of unreadable deliveries. */
  readonly unparsed: number;
  readonly late: number;
  readonly refused: number;
  readonly waiting: number;
  readonly answerMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Of one core. */
  readonly cpuPercent: number;
  /** Resident, in megabytes: after the first tenth, at the end, at its highest. */
  readonly memoryMb: { readonly early: number; readonly end: number; readonly peak: number };
  readonly logLines: number;
}

export async function flood({ cli, seconds, noisePerSecond, pushEverySeconds }: FloodOptions): Promise<Flooded> {
  const folder = await temporaryFolder("flood");
  const port = await freePort();
  const secret = randomBytes(24).toString("hex");
  const url = `http://127.0.0.1:${port}`;
  const [config, log, data] = [join(folder.path, "relay.json"), join(folder.path, "relay.log"), join(folder.path, "data")];
  const file = {
    webhooks: { registry: { provider: "distribution", secret: "env:FLOOD_SECRET" } },
    sources: [{ repo: SOURCE }],
    clusters: { dev: { queue: `embedded:${data}` } }, // without `kubernetes` nobody takes the records out
    listen: { host: "127.0.0.1", port },
  };
  await writeFile(config, JSON.stringify(file));
  const relay = await serve({
    name: "mpo-relay serve",
    command: process.execPath,
    args: [cli, "serve", "--config", config],
    env: { PATH: process.env["PATH"], FLOOD_SECRET: secret },
    log,
    ready: async () => (await fetch(`${url}/readyz`)).ok,
  });
  try {
    const registries = Array.from({ length: REGISTRIES }, () => openRegistry(`${url}/hooks/registry`, secret));
    const templates = await openTemplates();
    const pushed: string[] = [];
    const began = Date.now();
    const cpuBefore = await cpuOf(relay.pid);
    let early = 0;
    let told = 0;
    for (let elapsed = 0; elapsed < seconds; elapsed = (Date.now() - began) / 1000) {
      for (; told < elapsed * noisePerSecond; told++) registries[told % REGISTRIES]?.tell(templates.noise());
      // not at a full interval: the last one has time to arrive while noise still comes
      if (elapsed > (pushed.length + 0.5) * pushEverySeconds) {
        const { body, digest } = templates.push(`module-${pushed.length % 3}`);
        registries[pushed.length % REGISTRIES]?.tell({ body, digest });
        pushed.push(digest ?? "");
      }
      if (early === 0 && elapsed > seconds / 10) early = (await memoryOf(relay.pid)).now;
      await sleep(TICK_MS);
    }
    const all = await Promise.all(registries.map((registry) => registry.close()));
    const cpuPercent = ((await cpuOf(relay.pid)) - cpuBefore) / 10 / ((Date.now() - began) / 1000);
    const { now: end, peak } = await memoryOf(relay.pid);
    await relay.stop("SIGTERM");
    const sum = (field: "noise" | "late" | "refused") => all.reduce((total, each) => total + each[field], 0);
    const times = all.flatMap((each) => each.times);
    const logLines = (await readFile(log, "utf8")).split("\n").length - 1;
    return {
      noise: sum("noise"),
      pushed,
      ...(await leftIn(data)),
      late: sum("late"),
      refused: sum("refused"),
      waiting: Math.max(...all.map(({ waiting }) => waiting)),
      answerMs: { p50: median(times), p99: percentile(times, 0.99), max: Math.max(...times) },
      cpuPercent,
      memoryMb: { early, end, peak },
      logLines,
    };
  } finally {
    await relay.stop();
    await folder.remove();
  }
}

/** Everything that lies in the folder's queues. */
async function leftIn(folder: string): Promise<Pick<Flooded, "queued" | "unparsed">> {
  const store = openEmbedded(folder, { create: false });
  try {
    const queue = store.queue("dev");
    const records: QueueRecord[] = [];
    for (let more = true; more;) {
      const some = await queue.receive({ max: 100, waitSeconds: 0, visibilitySeconds: 600 });
      records.push(...some);
      more = some.length > 0;
    }
    const queued = new Map<string, string | null>();
    for (const { body } of records.toSorted((a, b) => a.sentAt.localeCompare(b.sentAt))) {
      const read = decode(body);
      const [key, digest] = read.kind === "request" ? [read.request.key, read.request.digest] : [body, body];
      if (!queued.has(key)) queued.set(key, digest);
    }
    return { queued: [...queued.values()], unparsed: await store.queue("unparsed").deadLetters.count() };
  } finally {
    await store.close();
  }
}

/** For people: what came of it, and what it cost. */
export function describe(each: Flooded): string {
  const { noise, pushed, queued, late, refused, waiting, answerMs, cpuPercent, memoryMb } = each;
  const inOrder = JSON.stringify(pushed) === JSON.stringify(queued) ? "in order" : "NOT AS PUSHED";
  return [
    `${noise} noise events and ${pushed.length} pushes; ${queued.length} records in the queue, ${inOrder}; ${each.unparsed} unreadable`,
    `answers p50 ${answerMs.p50.toFixed(1)} ms, p99 ${answerMs.p99.toFixed(1)} ms, slowest ${answerMs.max.toFixed(0)} ms; ${late} after the sender's timeout, ${refused} refused, at most ${waiting} waiting in a registry`,
    `relay: ${cpuPercent.toFixed(1)} % of a core; memory ${memoryMb.early.toFixed(0)} MB early, ${memoryMb.end.toFixed(0)} MB at the end, ${memoryMb.peak.toFixed(0)} MB at most; ${each.logLines} log lines`,
  ].join("\n");
}
