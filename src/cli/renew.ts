/** `mpo-relay renew <module>`: nudges an override now, with nothing but a kubeconfig, and follows it. */
import { Command, Option } from "commander";
import type { Override, Overrides } from "../cluster/overrides.ts";
import type { RelayConfig } from "../config.ts";
import { createRegistry } from "../registries.ts";
import { createSecretReader } from "../secrets.ts";
import { verdictOf } from "../status.ts";
import { sweep } from "../sweep.ts";
import type { Stage } from "../journal/journal.ts";
import type { Detail } from "../outcome.ts";
import { type Acts, openActs } from "./acts.ts";
import { atCluster, type ClusterOptions, openCluster, type OpenCluster, withClusterOptions } from "./cluster-options.ts";
import { duration } from "./option-values.ts";
import { progressOf, unchanged } from "./follow.ts";
import { actedOn, failOn, follow, type Follower, LOOK_EVERY_MS, nudge, reportOn } from "./override.ts";
import { Failure, type Terminal } from "./terminal.ts";

interface Options extends ClusterOptions {
  wait?: true;
  timeout: number;
  json?: true;
}

export function renewCommand(terminal: Terminal, open: OpenCluster = openCluster, lookEveryMs = LOOK_EVERY_MS): Command {
  return withClusterOptions(new Command("renew"))
    .summary("nudge an override now, with your own kubeconfig")
    .description(
      "Makes Deckhouse look at once whether the override's tag names another image. Needs no relay and no configuration:\n" +
        "only get and patch on modulepulloverrides by your own kubeconfig.",
    )
    .argument("<module>", "the module's name, which is the name of its ModulePullOverride")
    .option("--wait", "follow it: until the new image is picked up, or Deckhouse says why not")
    .addOption(
      new Option("--timeout <duration>", "how long to follow it, for example 30s or 10m").default(120_000, "2m").argParser(duration),
    )
    .option("--json", "print one JSON object on stdout at the end")
    .addHelpText(
      "after",
      "\nExit codes: 0 nudged, picked up, or nothing to do; 1 not; 2 wrong call.\n\nExample:\n  crane push image.tar registry.example.com/modules/echo:main && mpo-relay renew echo --wait",
    )
    .action((module: string, options: Options) =>
      atCluster(options, terminal, open, async (overrides, config) => {
        const acts = config && openActs(config, {}, terminal);
        try {
          await renew(module, { overrides, config, acts }, options, { ...terminal, lookEveryMs });
        } finally {
          await acts?.close();
        }
      }),
    );
}

/** `config` and `acts`: the relay's own and its journal, where they are known. */
interface Place {
  readonly overrides: Overrides;
  readonly config: RelayConfig | null;
  readonly acts: Acts | null;
}

async function renew(module: string, place: Place, options: Options, terminal: Follower): Promise<void> {
  const { overrides } = place;
  const startedAt = terminal.now();
  const nudged = await nudge(module, overrides, terminal);
  const report = reportOn(nudged, startedAt, options.json === true, terminal);
  const { status } = nudged.before;
  report.tell(`nudged, key ${nudged.key}`);
  if (!options.wait) {
    report.tell(`next: kubectl get mpo ${module} -w, or mpo-relay renew ${module} --wait`);
    return report.end("NUDGED", status.imageDigest, status.message);
  }

  // only an end: no record follows a renewal by hand, and what has none would wait for ever in the journal
  const told = actedOn(nudged, overrides.cluster, startedAt);
  const note = async (stage: Stage, detail: Detail) => place.acts?.note(told, stage, terminal.now(), detail);
  if (await isCurrent(nudged.before, place, terminal)) {
    report.tell(`unchanged: it runs ${status.imageDigest}, which is what its tag names; there is nothing to wait for`);
    await note("CURRENT", { digest: status.imageDigest });
    return report.end("UNCHANGED", status.imageDigest, status.message);
  }
  report.tell(
    `following it for up to ${options.timeout / 1000} s: where its tag still names what it runs nothing moves, and "unchanged" at the end is well`,
  );
  const { progress, last } = await follow(nudged.before, overrides, options.timeout, terminal, progressOf);
  if (progress.kind === "picked-up") {
    const isSame = progress.digest === status.imageDigest;
    report.tell(`${isSame ? "ready again with" : "picked up"} ${progress.digest} after ${report.seconds()} s`);
    await note("PICKED_UP", { digest: progress.digest });
    return report.end("PICKED_UP", progress.digest, last.status.message);
  }
  if (progress.kind === "refused") await note("REFUSED", { message: progress.message.slice(0, 500) });
  failOn(progress, last, report);
  const { isFine, text } = unchanged(last, report.seconds());
  report.end("UNCHANGED", last.status.imageDigest, last.status.message);
  if (!isFine) throw new Failure(1, text);
  report.tell(text);
}

/** Whether the registry says that it holds what its tag names, as a sweep sees it. False also where nobody can be asked. */
async function isCurrent(override: Override, { overrides, config }: Place, { env, now }: Terminal): Promise<boolean> {
  if (config === null || verdictOf(override.status.message) !== "ok") return false;
  const { cluster } = overrides;
  const { sources } = config;
  const only = { list: async () => [override], state: (module: string) => overrides.state(module) };
  const { rows } = await sweep({ cluster, sources, overrides: only, registry: createRegistry(sources, createSecretReader({ env })), now });
  return rows.some(({ state }) => state === "push" || state === "polling");
}
