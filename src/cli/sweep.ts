/** `mpo-relay sweep`: does each override hold what its tag names? What is behind is queued, to be renewed as after a push. */
import { Command } from "commander";
import type { RelayConfig } from "../config.ts";
import { openCluster } from "../consumer.ts";
import { encode } from "../event.ts";
import { openQueues } from "../queues.ts";
import { createRegistry } from "../registries.ts";
import type { Registry } from "../registry/registry.ts";
import { createSecretReader } from "../secrets.ts";
import { hearingsOf } from "../silence.ts";
import { SWEEP_STATES } from "../outcome.ts";
import { sweep, type SweepRow, type Swept } from "../sweep.ts";
import { countsOf, nameOf, patienceOf } from "../sweeper.ts";
import { configOption, configured, kubernetesOf } from "./configuration.ts";
import { counted, Failure, messageOf, oneLine, span, table, type Terminal } from "./terminal.ts";

interface Options {
  config?: string;
  cluster?: string[];
  dryRun?: true;
  json?: true;
}
interface Result extends Swept {
  readonly cluster: string;
  /** Names of sources whose webhook is silent. */
  readonly silent: readonly string[];
  readonly queued: number;
  /** How long what is queued waits for its delivery. */
  readonly graceMs: number;
}

const TOLD_EVERY_MS = 2_000;
/** What it goes by where `tuning.sweep` is off: the default. */
const BY_HAND_MS = 300_000;

export function sweepCommand(terminal: Terminal): Command {
  return new Command("sweep")
    .summary("does each override hold what its tag names?")
    .description(
      "Asks the registries (`registry:` at the sources) what each override's tag names, and compares it with what Deckhouse runs. What is\n" +
        "behind is put into the cluster's queue and renewed like any push, after a grace in which its delivery may still come. `serve`, `worker`\n" +
        "and the function `sweep` do the same by themselves, every `tuning.sweep`.",
    )
    .addOption(configOption())
    .option("--cluster <name...>", "only these (default: every cluster that has `kubernetes`)")
    .option("--dry-run", "look and tell, queue nothing")
    .option("--json", "print { clusters: [{ cluster, counts, queued, silent, troubles, overrides: […] }], failed } on stdout")
    .addHelpText(
      "after",
      "\nStates: push (current, its last change came by a delivery), polling (current, no delivery was seen), behind, unserved (below no source\n" +
        "of the configuration), unknown (nobody can tell, with the reason).\n\n" +
        "Exit codes: 0 nothing is behind, 1 a cluster or a registry could not be asked, 2 wrong call or configuration, 3 something is behind.\n\n" +
        "Example:\n  mpo-relay sweep --dry-run",
    )
    .action((options: Options) => run(options, terminal));
}

async function run(options: Options, terminal: Terminal): Promise<void> {
  const config = await configured(options.config, terminal);
  const clusters = options.cluster ?? Object.keys(config.clusters).filter((name) => config.clusters[name]?.kubernetes);
  for (const name of clusters) kubernetesOf(config, name);
  if (clusters.length === 0)
    throw new Failure(2, "no cluster of the configuration has `kubernetes`", "run it where the worker runs, with its configuration");
  const registry = createRegistry(config.sources, createSecretReader({ env: terminal.env }));
  const results: Result[] = [];
  const failed: string[] = [];
  for (const cluster of clusters) {
    try {
      results.push(await sweepOne(cluster, config, registry, options, terminal));
    } catch (error) {
      failed.push(cluster);
      terminal.err(`${cluster}: ${messageOf(error)}`);
    }
  }
  if (options.json) terminal.out(JSON.stringify({ clusters: results.map(jsonOf), failed }));
  else tell(results, options, terminal);
  if (results.some(({ rows }) => rows.some(({ state }) => state === "behind"))) throw new Failure(3);
  if (failed.length > 0) throw new Failure(1, `could not sweep ${failed.join(", ")}`);
  if (results.some(({ troubles }) => troubles.length > 0)) throw new Failure(1, "not every registry could be asked");
}

