/** `mpo-relay history`: what became of each push, from the journal. Reads it beside a running `serve`. */
import { setTimeout as sleep } from "node:timers/promises";
import { Command, Option } from "commander";
import type { Entry, Journal } from "../journal/journal.ts";
import { openJournal } from "../journals.ts";
import { type ClusterStory, failedOf, isBuried, type PushStory, stateOf, storiesOf } from "../story.ts";
import { clusterOf, configOption, configured, sameConfig } from "./configuration.ts";
import { duration, wholeNumber } from "./option-values.ts";
import { Failure, oneLine, span, table, type Terminal } from "./terminal.ts";

interface Options {
  config?: string;
  cluster?: string;
  key?: string;
  since: number;
  limit: number;
  follow?: true;
  failed?: true;
  json?: true;
}

const DAY_MS = 86_400_000;
const FOLLOW_EVERY_MS = 1_000;
/** Of each push some stages per cluster. */
const MOST_ENTRIES = 100_000;
/** Clocks of the processes that write differ by less. */
const OVERLAP_MS = 5_000;

export function historyCommand(terminal: Terminal, stop: AbortSignal = new AbortController().signal): Command {
  return new Command("history")
    .summary("what became of each push")
    .description(
      "Shows for each push how far it came in each cluster: queued, nudged, picked up by Deckhouse, or why not.\n" +
        "Reads the journal that the configuration names (`journal:`), also while the relay runs. It goes back 14 days.",
    )
    .argument("[module]", "only pushes of this module")
    .addOption(configOption())
    .option("--cluster <name>", "only in this cluster")
    .option("--key <key>", "this push alone, with each of its stages")
    .addOption(
      new Option("--since <duration>", "how far to look back, for example 30m, 12h or 48h").default(DAY_MS, "24h").argParser(duration),
    )
    .addOption(new Option("--limit <number>", "at most so many pushes, the latest").default(50).argParser(wholeNumber(99_999)))
    .option("--failed", "only those that somebody has to look at: what failed, and was not seen to run since")
    .option("-f, --follow", "go on, with a line for each new stage; Ctrl-C ends it")
    .option("--json", "one JSON object per line: a push, or with --follow a stage")
    .addHelpText(
      "after",
      "\nExit codes: 0 shown (also where there is nothing to show), 1 the journal cannot be read, 2 wrong call or configuration.\n\n" +
        "Examples:\n  mpo-relay history echo --since 2h\n  mpo-relay history --failed\n  mpo-relay history --follow --cluster stage",
    )
    .action(async (module: string | undefined, options: Options) => {
      const config = await configured(options.config, terminal);
      if (options.cluster !== undefined) clusterOf(config, options.cluster);
      if (!config.journal) throw new Failure(2, "the configuration names no journal", "write journal: embedded: (or embedded:./folder)");
      const journal = await openJournal(config, terminal.env);
      try {
        await (options.follow ? follow(journal, module, options, terminal, stop) : show(journal, module, options, terminal));
      } finally {
        await journal.close();
      }
    });
}

const wanted = (module: string | undefined, { cluster, key }: Options) => ({
  ...(module !== undefined && { module }),
  ...(cluster !== undefined && { cluster }),
  ...(key !== undefined && { key }),
});

