/**
 * `npm run chaos -- [--pushes 1000] [--seed N] [--topology elasticmq,hub,serve]`: the pushes are shared out among the topologies. The last line begins `lost 0 of <pushes>`; ends with 1 where a push was lost or a part was missing.
 */
import { parseArgs } from "node:util";
import * as z from "zod";
import { ELASTICMQ_ENV } from "../e2e/parts/elasticmq.ts";
import { chaos, type Result } from "./chaos.ts";
import { TOPOLOGIES, type TopologyName } from "./topologies.ts";
import { tellResult } from "./tell.ts";

const options = z.object({
  pushes: z.coerce.number().int().min(TOPOLOGIES.length).default(1_000),
  seed: z.coerce
    .number()
    .int()
    .min(0)
    .default(Math.floor(Math.random() * 1e6)),
  topology: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(TOPOLOGIES)))
    .default([...TOPOLOGIES]),
});
const strings = { pushes: { type: "string" }, seed: { type: "string" }, topology: { type: "string" } } as const;
const read = options.safeParse(parseArgs({ options: strings }).values);
if (!read.success) {
  console.error(`chaos: ${read.error.issues.map(({ path, message }) => `--${path.join(".")}: ${message}`).join("; ")}`);
  console.error("usage: npm run chaos -- [--pushes 1000] [--seed N] [--topology elasticmq,hub,serve]");
  process.exit(2);
}
const { pushes, seed, topology } = read.data;
const began = Date.now();
const say = (line: string) => console.error(`chaos ${Math.round((Date.now() - began) / 1000)} s: ${line}`);

// the clients of this process ask for credentials too
Object.assign(process.env, ELASTICMQ_ENV, { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" });

process.setMaxListeners(0); // each part of two runs has a folder to remove

const results: Result[] = [];
let broken = 0;

async function run(name: TopologyName, share: number, calm: () => void): Promise<void> {
  say(`${name}: ${share} pushes by seed ${seed}`);
  try {
    const result = await chaos({ name, seed, pushes: share, say: (line) => say(`${name}: ${line}`), calm, findings: "chaos-findings" });
    results.push(result);
    if (result.missing.length > 0) broken++;
    for (const line of tellResult(result)) console.log(`${name}: ${line}`);
  } catch (error) {
    broken++;
    console.log(`${name}: a part is missing: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    calm();
  }
}

// one at work at a time; what a killed worker had in hand shows again after two minutes, and the next one need not wait for that
const running: Promise<void>[] = [];
for (const [index, name] of topology.entries()) {
  const share = Math.floor(pushes / topology.length) + (index < pushes % topology.length ? 1 : 0);
  await new Promise<void>((calm) => void running.push(run(name, share, calm)));
}
await Promise.all(running);
const total = (count: (result: Result) => number) => results.reduce((sum, each) => sum + count(each), 0);
const lost = total((result) => result.lost.length);
const acknowledged = total((result) => result.acknowledged);
const missing = broken > 0 ? `; ${broken} of ${topology.length} topologies NOT WHOLE, see above` : "";
console.log(
  `lost ${lost} of ${total((result) => result.pushes)} pushes, ${acknowledged} of them acknowledged; seed ${seed}, ${Math.round((Date.now() - began) / 1000)} s${missing}`,
);
process.exit(lost > 0 || broken > 0 || acknowledged === 0 ? 1 : 0);
