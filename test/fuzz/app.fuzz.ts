/** The run itself; started and summed up by run.mjs. An execution follows from the seed and its number alone. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Random } from "../model/random.ts";
import { openEveryRegistry } from "../support/every-registry.ts";
import { type Mutated, mutated } from "./mutate.ts";
import { wrongWith } from "./verdict.ts";

const { MPO_RELAY_FUZZ_SECONDS: seconds = "10", MPO_RELAY_FUZZ_SEED: seed = "1", MPO_RELAY_FUZZ_ONLY: only = "" } = process.env;
const FOLDER = "fuzz-findings";
const MOST_CPU_MS = 50;
const MOST_GROWTH_MB = 8;
const BETWEEN_LOOKS = 2000;
const MOST_FINDINGS = 50;

test("no mutation of a real delivery gets the edge into trouble", async () => {
  const everything = await openEveryRegistry();
  const findings: { execution: number; title: string; wrong: string[] }[] = [];
  const rejected: string[] = [];
  process.on("unhandledRejection", (reason) => rejected.push(String(reason)));

  const run = async (mutation: Mutated) => {
    const before = process.cpuUsage();
    const answered = await everything.send(mutation.call);
    const { user, system } = process.cpuUsage(before);
    return { answered, left: everything.take(), ms: (user + system) / 1000 };
  };
  /** Garbage collection and compilation are counted with whatever runs at that time, so what seems slow is run again. */
  const calm = async (mutation: Mutated) => {
    const first = await run(mutation);
    let { ms } = first;
    for (let again = 0; ms > MOST_CPU_MS / 2 && again < 5; again++) ms = Math.min(ms, (await run(mutation)).ms);
    return { ...first, ms };
  };

  const statuses = new Map<number, number>();
  const worst = { ms: 0, execution: 0, title: "" };
  const heap: number[] = [];
  const until = only === "" ? Date.now() + Number(seconds) * 1000 : 0;
  const first = only === "" ? 0 : Number(only);
  let executions = 0;
  do {
    const execution = first + executions;
    const mutation = mutated(new Random(Number(seed) * 1_000_003 + execution), everything);
    const wrong = await calm(mutation).then(
      ({ answered, left, ms }) => {
        statuses.set(answered.status, (statuses.get(answered.status) ?? 0) + 1);
        if (ms > worst.ms) Object.assign(worst, { ms, execution, title: mutation.title });
        const slow = ms > MOST_CPU_MS ? [`takes ${ms.toFixed(0)} ms of processor time`] : [];
        return [...wrongWith(mutation, answered, left, everything), ...slow];
      },
      (error: unknown) => [`throws ${error instanceof Error ? error.stack : String(error)}`],
    );
    wrong.push(...rejected.splice(0).map((reason) => `leaves a rejection unhandled: ${reason}`));
    if (wrong.length > 0 || only !== "") await save(execution, mutation, wrong);
    if (wrong.length > 0) findings.push({ execution, title: mutation.title, wrong });
    executions++;
    if (executions % BETWEEN_LOOKS === 0) heap.push(heapInUse());
  } while (Date.now() < until && findings.length < MOST_FINDINGS);

  const growth = heap.length > 1 ? (heap.at(-1) ?? 0) - (heap[0] ?? 0) : 0;
  if (growth > MOST_GROWTH_MB)
    findings.push({ execution: 0, title: "memory", wrong: [`grows by ${growth.toFixed(1)} MB in ${executions} executions`] });
  const summary = {
    seed: Number(seed),
    executions,
    findings,
    worst,
    heapMb: heap,
    rssMb: process.memoryUsage.rss() / 1e6,
    statuses: Object.fromEntries(statuses),
  };
  await mkdir(FOLDER, { recursive: true });
  await writeFile(join(FOLDER, "summary.json"), JSON.stringify(summary, null, 2));
  expect(findings).toEqual([]);
});

async function save(execution: number, { title, call: { body, ...call } }: Mutated, wrong: readonly string[]): Promise<void> {
  await mkdir(FOLDER, { recursive: true });
  const name = join(FOLDER, `seed-${seed}-execution-${execution}`);
  await writeFile(`${name}.body`, body);
  await writeFile(`${name}.json`, JSON.stringify({ title, wrong, ...call }, null, 2));
}

function heapInUse(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1e6;
}