async function show(journal: Journal, module: string | undefined, options: Options, terminal: Terminal): Promise<void> {
  const since = new Date(terminal.now().getTime() - options.since).toISOString();
  const entries = await journal.read({ ...wanted(module, options), ...(options.key === undefined && { since }), limit: MOST_ENTRIES });
  const stories = storiesOf(entries);
  const all = options.failed ? failedOf(stories) : stories;
  const shown = all.slice(0, options.limit).toReversed();
  if (options.json) return shown.forEach((story) => terminal.out(JSON.stringify(story)));
  if (shown.length === 0) {
    const what = options.failed ? "no push that failed" : "no push";
    return terminal.out(`${what}${options.key === undefined ? ` in the last ${span(options.since)}` : ""} (looked at: ${journal.name})`);
  }
  if (options.key !== undefined) return shown.forEach((story) => tellStages(story, terminal));
  terminal.out(table(["RECEIVED", "IMAGE", "CLUSTER", "OUTCOME", "AFTER", "KEY", "WHY"], shown.flatMap(rowsOf)));
  if (all.length > shown.length) terminal.out(`\n${all.length - shown.length} older left out (--limit)`);
  const failed = shown.findLast(({ state }) => state === "failed");
  if (failed) terminal.out(`\nnext: mpo-relay history --key ${failed.key}${sameConfig(options.config)}`);
  if (shown.some(({ clusters }) => clusters.some(isBuried))) terminal.out(`      mpo-relay dlq list${sameConfig(options.config)}`);
}

function rowsOf(push: PushStory): string[][] {
  return push.clusters.map((each) => [
    clock(push.receivedAt),
    `${each.module}:${push.image.split(":").at(-1)}`,
    each.cluster,
    each.outcome,
    each.state === "waiting" ? "" : span(Date.parse(each.at) - Date.parse(push.receivedAt)),
    push.key,
    whyOf(each),
  ]);
}

const whyOf = ({ why, coveredBy, outcome }: ClusterStory) =>
  coveredBy === null ? (outcome === "NUDGED" ? "waiting for Deckhouse" : oneLine(why ?? "").slice(0, 100)) : `see ${coveredBy}`;
const clock = (instant: string) => instant.replace("T", " ").replace(/\.\d+Z$/, "Z");

function tellStages(push: PushStory, terminal: Terminal): void {
  const by = push.actor === null ? "" : ` by ${push.actor}`;
  terminal.out(oneLine(`${push.image}${push.digest === null ? "" : `@${push.digest}`}`));
  terminal.out(oneLine(`webhook ${push.webhook}${by}, pushed ${push.pushedAt ?? "at an unknown time"}, received ${push.receivedAt}`));
  const rows = push.clusters.flatMap(({ cluster, stages }) =>
    stages.map((entry) => [
      cluster,
      entry.at,
      entry.stage,
      entry.times === 1 ? "" : `${entry.times} times, last ${entry.last}`,
      detailOf(entry),
    ]),
  );
  terminal.out(table(["CLUSTER", "AT", "STAGE", "AGAIN", "DETAIL"], rows));
}

const detailOf = ({ detail }: Pick<Entry, "detail">) =>
  Object.entries(detail)
    .filter(([, value]) => value !== null && value !== false && value !== "")
    .map(([name, value]) => `${name} ${value}`)
    .join(", ")
    .slice(0, 300);

async function follow(
  journal: Journal,
  module: string | undefined,
  options: Options,
  terminal: Terminal,
  stop: AbortSignal,
): Promise<void> {
  const told = new Map<string, string>();
  let from = terminal.now().getTime();
  while (!stop.aborted) {
    const since = new Date(from - OVERLAP_MS).toISOString();
    const started = terminal.now().getTime();
    const entries = await journal.read({ ...wanted(module, options), since, limit: MOST_ENTRIES });
    const news = entries.filter((entry) => told.get(nameOf(entry)) !== entry.last && (!options.failed || stateOf(entry) === "failed"));
    for (const entry of news.toReversed()) {
      told.set(nameOf(entry), entry.last);
      terminal.out(options.json ? JSON.stringify(entry) : lineOf(entry));
    }
    for (const [name, last] of told) if (last < since) told.delete(name);
    from = started;
    await sleep(FOLLOW_EVERY_MS, undefined, { signal: stop }).catch(() => {});
  }
}

const nameOf = ({ key, cluster, stage }: Entry) => JSON.stringify([key, cluster, stage]);
const lineOf = (entry: Entry) =>
  oneLine(`${entry.last}  ${entry.cluster}  ${entry.module}:${entry.tag}  ${entry.stage}  key ${entry.key}  ${detailOf(entry)}`);
