/** `mpo-relay adopt [modules…]`: lets Deckhouse poll seldom where pushes were seen to arrive. */
import { Command, InvalidArgumentError, Option } from "commander";
import { isDelivered, isProven, planAdoption } from "../adoption.ts";
import type { Override } from "../cluster/overrides.ts";
import type { RelayConfig } from "../config.ts";
import { readInterval } from "../config/forms.ts";
import { Refusal } from "../config/problem.ts";
import type { Entry } from "../journal/journal.ts";
import { openJournal } from "../journals.ts";
import { openCluster, type OpenCluster } from "./cluster-options.ts";
import { intervalCommand, type IntervalOptions, runJob } from "./scan-intervals.ts";
import { messageOf, type Terminal } from "./terminal.ts";

interface Options extends IntervalOptions {
  readonly interval?: string;
}

const USUAL = "12h";
/** Of each push some stages. */
const MOST_ENTRIES = 100_000;

export function adoptCommand(terminal: Terminal, open: OpenCluster = openCluster): Command {
  return intervalCommand(new Command("adopt"))
    .summary("let Deckhouse poll seldom where pushes were seen to arrive")
    .description(
      "Lengthens spec.scanInterval of those overrides that a registry's push was seen to reach and take effect at: by the relay's own mark on\n" +
        "the override, or with --cluster by the relay's journal. Others stay as they are. The value before is remembered on the override;\n" +
        "`mpo-relay restore` puts it back. What a GitOps tool keeps is not written: the line to commit is shown.",
    )
    .addOption(
      new Option(
        "--interval <duration>",
        "how seldom, at most 24h (default: the cluster's adopt: in the configuration, else 12h)",
      ).argParser(intervalOf),
    )
    .addHelpText(
      "after",
      "\nExit codes: 0 done, or nothing to do; 1 not, also for a module that was named and cannot be; 2 wrong call, or --yes is missing.\n\n" +
        "Examples:\n  mpo-relay adopt --dry-run\n  mpo-relay adopt echo --cluster dev --interval 24h --yes",
    )
    .action((modules: string[], options: Options) =>
      runJob(modules, options, terminal, open, async (all, config) => {
        const interval = options.interval ?? config?.clusters[options.cluster ?? ""]?.adopt ?? USUAL;
        const entries = config && all.some((each) => !isProven(each)) ? await entriesOf(config, options.cluster ?? "", terminal) : [];
        return {
          act: "ADOPTED",
          what: `lengthen the scan interval of`,
          decide: (seen) =>
            planAdoption(
              seen,
              interval,
              entries.some((entry) => isAbout(entry, seen)),
              terminal.now(),
            ),
        };
      }),
    );
}

function intervalOf(text: string): string {
  const read = readInterval(text);
  if (read instanceof Refusal) throw new InvalidArgumentError(`It is ${read.message}: ${read.hint ?? ""}.`);
  return read;
}

/** A push that a registry told of, which Deckhouse runs until now. */
function isAbout(entry: Entry, { name, imageTag, status }: Override): boolean {
  const isTaken = entry.stage === "PICKED_UP" || entry.stage === "RUNNING";
  return isTaken && isDelivered(entry) && entry.module === name && entry.tag === imageTag && entry.detail["digest"] === status.imageDigest;
}

async function entriesOf(config: RelayConfig, cluster: string, terminal: Terminal): Promise<Entry[]> {
  if (!config.journal) return [];
  try {
    const journal = await openJournal(config, terminal.env);
    try {
      return await journal.read({ cluster, limit: MOST_ENTRIES });
    } finally {
      await journal.close();
    }
  } catch (error) {
    terminal.err(`warning: the journal cannot be read, so the marks on the overrides alone count: ${messageOf(error)}`);
    return [];
  }
}
