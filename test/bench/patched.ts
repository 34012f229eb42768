/**
 * From sending the webhook until the override carries the annotation, and until its status shows the digest. One push at a time, each for
 * another override: no cool-down is met. Deckhouse's stand-in deploys in no time; what a real one takes for it comes on top.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Cluster, realOne, standIn } from "./cluster.ts";
import { startDeckhouse } from "./deckhouse.ts";
import { type Figure, median, percentile } from "./figures.ts";
import { startServe } from "./relay.ts";
import { pushOf, Sender, TAG } from "./sender.ts";
import { type Options, say } from "./world.ts";

const WARM_UP = 50;
/** At the default of 50 patches/s the next one waits; a registry that sends one push now and then never meets that. */
const GAP_MS = 25;
const PATIENCE_MS = 30_000;
/** Looks are no part of this measurement. */
export const TUNING = { looks: ["1h"] };

export async function patched(options: Options): Promise<Figure[]> {
  const figures = await measure("stand-in", await standIn(), options);
  return options.real ? [...figures, ...(await measure("kube-apiserver", await realOne(), options))] : figures;
}

async function measure(name: string, cluster: Cluster, { quick, profile }: Options): Promise<Figure[]> {
  const total = WARM_UP + (quick ? 50 : 500);
  const [pushed, bare] = [names("pushed", total), names("bare", total)];
  say(`push → patched on the ${name}: ${total} overrides, twice`);
  try {
    await cluster.create([...pushed, ...bare]);
    const relay = await startServe(`serve-${name}`, cluster, { tuning: TUNING, profile });
    try {
      const { relayed, alone } = await alternate(cluster, relay.port, pushed, bare);
      return SHARES.flatMap((share) => {
        const baseline = { of: "bare GET + PATCH", value: percentile(alone, share) };
        const figure = { part: "push → patched", unit: "ms", baseline } as const;
        return [
          {
            ...figure,
            name: `${name}: p${share * 100}`,
            value: percentile(relayed.map(patchedMs), share),
            ...(share === 0.5 && { targets: [{ of: "ratio" as const, max: 3 }] }),
          },
          { ...figure, name: `${name}, and picked up: p${share * 100}`, value: percentile(relayed.map(pickedUpMs), share) },
        ];
      });
    } finally {
      await relay.stop("SIGTERM");
    }
  } finally {
    await cluster.close();
  }
}

/** A push and a bare GET + PATCH take turns, so that whatever else the machine does weighs on both alike. */
async function alternate(cluster: Cluster, port: number, pushed: readonly string[], bare: readonly string[]) {
  const relayed: Took[] = [];
  const alone: number[] = [];
  const pusher = await createPusher(cluster, port);
  for (const [index, name] of pushed.entries()) {
    relayed.push(await pusher.push(name));
    await sleep(GAP_MS);
    alone.push(await getAndPatch(cluster, bare[index] ?? ""));
  }
  pusher.close();
  say(`medians over time: ${[0, 1, 2, 3].map((quarter) => median(quarterOf(relayed.map(patchedMs), quarter)).toFixed(2)).join(", ")} ms`);
  return { relayed: relayed.slice(WARM_UP), alone: alone.slice(WARM_UP) };
}

/** Milliseconds from sending the webhook. */
export interface Took {
  readonly patched: number;
  readonly pickedUp: number;
}
export const patchedMs = ({ patched }: Took): number => patched;
export const pickedUpMs = ({ pickedUp }: Took): number => pickedUp;

export interface Pusher {
  /** Until this override, which had no nudge yet, is patched, and until it shows the digest. Before it, a gap. */
  push(module: string): Promise<Took>;
  close(): void;
}

export async function createPusher(cluster: Cluster, port: number): Promise<Pusher> {
  const sender = new Sender(`http://127.0.0.1:${port}/hooks/bench`);
  const tags = new Map<string, { readonly digest: string }>();
  const waiting = new Map<string, (isPickedUp: boolean) => void>();
  await startDeckhouse(cluster, tags);
  await cluster.watch(({ metadata: { name, annotations }, status }) => {
    if ("mpo-relay/key" in annotations) waiting.get(name)?.(status.imageDigest === tags.get(name)?.digest);
  });
  return {
    async push(module) {
      await sleep(GAP_MS);
      const { body, digest } = pushOf(module);
      tags.set(module, { digest });
      const sent = performance.now();
      const took = new Promise<Took>((resolve, reject) => {
        const patience = setTimeout(() => reject(new Error(`${module} was not picked up within ${PATIENCE_MS} ms`)), PATIENCE_MS);
        let patched: number | null = null;
        waiting.set(module, (isPickedUp) => {
          const now = performance.now() - sent;
          patched ??= now;
          if (isPickedUp) resolve((clearTimeout(patience), { patched, pickedUp: now }));
        });
      });
      await Promise.all([took, sender.send(body)]);
      waiting.delete(module);
      return took;
    },
    close: () => sender.close(),
  };
}

/** The same two requests with as many annotations, over one kept connection and nothing else. */
async function getAndPatch(cluster: Cluster, name: string): Promise<number> {
  const started = performance.now();
  const { metadata } = await cluster.get(name);
  const annotations = {
    renew: "0123456789abcdef0123456789abcdef",
    "mpo-relay/key": "0123456789abcdef0123456789abcdef",
    "mpo-relay/digest": `sha256:${"0".repeat(64)}`,
    "mpo-relay/at": new Date().toISOString(),
    "mpo-relay/pushed": JSON.stringify({ webhook: "bench", time: new Date().toISOString(), received: new Date().toISOString(), tag: TAG }),
  };
  await cluster.patch(name, { metadata: { resourceVersion: metadata.resourceVersion, annotations } });
  return performance.now() - started;
}

export const names = (kind: string, count: number) => Array.from({ length: count }, (_, index) => `${kind}-${index}`);
export const SHARES = [0.5, 0.99] as const;
const quarterOf = (values: readonly number[], quarter: number) =>
  values.slice((quarter * values.length) / 4, ((quarter + 1) * values.length) / 4);
