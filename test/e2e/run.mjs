/** `npm run test:e2e`: runs the scenarios, then says how many passed. Arguments go to vitest (a scenario's file name, `-t …`). */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { verdict } from "./verdict.mjs";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "mpo-relay-e2e-report-"));
const report = process.env.MPO_RELAY_E2E_REPORT ?? join(folder, "report.json");
const vitest = [at("../../node_modules/vitest/vitest.mjs"), "run", "--config", at("vitest.config.ts")];
const reporters = ["--reporter=verbose", "--reporter=json", `--outputFile.json=${report}`];

const child = spawn(process.execPath, [...vitest, ...reporters, ...process.argv.slice(2)], { stdio: "inherit", cwd: at("../..") });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
const code = await new Promise((resolve) => child.once("exit", (status) => resolve(status ?? 1)));

process.exitCode = await verdict([{ code, report }]);
await rm(folder, { recursive: true, force: true });