async function sweepOne(cluster: string, config: RelayConfig, registry: Registry, options: Options, terminal: Terminal): Promise<Result> {
  const { sources, tuning } = config;
  const { now } = terminal;
  const overrides = openCluster(config, cluster);
  try {
    const swept = await sweep({ cluster, sources, overrides, registry, now }, { progress: progressOf(cluster, terminal) });
    const requests = swept.rows.flatMap(({ request }) => (request ? [request] : []));
    const { graceMs, ...patience } = patienceOf(tuning.sweepMs || BY_HAND_MS);
    if (!options.dryRun && requests.length > 0)
      await store(
        cluster,
        config,
        terminal,
        requests.map((request) => ({ body: encode(request), delaySeconds: graceMs / 1000 })),
      );
    const hearings = hearingsOf(
      swept.rows.map(({ override }) => override),
      cluster,
      sources,
      now(),
      patience,
    );
    const silent = hearings.flatMap(({ source, missed }) => (missed.length > 0 ? [nameOf(source)] : []));
    return { ...swept, rows: swept.rows.map(asCounted), cluster, silent, queued: options.dryRun ? 0 : requests.length, graceMs };
  } finally {
    overrides.close();
  }
}

/** What is queued is behind for whoever asks, also where the metrics wait for a mirror that may be late. */
const asCounted = (row: SweepRow): SweepRow => (row.request === null ? row : { ...row, state: "behind" });

async function store(
  cluster: string,
  config: RelayConfig,
  { env }: Terminal,
  records: { body: string; delaySeconds: number }[],
): Promise<void> {
  const silent = { outcome() {}, alarm() {} };
  const queues = await openQueues(config, { clusters: [cluster], unparsed: false, as: "guest", observer: silent, env });
  try {
    await queues.of(cluster).send(records);
  } finally {
    await queues.close();
  }
}

/** A line now and then where it takes its time. */
function progressOf(cluster: string, { err, now }: Terminal): (done: number, all: number) => void {
  let toldAt = now().getTime();
  return (done, all) => {
    if (now().getTime() - toldAt < TOLD_EVERY_MS || done === all) return;
    toldAt = now().getTime();
    err(`${cluster}: ${done} of ${all} looked at`);
  };
}

function tell(results: readonly Result[], { dryRun }: Options, terminal: Terminal): void {
  const rows = results.flatMap((result) => result.rows);
  if (rows.length > 0) terminal.out(table(["CLUSTER", "OVERRIDE", "STATE", "SOURCE", "HOLDS", "TAG NAMES", "WHY"], rows.map(cellsOf)));
  for (const { cluster, rows: own, queued, graceMs, silent, troubles } of results) {
    const counts = countsOf(own);
    const states = SWEEP_STATES.map((state) => `${state} ${counts[state]}`).join(", ");
    terminal.out(`${cluster}: ${counted(own.length, "override")}: ${states}`);
    if (queued > 0)
      terminal.out(`${cluster}: ${queued} queued, and nudged in ${span(graceMs)} unless a delivery comes first: mpo-relay history`);
    const left = own.filter(({ request }) => request !== null).length;
    if (dryRun && left > 0) terminal.out(`${cluster}: ${left} would be queued`);
    for (const source of silent) terminal.out(`${cluster}: the webhook of ${source} is silent: a push came that it did not tell of`);
    for (const { source, why } of troubles) terminal.err(`${cluster}: ${nameOf(source)}: ${oneLine(why)}`);
  }
}

const SHORT = 19; // sha256: and the first twelve
const cellsOf = ({ cluster, override, state, source, names, why }: SweepRow) => [
  cluster,
  `${override.name}:${override.imageTag}`,
  state,
  source ? nameOf(source) : "",
  override.status.imageDigest?.slice(0, SHORT) ?? "",
  names?.slice(0, SHORT) ?? "",
  (why ?? "").slice(0, 160),
];

function jsonOf({ cluster, rows, troubles, silent, queued }: Result) {
  const overrides = rows.map(({ override, state, source, names, why, request }) => ({
    module: override.name,
    tag: override.imageTag,
    state,
    source: source && nameOf(source),
    holds: override.status.imageDigest,
    names,
    why,
    key: request?.key ?? null,
  }));
  return {
    cluster,
    counts: countsOf(rows),
    queued,
    silent,
    troubles: troubles.map(({ source, why }) => ({ source: nameOf(source), why })),
    overrides,
  };
}
