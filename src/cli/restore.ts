/** `mpo-relay restore [modules…]`: undoes `adopt`. */
import { Command } from "commander";
import { planRestore } from "../adoption.ts";
import { openCluster, type OpenCluster } from "./cluster-options.ts";
import { intervalCommand, type IntervalOptions, runJob } from "./scan-intervals.ts";
import type { Terminal } from "./terminal.ts";

export function restoreCommand(terminal: Terminal, open: OpenCluster = openCluster): Command {
  return intervalCommand(new Command("restore"))
    .summary("let Deckhouse poll as often as before adopt")
    .description(
      "Puts spec.scanInterval back to what it was before the relay lengthened it, and removes the relay's mark of that.\n" +
        "Where somebody else changed it since, theirs stays and the mark alone goes.",
    )
    .addHelpText(
      "after",
      "\nExit codes: 0 done, or nothing to do; 1 not; 2 wrong call, or --yes is missing.\n\nExample:\n  mpo-relay restore --cluster dev --dry-run",
    )
    .action((modules: string[], options: IntervalOptions) =>
      runJob(modules, options, terminal, open, async (_, config) => {
        if (config?.clusters[options.cluster ?? ""]?.adopt)
          terminal.err(
            `warning: clusters.${options.cluster}.adopt is set, so the next push adopts again: take it out of the configuration`,
          );
        return { act: "RESTORED", what: "put back the scan interval of", decide: planRestore };
      }),
    );
}
