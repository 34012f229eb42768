/** Runs the files of one vitest configuration, then says how many tests passed. This process's arguments go to vitest (a file's name, `-t …`). */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { verdict } from "./verdict.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** `config`: the configuration's path. `kept`: where the JSON report goes, for whoever reads it afterwards; default: nowhere. Gives the exit code. */
export async function runScenarios(config, kept) {
  const folder = await mkdtemp(join(tmpdir(), "mpo-relay-e2e-report-"));
  const report = kept ?? join(folder, "report.json");
  const vitest = [`${root}node_modules/vitest/vitest.mjs`, "run", "--config", config];
  const reporters = ["--reporter=verbose", "--reporter=json", `--outputFile.json=${report}`];
  const child = spawn(process.execPath, [...vitest, ...reporters, ...process.argv.slice(2)], { stdio: "inherit", cwd: root });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  const code = await new Promise((resolve) => child.once("exit", (status) => resolve(status ?? 1)));
  const end = await verdict([{ code, report }]);
  await rm(folder, { recursive: true, force: true });
  return end;
}
