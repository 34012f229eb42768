/** What `adopt` and `restore` share: which overrides, a table of what would be done with each, a question, one patch for each, and the journal. */
import { type Command, Option } from "commander";
import { entryAbout, writeChange } from "../adopt.ts";
import { type Change, type Plan, shown } from "../adoption.ts";
import type { Override, Overrides } from "../cluster/overrides.ts";
import type { RelayConfig } from "../config.ts";
import type { Act } from "../journal/journal.ts";
import { RelayError } from "../outcome.ts";
import { type ActOptions, type Acts, openActs, withActOptions } from "./acts.ts";
import { atCluster, type ClusterOptions, type OpenCluster, withClusterOptions } from "./cluster-options.ts";
import { find } from "./override.ts";
import { counted, Failure, messageOf, oneLine, table, type Terminal, untilInterrupted } from "./terminal.ts";

export interface IntervalOptions extends ClusterOptions, ActOptions {
  readonly dryRun?: true;
  readonly yes?: true;
  readonly json?: true;
}

/** `act` is what is done, `decide` what is to be done with one override. */
export interface Job {
  readonly act: Extract<Act, "ADOPTED" | "RESTORED">;
  /** `lengthen the scan interval of`, for the question. */
  readonly what: string;
  readonly decide: (seen: Override) => Plan;
}

/** What `--json` prints. `outcome` is WOULD where it was not asked to be done, or nobody agreed. */
interface Row {
  readonly module: string;
  readonly tag: string;
  readonly now: string | null;
  readonly next: string | null;
  outcome: Job["act"] | "WOULD" | "LEFT" | "FAILED";
  why: string;
  readonly commit: string | null;
  readonly isDone: boolean;
}

export function intervalCommand(command: Command): Command {
  return withActOptions(withClusterOptions(command))
    .argument("[modules...]", "names of modules; default: every override of the cluster that it can be done with")
    .addOption(new Option("--dry-run", "show the table and write nothing"))
    .option("--yes", "do it without asking; where nobody can be asked, nothing is written without it")
    .option("--json", "print one JSON object on stdout at the end");
}

/** `jobOf` gets the overrides that it is about. */
export function runJob(
  modules: readonly string[],
  options: IntervalOptions,
  terminal: Terminal,
  open: OpenCluster,
  jobOf: (all: readonly Override[], config: RelayConfig | null) => Promise<Job>,
): Promise<void> {
  return untilInterrupted((interrupted) =>
    atCluster(options, terminal, open, async (overrides, config) => {
      const acts = config && openActs(config, options, terminal);
      try {
        const all = await wanted(modules, overrides);
        const job = await jobOf(all, config);
        await run(job, all, { overrides, acts, options, terminal, interrupted, isNamed: modules.length > 0 });
      } finally {
        await acts?.close();
      }
    }),
  );
}

async function wanted(modules: readonly string[], overrides: Overrides): Promise<Override[]> {
  const names = [...new Set(modules)];
  if (names.length > 0) return Promise.all(names.map((name) => find(name, overrides)));
  try {
    return (await overrides.list()).toSorted((a, b) => a.name.localeCompare(b.name));
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== "FORBIDDEN") throw error;
    throw new Failure(1, `overrides cannot be listed: ${oneLine(error.message)}`, "name the modules, or grant the verb list");
  }
}

interface Place {
  readonly overrides: Overrides;
  readonly acts: Acts | null;
  readonly options: IntervalOptions;
  readonly terminal: Terminal;
  readonly interrupted: AbortSignal;
  readonly isNamed: boolean;
}

async function run(job: Job, all: readonly Override[], place: Place): Promise<void> {
  const { options, terminal, overrides, isNamed } = place;
  const rows = all.map((seen) => rowOf(seen, job.decide(seen)));
  const due = rows.filter(({ outcome }) => outcome === "WOULD");
  if (!options.json) show(rows, terminal);
  const isAsked = due.length > 0 && options.dryRun !== true;
  const question = `${job.what} ${counted(due.length, "override")} in ${overrides.cluster}`;
  if (isAsked && !options.yes && (options.json || !(await isConfirmed(question, place))))
    throw new Failure(2, oneLine(`nothing was done; it would ${question}`), "say --yes to do it, or --dry-run to see it alone");
  if (isAsked) for (const row of due) await act(row, job, place);
  if (options.json) terminal.out(JSON.stringify({ cluster: overrides.cluster, overrides: rows.map(({ isDone: _isDone, ...row }) => row) }));
  const isBad = ({ outcome, isDone }: Row) =>
    outcome === "FAILED" || (isNamed && outcome === "LEFT" && !isDone) || (isAsked && outcome === "WOULD");
  const bad = options.dryRun ? [] : rows.filter(isBad);
  if (bad.length > 0) throw new Failure(1, `not done: ${bad.map(({ module, why }) => oneLine(`${module} (${why})`)).join(", ")}`);
  if (due.length === 0 && !options.json) terminal.out("nothing to do");
}

function rowOf(seen: Override, plan: Plan): Row {
  const own = { module: seen.name, tag: seen.imageTag, now: seen.scanInterval, why: plan.why };
  if (plan.kind === "left") return { ...own, next: seen.scanInterval, outcome: "LEFT", commit: plan.commit ?? null, isDone: plan.isDone };
  return { ...own, next: nextOf(seen, plan), outcome: "WOULD", commit: null, isDone: false };
}

const nextOf = (seen: Override, { interval }: Change) => (interval === undefined ? seen.scanInterval : interval);

function show(rows: readonly Row[], terminal: Terminal): void {
  const cells = rows.map(({ module, tag, now, next, outcome, why }) => [
    module,
    tag,
    shown(now),
    outcome === "LEFT" ? "-" : shown(next),
    why,
  ]);
  terminal.out(rows.length === 0 ? "there is no override" : table(["MODULE", "TAG", "NOW", "THEN", "WHY"], cells));
  for (const { module, commit } of rows) if (commit !== null) terminal.out(oneLine(`commit where ${module} is kept: ${commit}`));
}

async function isConfirmed(question: string, { terminal, interrupted }: Place): Promise<boolean> {
  const answer = await terminal.ask?.(`${question}? Type yes: `, interrupted);
  return answer?.trim() === "yes";
}

/** Decides anew on what stands there by now: the person has read the table for a while. */
async function act(row: Row, job: Job, { overrides, acts, options, terminal, interrupted }: Place): Promise<void> {
  if (interrupted.aborted) return;
  const { module } = row;
  const tell = options.json ? () => {} : (text: string) => terminal.out(oneLine(text));
  try {
    let last: Plan | null = null;
    const done = await writeChange(module, overrides, (seen) => (last = job.decide(seen)));
    if (done === null) {
      row.outcome = "FAILED";
      row.why = whyLeft(last);
      return tell(`${module}: left, ${row.why}`);
    }
    row.outcome = job.act;
    const at = terminal.now();
    const webhook = `(mpo-relay ${job.act === "ADOPTED" ? "adopt" : "restore"})`;
    const entry = entryAbout({ cluster: overrides.cluster, ...done, act: job.act, webhook, at, detail: {} });
    tell(`${job.act.toLowerCase()} ${module}: ${String(entry.detail["change"])}`);
    await acts?.note(entry, job.act, at, entry.detail);
  } catch (error) {
    row.outcome = "FAILED";
    row.why = messageOf(error);
    tell(`${module}: ${row.why}`);
  }
}

const whyLeft = (plan: Plan | null) => (plan === null ? "it is gone" : plan.why);
