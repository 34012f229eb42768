/** What a cold start of the Lambda functions costs: bytes that are read at import, and the time of it. */
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import * as z from "zod";
import { type Figure, median } from "./figures.ts";
import { SOURCE } from "./sender.ts";
import { environment, folder, type Options, place, say } from "./world.ts";

const run = promisify(execFile);

const config = {
  webhooks: { bench: { provider: "distribution", secret: "env:BENCH_SECRET" } },
  sources: [{ repo: SOURCE }],
  clusters: {
    dev: { queue: "https://sqs.us-east-1.amazonaws.com/123456789012/dev", kubernetes: { kubeconfig: "env:KUBECONFIG_TEXT" } },
  },
  unparsed: "https://sqs.us-east-1.amazonaws.com/123456789012/unparsed",
};
/** Times the import alone, not the start of Node. */
const TIMER = "const t = performance.now(); await import(process.argv[1]); console.error(performance.now() - t); process.exit()";
/** What is read at import beside the entry and its static chunks: the queue's adapter, which the configuration chooses. */
const ADAPTER = "src/queue/sqs.ts";

export async function bundles({ quick }: Options): Promise<Figure[]> {
  const runs = quick ? 3 : 15;
  const nothing = await place("nothing.mjs");
  await writeFile(nothing, "");
  const files = { nothing, edge: join(folder, "dist/lambda/edge.mjs"), consumer: join(folder, "dist/lambda/consumer.mjs") };
  const times = { nothing: new Array<number>(), edge: new Array<number>(), consumer: new Array<number>() };
  say(`import of the bundles, ${runs} fresh processes each`);
  for (let index = 0; index < runs; index++) {
    for (const name of ["nothing", "edge", "consumer"] as const) times[name].push(await importTime(files[name]));
  }
  const baseline = { of: "an empty module", value: median(times.nothing) };
  const sizes = await outputs();
  return (["edge", "consumer"] as const).flatMap((name): Figure[] => {
    const isEdge = name === "edge";
    const time: Figure = { part: "cold start", name: `${name}: import`, unit: "ms", value: median(times[name]), baseline };
    const size = bytesOf(sizes, `functions/${name}.ts`, name) / 1024;
    const chosen = bytesOf(sizes, ADAPTER, name, `functions/${name}.ts`) / 1024;
    const total = { of: "the whole bundle", value: totalOf(sizes, name) / 1024 };
    const read: Figure = { part: "cold start", name: `${name}: entry and static chunks`, unit: "KiB", value: size, baseline: total };
    const all: Figure = { part: "cold start", name: `${name}: the same and the SQS adapter`, unit: "KiB", value: chosen, baseline: total };
    return [
      isEdge ? { ...time, targets: [{ of: "value", max: 100 }] } : time,
      read,
      isEdge ? { ...all, targets: [{ of: "value", max: 500 }] } : all,
    ];
  });
}

async function importTime(file: string): Promise<number> {
  const env = environment({
    MPO_RELAY_CONFIG: JSON.stringify(config),
    MPO_RELAY_CLUSTER: "dev",
    KUBECONFIG_TEXT: "{}",
  });
  const { stderr } = await run(process.execPath, ["--input-type=module", "--eval", TIMER, file], { env });
  return Number(stderr.trim().split("\n").at(-1));
}

const meta = z.object({
  lambda: z.record(
    z.string(),
    z.object({
      bytes: z.number(),
      entryPoint: z.string().optional(),
      imports: z.array(z.object({ path: z.string(), kind: z.string() })),
    }),
  ),
});
type Outputs = z.infer<typeof meta>["lambda"];

const outputs = async (): Promise<Outputs> => meta.parse(JSON.parse(await readFile(join(folder, "dist/meta.json"), "utf8"))).lambda;
/** Each function has its entry and a folder of chunks. */
const isOf = (path: string, name: string) => path === `dist/lambda/${name}.mjs` || path.startsWith(`dist/lambda/${name}/`);

/** Bytes of the outputs made from these sources, with all that they import statically. */
function bytesOf(all: Outputs, ...[first, name, ...more]: readonly [string, string, ...string[]]): number {
  const roots = [first, ...more];
  const waiting = Object.keys(all).filter((path) => isOf(path, name) && roots.includes(all[path]?.entryPoint ?? ""));
  if (waiting.length !== roots.length) throw new Error(`dist/meta.json: not all of ${roots.join(", ")} is in the bundle ${name}`);
  const read = new Set<string>();
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (read.has(path)) continue;
    read.add(path);
    waiting.push(...(all[path]?.imports.filter(({ kind }) => kind === "import-statement").map((each) => each.path) ?? []));
  }
  return sum([...read].map((path) => all[path]?.bytes ?? 0));
}

const totalOf = (all: Outputs, name: string) => sum(Object.entries(all).map(([path, { bytes }]) => (isOf(path, name) ? bytes : 0)));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
