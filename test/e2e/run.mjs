/** `npm run test:e2e`: the scenarios with real parts. */
import { fileURLToPath } from "node:url";
import { runScenarios } from "./scenarios.mjs";

process.exitCode = await runScenarios(fileURLToPath(new URL("vitest.config.ts", import.meta.url)), process.env.MPO_RELAY_E2E_REPORT);
