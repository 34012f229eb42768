/** `/metrics` after 10,000 pushes of 1,000 modules, over real HTTP, with as many records in the queue: how long, how large, and what counting costs. */
import { openEmbedded } from "../../src/queue/embedded.ts";
import { listen } from "../../src/listen.ts";
import { openMetrics } from "../../src/metrics/admin.ts";
import type { OutcomeLine } from "../../src/observe.ts";
import { at, clusterOf, configOf, webhook } from "../support/relay.ts";
import { type Figure, median, percentile } from "./figures.ts";
import { type Options, place, say } from "./world.ts";

const PUSHES = 10_000;
const MODULES = 1_000;
const CLUSTERS = 10;
const WEBHOOKS = 10;
const BARE = { of: "an answer without metrics", path: "/" };

export async function scraping({ quick }: Options): Promise<Figure[]> {
  const named = <T>(prefix: string, count: number, value: T) =>
    Object.fromEntries(Array.from({ length: count }, (_, nth) => [`${prefix}-${nth}`, value]));
  const config = configOf({
    webhooks: named("registry", WEBHOOKS, webhook),
    clusters: named("cluster", CLUSTERS, clusterOf({ kind: "embedded", folder: "/nowhere" })),
  });
  const metrics = openMetrics(config);
  const lines = Array.from({ length: PUSHES }, (_, nth) => linesOf(nth));
  const started = performance.now();
  for (const each of lines) for (const line of each) metrics.observer.outcome(line);
  const counting = ((performance.now() - started) * 1000) / PUSHES;

  const store = openEmbedded((await place("scraping", "queue.db")).replace(/\/queue\.db$/, ""));
  const queue = store.queue("cluster-0");
  await queue.send(Array.from({ length: PUSHES }, (_, nth) => ({ body: `{"nth":${nth}}` })));
  metrics.readings.queue("cluster-0", queue);
  metrics.readings.deadLetters("cluster-0", queue.deadLetters);
  const server = await listen({ host: "127.0.0.1", port: 0, fetch: metrics.fetch, setting: "admin" });
  try {
    say("scrapes");
    const first = await timed(`${server.url}/metrics`);
    const [times, others] = [new Array<number>(), new Array<number>()];
    for (let nth = 0; nth < (quick ? 20 : 200); nth++) {
      times.push((await timed(`${server.url}/metrics`)).ms);
      others.push((await timed(`${server.url}${BARE.path}`)).ms);
    }
    const baseline = { of: BARE.of, value: median(others) };
    const series = first.text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).length;
    const part = "scraping";
    return [
      { part, name: "first scrape, which asks the queue", unit: "ms", value: first.ms, targets: [{ of: "value", max: 1_000 }] },
      { part, name: "scrape, median", unit: "ms", value: median(times), baseline, targets: [{ of: "value", max: 100 }] },
      { part, name: "scrape, p99", unit: "ms", value: percentile(times, 0.99) },
      { part, name: `series of ${WEBHOOKS} webhooks and ${CLUSTERS} clusters`, unit: "", value: series },
      { part, name: "size of an answer", unit: "KiB", value: first.text.length / 1024 },
      { part, name: "counting a push (3 lines)", unit: "ms", value: counting / 1000 },
    ];
  } finally {
    await server.stop();
    await store.close();
  }
}

function linesOf(nth: number): OutcomeLine[] {
  const about = { key: `key-${nth}`, module: `module-${nth % MODULES}`, tag: `tag-${nth}`, cluster: `cluster-${nth % CLUSTERS}` };
  const push = { ...about, webhook: `registry-${nth % WEBHOOKS}`, receivedAt: at(0) };
  return [
    { event: "delivery", outcome: "QUEUED", ...push, ms: nth % 40 },
    { event: "record", outcome: "NUDGED", ...push, nudge: 0, patchedAt: at(1) },
    { event: "record", outcome: "PICKED_UP", ...push, pushToPickedUpMs: nth },
  ];
}

async function timed(url: string): Promise<{ ms: number; text: string }> {
  const started = performance.now();
  const text = await (await fetch(url)).text();
  return { ms: performance.now() - started, text };
}
