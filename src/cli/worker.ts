/** `mpo-relay worker`: the consumer alone, for clusters that nobody can reach from outside. */
import { Command } from "commander";
import { processLog } from "../observe.ts";
import { ADVICE, RelayError } from "../outcome.ts";
import { configOption, configured, kubernetesOf } from "./configuration.ts";
import { Failure, type Terminal } from "./terminal.ts";

export function workerCommand(terminal: Terminal): Command {
  return new Command("worker")
    .summary("the consumer alone, long-polling outwards")
    .description(
      "Takes renew requests from the queues of the named clusters and works on them. Listens to nothing.\n" +
        "With `uid` in the configuration it refuses to start on another cluster (exit code 2), and waits while it cannot look.",
    )
    .addOption(configOption())
    .requiredOption("--cluster <name...>", "whose queues to consume; each needs `kubernetes` in the configuration")
    .addHelpText("after", "\nExample:\n  mpo-relay worker --config worker.yaml --cluster stage")
    .action(async (options: { config?: string; cluster: string[] }) => {
      const config = await configured(options.config, terminal);
      for (const name of options.cluster) kubernetesOf(config, name);
      const { worker } = await import("../../functions/worker.ts");
      await worker(config, await processLog(), options.cluster).catch(refuse);
    });
}

/** The configuration is wrong, which no restart will change. */
function refuse(thrown: unknown): never {
  if (thrown instanceof RelayError && thrown.code === "OTHER_CLUSTER") throw new Failure(2, thrown.message, ADVICE.OTHER_CLUSTER ?? "");
  throw thrown;
}
