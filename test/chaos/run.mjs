/** `npm run chaos -- [--pushes 1000] [--seed N] [--topology elasticmq,hub,serve]`: see main.ts. */
import { runBundled } from "../support/bundled.mjs";

process.exitCode = await runBundled("test/chaos/main.ts");
