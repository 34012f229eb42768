/** `mpo-relay serve`: edge, queue and consumers in one process. */
import { Command } from "commander";
import { processLog } from "../observe.ts";
import { configOption, configured } from "./configuration.ts";
import type { Terminal } from "./terminal.ts";

export function serveCommand(terminal: Terminal): Command {
  return new Command("serve")
    .summary("edge, queue and consumers in one process")
    .description(
      "Listens for registries (POST /hooks/<webhook>), or takes their events from a webhook's `queue`; stores every push durably,\n" +
        "and renews the overrides of each cluster that has `kubernetes`.\n" +
        "One log line per outcome on stdout: JSON, or readable on a terminal. SIGTERM and SIGINT end it when what is in hand is settled.",
    )
    .addOption(configOption())
    .addHelpText("after", "\nExample:\n  mpo-relay check && mpo-relay serve")
    .action(async (options: { config?: string }) => {
      const config = await configured(options.config, terminal);
      const { serve } = await import("../../functions/serve.ts");
      await serve(config, await processLog());
    });
}
