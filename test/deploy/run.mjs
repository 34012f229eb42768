/** `npm run test:deploy`: the deployment without AWS. */
import { fileURLToPath } from "node:url";
import { runScenarios } from "../e2e/scenarios.mjs";

process.exitCode = await runScenarios(fileURLToPath(new URL("vitest.config.ts", import.meta.url)), process.env.MPO_RELAY_DEPLOY_REPORT);
