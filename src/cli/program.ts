/** The command line: one file per command, put together here. */
import { Command, CommanderError } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { adoptCommand } from "./adopt.ts";
import { announceCommand } from "./announce.ts";
import { checkCommand } from "./check.ts";
import { dlqCommand } from "./dlq/index.ts";
import { doctorCommand } from "./doctor/index.ts";
import { explainCommand } from "./explain.ts";
import { forceCommand } from "./force.ts";
import { historyCommand } from "./history.ts";
import { initCommand } from "./init/index.ts";
import { renewCommand } from "./renew.ts";
import { restoreCommand } from "./restore.ts";
import { sandboxCommand } from "./sandbox.ts";
import { sendCommand } from "./send.ts";
import { serveCommand } from "./serve.ts";
import { sourceCommand } from "./source/index.ts";
import { type ExitCode, Failure, messageOf, type Terminal } from "./terminal.ts";
import { sweepCommand } from "./sweep.ts";
import { tokenCommand } from "./token.ts";
import { webhookCommand } from "./webhook.ts";
import { workerCommand } from "./worker.ts";

function createProgram(terminal: Terminal): Command {
  const program = new Command("mpo-relay")
    .description(manifest.description)
    .version(manifest.version, "-V, --version")
    .configureHelp({ showGlobalOptions: true })
    .addHelpText(
      "after",
      "\nFirst steps:\n  mpo-relay sandbox            everything on this machine, nothing to configure\n  mpo-relay init               a configuration from what is in your cluster\n  mpo-relay check              is my configuration in order?\n  mpo-relay doctor             is anything wrong with what it stands on?\n  mpo-relay serve              the relay itself\n\nExit codes: 0 done, 1 not done, 2 wrong call or configuration, 3 there are dead letters (dlq list), or something is behind (sweep).",
    );
  const commands = [
    serveCommand,
    workerCommand,
    initCommand,
    checkCommand,
    doctorCommand,
    webhookCommand,
    sendCommand,
    announceCommand,
    explainCommand,
    sourceCommand,
    historyCommand,
    sweepCommand,
    dlqCommand,
    renewCommand,
    forceCommand,
    adoptCommand,
    restoreCommand,
    tokenCommand,
  ].map((create) => create(terminal));
  for (const command of [sandboxCommand(), ...commands]) program.addCommand(command);
  for (const command of everyCommand(program)) {
    command
      .exitOverride()
      .showHelpAfterError("(see --help)")
      .configureOutput({ writeOut: (text) => terminal.out(text.trimEnd()), writeErr: (text) => terminal.err(text.trimEnd()) });
  }
  return program;
}

const everyCommand = (command: Command): Command[] => [command, ...command.commands.flatMap(everyCommand)];

/** Runs one call, without `node` and the script's name. Resolves with the exit code; never throws. */
export async function run(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  try {
    await createProgram(terminal).parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has told it
    if (error instanceof Failure) {
      if (error.message) terminal.err(`error: ${error.message}`);
      return error.exitCode;
    }
    terminal.err(`error: ${messageOf(error)}`);
    return 1;
  }
}
