/** `mpo-relay force <module>`: the only way to a forced redeploy. No push and no rule of the relay ever leads to one. */
import { Command, Option } from "commander";
import { type ActOptions, type Acts, openActs, withActOptions } from "./acts.ts";
import type { Override, Overrides } from "../cluster/overrides.ts";
import { unlessChanged } from "../conflict.ts";
import type { Stage } from "../journal/journal.ts";
import type { Detail } from "../outcome.ts";
import { atCluster, type ClusterOptions, openCluster, type OpenCluster, withClusterOptions } from "./cluster-options.ts";
import { duration } from "./option-values.ts";
import { FORCE, forcedOf, type Progress } from "./follow.ts";
import { actedOn, failOn, find, follow, type Follower, LOOK_EVERY_MS, nudge, reportOn } from "./override.ts";
import { Failure, messageOf, oneLine, type Terminal, untilInterrupted } from "./terminal.ts";

interface Options extends ClusterOptions, ActOptions {
  yes?: true;
  timeout: number;
  json?: true;
}

const WHO_CAN = "Deckhouse can from autumn 2026 on (deckhouse/deckhouse#22716), and cannot where its package runtime deploys modules";
const INSTEAD = "instead: push an image with another digest, or let the override follow another tag";

export function forceCommand(terminal: Terminal, open: OpenCluster = openCluster, lookEveryMs = LOOK_EVERY_MS): Command {
  return withActOptions(withClusterOptions(new Command("force")))
    .summary("deploy an override's image again though it is the same; restarts Deckhouse")
    .description(
      "Makes Deckhouse load and deploy the image of the override's tag again, even one that it runs already, AND RESTART: until it is back,\n" +
        "it works on nothing else in the cluster. For a new image this is not needed: pushes and `mpo-relay renew` do it.\n" +
        `${WHO_CAN}.\n` +
        "Waits for what comes of it. What did not succeed by the end is taken back, so that it restarts nothing later on.",
    )
    .argument("<module>", "the module's name, which is the name of its ModulePullOverride")
    .option("--yes", "do it without asking; where nobody can be asked, nothing is written without it")
    .addOption(
      new Option("--timeout <duration>", "how long Deckhouse has for it, for example 30s or 10m")
        .default(600_000, "10m")
        .argParser(duration),
    )
    .option("--json", "print one JSON object on stdout at the end")
    .addHelpText(
      "after",
      "\nExit codes: 0 deployed again; 1 not; 2 wrong call, or --yes is missing.\n\nExample:\n  mpo-relay force echo --yes",
    )
    .action((module: string, options: Options) =>
      untilInterrupted((interrupted) =>
        atCluster(options, terminal, open, async (overrides, config) => {
          const acts = config && openActs(config, options, terminal);
          try {
            await force(module, { overrides, acts }, options, { ...terminal, lookEveryMs }, interrupted);
          } finally {
            await acts?.close();
          }
        }),
      ),
    );
}

/** `acts`: where the relay's configuration is known, and so its journal. */
interface Place {
  readonly overrides: Overrides;
  readonly acts: Acts | null;
}

async function force(
  module: string,
  { overrides, acts }: Place,
  options: Options,
  terminal: Follower,
  interrupted: AbortSignal,
): Promise<void> {
  const startedAt = terminal.now();
  const seen = await find(module, overrides);
  if (seen.apiVersion === "v1alpha1")
    throw new Failure(
      1,
      `the Deckhouse of ${overrides.cluster} cannot deploy the same image again: it is older than v1.67`,
      WHO_CAN,
      INSTEAD,
    );
  const what = oneLine(`${module}:${seen.imageTag} of ${overrides.cluster} would be deployed again, and Deckhouse restarted`);
  if (!options.yes && (options.json || !(await isConfirmed(what, module, terminal, interrupted))))
    throw new Failure(2, `nothing was done: ${what}`, "say --yes to do it");

  const nudged = await nudge(module, overrides, terminal, { [FORCE]: "true" });
  const told = actedOn(nudged, overrides.cluster, startedAt);
  await acts?.note(told, "FORCED", startedAt);
  const report = reportOn(nudged, startedAt, options.json === true, terminal);
  report.tell(`asked Deckhouse to deploy it again, key ${nudged.key}; waiting up to ${options.timeout / 1000} s, Ctrl-C takes it back`);
  const note = async (stage: Stage, detail: Detail) => acts?.note(told, stage, terminal.now(), detail);
  const { progress, last } = await followOrTakeBack(nudged.before, overrides, options.timeout, terminal, interrupted, note);
  if (progress.kind === "picked-up") {
    report.tell(`deployed ${progress.digest} again after ${report.seconds()} s; Deckhouse restarts now`);
    return report.end("FORCED", progress.digest, last.status.message);
  }
  failOn(progress, last, report);
  report.end("NOT_FORCED", last.status.imageDigest, last.status.message);
  const why = "this Deckhouse cannot, or it is busy, or its deploys fail: see its log";
  throw new Failure(1, `not deployed again after ${report.seconds()} s, and taken back: ${why}`, WHO_CAN, INSTEAD);
}

/** A person types the module's name, and so has read what will happen; a script says --yes. */
async function isConfirmed(what: string, module: string, terminal: Terminal, interrupted: AbortSignal): Promise<boolean> {
  const answer = await terminal.ask?.(`${what}. Type ${module} to do it: `, interrupted);
  return answer?.trim() === module;
}

/** `note`: tells the journal what came of it. */
async function followOrTakeBack(
  before: Override,
  overrides: Overrides,
  timeoutMs: number,
  terminal: Follower,
  interrupted: AbortSignal,
  note: (stage: Stage, detail: Detail) => Promise<void>,
) {
  try {
    const followed = await follow(before, overrides, timeoutMs, terminal, forcedOf, interrupted);
    const takenBack = await takeBack(before, overrides, terminal);
    await note(...endOf(followed.progress, takenBack));
    return followed;
  } catch (error) {
    await note("NOT_FORCED", { why: messageOf(error), takenBack: await takeBack(before, overrides, terminal) });
    throw error;
  }
}

/** Where it was done there was nothing to take back. */
function endOf(progress: Progress, takenBack: boolean): [Stage, Detail] {
  if (progress.kind === "picked-up") return ["REDEPLOYED", {}];
  if (progress.kind === "waiting") return ["NOT_FORCED", { why: "Deckhouse did not do it in time", takenBack }];
  return [progress.kind === "refused" ? "REFUSED" : "SUPERSEDED", { why: progress.message, takenBack }];
}

/** Deckhouse removes the annotation once it has done it, and until then tries again, also after an update that first makes it able to. False: it stays. */
async function takeBack({ name }: Override, overrides: Overrides, terminal: Terminal): Promise<boolean> {
  try {
    await unlessChanged(async () => {
      const seen = await overrides.get(name);
      if (seen !== null && FORCE in seen.annotations) await overrides.annotate(seen, { [FORCE]: null });
    });
    return true;
  } catch (error) {
    terminal.err(`it stays asked for until a deploy succeeds: ${messageOf(error)}; take it back: ${takeBackByHand(name)}`);
    return false;
  }
}

const takeBackByHand = (module: string) => `kubectl annotate mpo ${module} ${FORCE}-`;
