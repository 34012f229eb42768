/** `mpo-relay dlq`: look at dead letters, send them again, remove them. Works beside a running `serve`. */
import { Command, InvalidArgumentError } from "commander";
import { configOption, configured } from "./configuration.ts";
import { list, show } from "./dlq-look.ts";
import { purge, redrive } from "./dlq-settle.ts";
import { type Call, type DlqOptions, openDesk, selectionOf } from "./letters.ts";
import { Failure, type Terminal } from "./terminal.ts";

type Work = (call: Call) => Promise<void>;

export function dlqCommand(terminal: Terminal): Command {
  const dlq = new Command("dlq")
    .summary("dead letters: list, show, redrive, purge")
    .description(
      "Dead letters are renew requests that did not take effect, each with its reason; under `unparsed` lie deliveries that could not be read.\n" +
        "Nothing leaves this place by itself. All of it works beside a running `mpo-relay serve`.",
    )
    .addHelpText("after", AT_NIGHT);
  const perform = (work: Work) => (ids: string | string[], options: DlqOptions) => at(work, [ids].flat(), options, terminal);

  const listing = filtered(base("list", "every dead letter with its reason"))
    .option("--limit <number>", "at most so many of each queue", wholeNumber, 50)
    .action((options: DlqOptions) => at(list, [], options, terminal));
  const showing = base("show", "everything about one dead letter").argument("<id>", ID).action(perform(show));
  const redriving = chosen("redrive", "send dead letters again")
    .description(
      "Sends the record again with one nudge more, and removes the dead letter once that is stored.\n" +
        "Deliveries that could not be read (UNPARSED) are parsed again by this version, and removed only if it can read them.",
    )
    .action(perform(redrive));
  const purging = chosen("purge", "remove dead letters for good").option("--yes", "really remove them").action(perform(purge));
  for (const command of [listing, showing, redriving, purging]) dlq.addCommand(command);
  return dlq;
}

const ID = "as list prints it: CLUSTER/NUMBER";
const AT_NIGHT = `
At three in the morning:
  mpo-relay dlq list                       what is there, and why
  mpo-relay dlq show dev/12                everything about one
  mpo-relay dlq redrive --all --dry-run    what would be sent again
  mpo-relay dlq redrive --all              once the cause is gone`;

const base = (name: string, summary: string) =>
  new Command(name)
    .summary(summary)
    .description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`)
    .addOption(configOption())
    .option("--cluster <name...>", "only of these clusters; `unparsed` for unreadable deliveries (default: all of them)")
    .option("--json", "print JSON on stdout");

const filtered = (command: Command) =>
  command.option("--code <code>", "only with this reason, for example FORBIDDEN").option("--module <name>", "only of this module");

const chosen = (name: string, summary: string) =>
  filtered(base(name, summary))
    .argument("[id...]", ID)
    .option("--all", "every one that the other options leave")
    .option("--dry-run", "only say what would happen");

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError("A whole number, please.");
  return Number(text);
}

async function at(work: Work, ids: readonly string[], options: DlqOptions, terminal: Terminal): Promise<void> {
  const isSettling = work === redrive || work === purge;
  if (isSettling && ids.length === 0 && !options.all && !options.code && !options.module) {
    throw new Failure(2, "which ones? Name ids, --code, --module or --all", "`mpo-relay dlq list` shows what is there");
  }
  const config = await configured(options.config, terminal);
  const desk = openDesk(config, terminal);
  try {
    await work({ config, desk, options, terminal, selection: selectionOf(ids, options, config) });
  } finally {
    await desk.close();
  }
}
