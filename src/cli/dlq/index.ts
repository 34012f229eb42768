/** `mpo-relay dlq`: look at dead letters, send them again, remove or copy them. Works beside a running `serve`. */
import { Command, Option } from "commander";
import { openActs, withActOptions } from "../acts.ts";
import { configOption, configured } from "../configuration.ts";
import { duration, wholeNumber } from "../option-values.ts";
import { Failure, type Terminal, untilInterrupted } from "../terminal.ts";
import { exportLetters, importLetters } from "./files.ts";
import { type Call, type DlqOptions, openDesk, selectionOf } from "./letters.ts";
import { list } from "./list.ts";
import { purge } from "./purge.ts";
import { redrive } from "./redrive.ts";
import { show } from "./show.ts";

type Work = (call: Call) => Promise<void>;

export function dlqCommand(terminal: Terminal): Command {
  const dlq = new Command("dlq")
    .summary("dead letters: list, show, redrive, purge, export, import")
    .description(
      "Dead letters are renew requests that did not take effect, each with its reason; under `unparsed` lie deliveries that could not be read.\n" +
        "Nothing leaves an embedded queue by itself; SQS deletes after 14 days. All of it works beside a running `mpo-relay serve`.",
    )
    .addHelpText("after", AT_NIGHT);
  const perform = (work: Work) => (ids: string | string[], options: DlqOptions) => at(work, [ids].flat(), options, terminal);

  const listing = filtered(base("list", "dead letters by their reason, each with what to do, and how many records wait"))
    .option("--each", "every letter, with its id, instead of the reasons")
    .addOption(limitOption().default(10_000))
    .action((options: DlqOptions) => at(list, [], options, terminal));
  const showing = base("show", "everything about one dead letter, and its override as it is now")
    .argument("<id>", ID)
    .action(perform(show));
  const redriving = withActOptions(chosen("redrive", "send dead letters again"))
    .description(
      "Sends the record again with one nudge more, and removes the dead letter once that is stored.\n" +
        "Deliveries that could not be read (UNPARSED) are parsed again by this version, and removed only if it can read them.",
    )
    .option("--dry-run", "only say what would happen")
    .addOption(new Option("--rate <number>", "at most so many per second").default(50).argParser(wholeNumber(999_999)))
    .option("--wait", "follow each to its outcome: picked up, not wanted any more, refused, or a dead letter again")
    .addOption(
      new Option("--timeout <duration>", "how long to follow it, for example 30s or 10m").default(120_000, "2m").argParser(duration),
    )
    .action(perform(redrive));
  const purging = withActOptions(chosen("purge", "remove dead letters for good"))
    .option("--dry-run", "only say what would happen")
    .option("--yes", "do not ask; needed where no person sits at a terminal")
    .action(perform(purge));
  const exporting = filtered(base("export", "write dead letters to stdout as JSON lines; they stay where they are"))
    .argument("[id...]", ID)
    .addOption(limitOption())
    .action(perform(exportLetters));
  const importing = base("import", "store dead letters that `export` wrote")
    .argument("<file>", "JSON lines; - for stdin")
    .option("--skip-bad", "leave out lines that hold no dead letter, instead of importing nothing")
    .action((file: string, options: DlqOptions) => at((call) => importLetters(file, call), [], options, terminal));
  for (const command of [listing, showing, redriving, purging, exporting, importing]) dlq.addCommand(command);
  return dlq;
}

const ID = "as list prints it: CLUSTER/NUMBER";
const AT_NIGHT = `
At three in the morning:
  mpo-relay dlq list                       what is there, why, and what to do
  mpo-relay dlq show dev/12                everything about one, and its override as it is now
  mpo-relay dlq redrive --all --dry-run    what would be sent again
  mpo-relay dlq redrive --all --wait       once the cause is gone; ends when the outcomes are known
  mpo-relay dlq export > letters.jsonl     a copy, before a purge

Exit codes: 0 done, or no dead letters; 1 not all could be done, or did not take effect; 2 wrong call; 3 list: there are dead letters.`;

const base = (name: string, summary: string) =>
  new Command(name)
    .summary(summary)
    .description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`)
    .addOption(configOption())
    .option("--cluster <name...>", "only of these clusters; `unparsed` for unreadable deliveries (default: all of them)")
    .option("--json", "print JSON on stdout");

const limitOption = () => new Option("--limit <number>", "at most so many of each queue").argParser(wholeNumber(999_999));

const filtered = (command: Command) =>
  command.option("--code <code>", "only with this reason, for example FORBIDDEN").option("--module <name>", "only of this module");

const chosen = (name: string, summary: string) =>
  filtered(base(name, summary)).argument("[id...]", ID).option("--all", "every one that the other options leave").addOption(limitOption());

async function at(work: Work, ids: readonly string[], options: DlqOptions, terminal: Terminal): Promise<void> {
  const isSettling = work === redrive || work === purge;
  if (isSettling && ids.length === 0 && !options.all && !options.code && !options.module) {
    throw new Failure(2, "which ones? Name ids, --code, --module or --all", "`mpo-relay dlq list` shows what is there");
  }
  const config = await configured(options.config, terminal);
  const desk = openDesk(config, terminal);
  const acts = openActs(config, options, terminal);
  const selection = selectionOf(ids, options, config);
  await untilInterrupted(async (interrupted) => {
    try {
      await work({ config, desk, acts, options, terminal, selection, interrupted });
    } finally {
      await acts.close();
      await desk.close();
    }
  });
}
