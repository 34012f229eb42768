/** The commands that deploy, plan and remove the stack of serverless.yml. */
import { Command, CommanderError, Option } from "commander";
import { Failure, messageOf } from "../../src/cli/terminal.ts";
import { whole } from "./amounts.ts";
import { connect } from "./aws.ts";
import { deploy } from "./deploy.ts";
import { printPlan } from "./plan.ts";
import { remove } from "./remove.ts";
import type { Given } from "./target.ts";

const EXIT_CODES = `
Exit codes: 0 done; 1 it failed under way; 2 refused before anything was changed, with every reason.
Credentials and profile by AWS's usual chain (AWS_PROFILE, AWS_ACCESS_KEY_ID, …). infra/serverless.md is the page about it.`;

/** Resolves with the exit code; says on stderr what went wrong. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(args, { from: "user" });
    return 0;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    const failure = thrown instanceof Failure ? thrown : new Failure(1, messageOf(thrown));
    if (failure.message !== "") process.stderr.write(`${failure.message}\n`);
    return failure.exitCode;
  }
}

function program(): Command {
  const all = new Command("deploy.mjs").description("Deploys the relay to AWS, from the one relay.yaml.").addHelpText("after", EXIT_CODES);
  const deploying = common(
    "deploy",
    "Looks at everything that could be wrong, and deploys. A cluster that is no longer in relay.yaml goes if its queue is empty.",
  )
    .addOption(settleOption())
    .action((given: Given & { settle: number }) => deploy(given, connect));
  const planning = common("plan", "Tells what a deploy would change, by comparing templates and code. Changes nothing.")
    .option("--json", "print { stack, region, exists, changes } on stdout")
    .action((given: Given & { json?: true }) => printPlan(given, connect));
  const removing = common("remove", "Tells what goes and what stays, asks, and removes the stack. Queues that hold records stay.")
    .option("--yes", "do not ask; needed where no person sits at a terminal")
    .addOption(settleOption())
    .action((given: Given & { yes?: true; settle: number }) => remove(given, connect));
  for (const each of [deploying, planning, removing]) all.addCommand(each);
  for (const each of [all, deploying, planning, removing]) each.exitOverride();
  return all;
}

const common = (name: string, description: string) =>
  new Command(name)
    .description(description)
    .requiredOption("--stage <name>", "which deployment: its name is part of everything's name")
    .addOption(new Option("--region <name>", "AWS region").default(process.env["AWS_REGION"] || "eu-central-1"))
    .option("--param <name=value...>", "parameters of serverless.yml, as osls takes them")
    .addHelpText("after", EXIT_CODES);

/** SQS counts approximately, and right only once nobody has sent for a minute: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-resources-required-process-messages.html */
const settleOption = () =>
  new Option("--settle <seconds>", "so long a queue that is not needed any more must be seen empty before it is deleted")
    .default(60)
    .argParser(whole);
