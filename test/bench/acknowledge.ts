/** How long a registry waits until its push is acknowledged, and how many pushes a second the edge takes. */
import { readFile, writeFile } from "node:fs/promises";
import autocannon from "autocannon";
import { syncTimes } from "./disk.ts";
import { type Figure, median, percentile } from "./figures.ts";
import { delivery, headers, SOURCE } from "./sender.ts";
import { cpuOf, isUp, type Options, place, say, start, type Started } from "./world.ts";

const AT_ONCE = 20;
const VARIANTS = ["bare Hono route", "discarding queue", "embedded queue", "fauxqs"] as const;
type Variant = (typeof VARIANTS)[number];

/** A cluster in the configuration. */
interface ClusterEntry {
  readonly queue: string;
  readonly endpoint?: string;
}
interface Load {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Milliseconds of processor time of the edge's process, per push. */
  readonly cpu: number;
}
interface Rounds {
  readonly many: Load[];
  readonly one: Load[];
}

/** The variants take turns, several rounds of each; the median round counts, so that a busy machine weighs on all of them alike. */
export async function acknowledge({ quick, profile }: Options): Promise<Figure[]> {
  const [rounds, seconds] = quick ? [1, 1] : [5, 3];
  const body = await delivery();
  const started = await startAll(profile);
  try {
    const measured = new Map<Variant, Rounds>(VARIANTS.map((variant) => [variant, { many: [], one: [] }]));
    const syncs: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      syncs.push(...(await syncTimes(100)));
      for (const [variant, edge] of started.edges) {
        say(`acknowledgement, ${variant}, ${round === 0 ? "warm-up" : `round ${round} of ${rounds}`}`);
        const many = await load(edge, body, AT_ONCE, seconds);
        const one = await load(edge, body, 1, seconds);
        if (round === 0) continue;
        measured.get(variant)?.many.push(many);
        measured.get(variant)?.one.push(one);
      }
    }
    const disk = ([0.5, 0.99] as const).map((share): Figure => {
      return { part: "acknowledgement", name: `the disk alone: fdatasync p${share * 100}`, unit: "ms", value: percentile(syncs, share) };
    });
    return [...disk, ...VARIANTS.flatMap((variant) => figuresOf(variant, measured))];
  } finally {
    await Promise.all([...started.edges.values(), started.fauxqs].map((process) => process.stop("SIGTERM")));
  }
}

async function startAll(profile: boolean): Promise<{ edges: Map<Variant, Started>; fauxqs: Started }> {
  const urlFile = await place("fauxqs", "url");
  const fauxqs = await start("fauxqs", "fauxqs.mjs", (port) => [String(port), urlFile], {
    profile: false,
    ready: async () => (await readFile(urlFile, "utf8")) !== "",
  });
  const sqs = { queue: await readFile(urlFile, "utf8"), endpoint: `http://127.0.0.1:${fauxqs.port}` };
  const edges = new Map<Variant, Started>();
  const edge = async (variant: Variant, kind: "bare" | "discard" | "edge", cluster: ClusterEntry) => {
    const ready = (port: number) => isUp(`http://127.0.0.1:${port}/healthz`);
    const args = async (port: number) => [kind, String(port), await configure(variant, port, cluster)];
    edges.set(variant, await start(variant.replaceAll(" ", "-"), "edge.mjs", args, { profile, ready }));
  };
  await edge("bare Hono route", "bare", sqs);
  await edge("discarding queue", "discard", sqs);
  await edge("embedded queue", "edge", { queue: "embedded:./data" });
  await edge("fauxqs", "edge", sqs);
  return { edges, fauxqs };
}

async function configure(variant: string, port: number, cluster: ClusterEntry): Promise<string> {
  const file = await place(`edge-${variant.replaceAll(" ", "-")}`, "relay.json");
  const config = {
    webhooks: { bench: { provider: "distribution", secret: "env:BENCH_SECRET" } },
    sources: [{ repo: SOURCE }],
    clusters: { dev: cluster },
    unparsed: `${cluster.queue}-unparsed`, // nothing gets there
    listen: { host: "127.0.0.1", port },
  };
  await writeFile(file, JSON.stringify(config));
  return file;
}

/** Fails where anything but a 202 comes back. */
async function load({ port, pid }: Started, body: Buffer, connections: number, duration: number): Promise<Load> {
  const times: number[] = [];
  let other = 0;
  const cpuBefore = await cpuOf(pid);
  const result = await new Promise<{ errors: number; duration: number }>((resolve, reject) => {
    const options = { url: `http://127.0.0.1:${port}/hooks/bench`, connections, duration, method: "POST", headers, body } as const;
    autocannon(options, (error, done) => (error ? reject(error) : resolve(done))).on("response", (_client, status, _bytes, ms) => {
      if (status === 202) times.push(ms);
      else other++;
    });
  });
  if (other > 0 || result.errors > 0) throw new Error(`${other} answers were no 202, and ${result.errors} requests failed`);
  const cpu = ((await cpuOf(pid)) - cpuBefore) / times.length;
  return { perSecond: times.length / result.duration, p50: median(times), p99: percentile(times, 0.99), cpu };
}

function figuresOf(variant: Variant, measured: ReadonlyMap<Variant, Rounds>): Figure[] {
  const of = (which: Variant, load: keyof Rounds, value: keyof Load) =>
    median(measured.get(which)?.[load].map((each) => each[value]) ?? []);
  const against: Variant = variant === "discarding queue" ? "bare Hono route" : "discarding queue";
  const figure = (name: string, unit: "ms" | "/s", load: keyof Rounds, value: keyof Load): Figure => ({
    part: "acknowledgement",
    name: `${variant}: ${name}`,
    unit,
    value: of(variant, load, value),
    ...(variant !== "bare Hono route" && { baseline: { of: against, value: of(against, load, value) } }),
  });
  const rate = figure(`requests at ${AT_ONCE} connections`, "/s", "many", "perSecond");
  const alone = figure("p50 one at a time", "ms", "one", "p50");
  const isDurable = variant === "embedded queue";
  return [
    isDurable
      ? {
          ...rate,
          targets: [
            { of: "ratio", min: 0.5 },
            { of: "value", min: 3000 },
          ],
        }
      : rate,
    figure(`processor time per push at ${AT_ONCE} connections`, "ms", "many", "cpu"),
    figure(`p50 at ${AT_ONCE} connections`, "ms", "many", "p50"),
    figure(`p99 at ${AT_ONCE} connections`, "ms", "many", "p99"),
    isDurable ? { ...alone, targets: [{ of: "value", max: 1.5 }] } : alone,
    figure("p99 one at a time", "ms", "one", "p99"),
  ];
}
