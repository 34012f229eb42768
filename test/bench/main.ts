/** The benchmark: measures part by part, then prints a table, or JSON with --json. Progress goes to stderr. */
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { acknowledge } from "./acknowledge.ts";
import { bundles } from "./bundles.ts";
import { burst } from "./burst.ts";
import { clusters } from "./clusters.ts";
import { footprint } from "./footprint.ts";
import { type Figure, toJson, toTable } from "./figures.ts";
import { patched } from "./patched.ts";
import { scraping } from "./scraping.ts";
import { sweeping } from "./sweeping.ts";
import { waiting } from "./waiting.ts";
import { type Options, say } from "./world.ts";

const PARTS: Readonly<Record<string, (options: Options) => Promise<Figure[]>>> = {
  bundles,
  acknowledge,
  patched,
  burst,
  clusters,
  waiting,
  footprint,
  sweeping,
  scraping,
};

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    real: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    profile: { type: "boolean", default: false },
    only: { type: "string", default: Object.keys(PARTS).join(",") },
  },
});

const figures: Figure[] = [];
const load = loadavg()[0] ?? 0;
for (const name of values.only.split(",")) {
  const part = PARTS[name];
  if (!part) throw new Error(`no part "${name}"; there are: ${Object.keys(PARTS).join(", ")}`);
  say(name);
  try {
    figures.push(...(await part(values)));
  } catch (error) {
    say(`${name} failed, the other parts go on: ${error instanceof Error ? error.stack : String(error)}`);
    process.exitCode = 1;
  }
}
const machine = { node: process.version, cores: cpus().length, model: cpus()[0]?.model ?? "", loadBefore: load };
if (values.json) console.log(JSON.stringify({ machine, figures: toJson(figures) }, null, 2));
else console.log(`Node ${machine.node}, ${machine.cores} cores, load before: ${load.toFixed(1)}\n\n${toTable(figures)}`);
