/**
 * `npm run fuzz -- [--seconds 60] [--seed N] [--only EXECUTION]`: mutations of real deliveries through the whole edge, with the branches
 * of every parser counted. The same seed makes the same executions. Findings lie in fuzz-findings/; `--only` plays one again.
 */
import { spawn } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { values } = parseArgs({
  options: { seconds: { type: "string", default: "60" }, seed: { type: "string" }, only: { type: "string", default: "" } },
});
const seed = values.seed ?? String(Math.floor(Math.random() * 1e6));

await rm(`${root}fuzz-findings`, { recursive: true, force: true });
const vitest = [
  `${root}node_modules/vitest/vitest.mjs`,
  "run",
  "--root",
  root,
  "--config",
  `${root}test/fuzz/vitest.config.ts`,
  "--reporter=dot",
];
const env = { ...process.env, MPO_RELAY_FUZZ_SECONDS: values.seconds, MPO_RELAY_FUZZ_SEED: seed, MPO_RELAY_FUZZ_ONLY: values.only };
const child = spawn(process.execPath, vitest, { cwd: root, env, stdio: ["ignore", "ignore", "inherit"] });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
process.exitCode = await new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));

const json = async (path) => JSON.parse(await readFile(`${root}${path}`, "utf8"));
const summary = await json("fuzz-findings/summary.json").catch(() => null);
if (summary === null) process.exit(1); // the run itself broke, as told above
const { executions, findings, worst, heapMb, rssMb, statuses } = summary;
for (const { execution, title, wrong } of findings)
  console.log(`finding  --seed ${seed} --only ${execution}  ${title}: ${wrong.join("; ")}`);

const missed = Object.values(await json("coverage/fuzz/coverage-final.json")).flatMap(({ path, b, branchMap }) =>
  Object.entries(b).flatMap(([id, counts]) =>
    counts.map((count, arm) => ({
      count,
      at: `${relative(root, path)}:${branchMap[id].locations[arm].start.line ?? branchMap[id].loc.start.line}`,
    })),
  ),
);
const unreached = missed.filter(({ count }) => count === 0).map(({ at }) => at);
console.log(`seed ${seed}: ${executions} executions, ${findings.length} findings; answers ${JSON.stringify(statuses)}`);
console.log(`worst answer ${worst.ms.toFixed(1)} ms of processor time (execution ${worst.execution}, ${worst.title})`);
console.log(`heap ${heapMb.map((mb) => mb.toFixed(1)).join(" → ")} MB, resident ${rssMb.toFixed(0)} MB`);
console.log(
  `parsers: ${missed.length - unreached.length} of ${missed.length} branches reached${unreached.length > 0 ? `; not reached: ${unreached.join(", ")}` : ""}`,
);
