/** Runs osls, which builds, packages and talks to CloudFormation. */
import { spawn } from "node:child_process";
import { Failure } from "../../src/cli/terminal.ts";

/** `quiet`: what it says is shown only where it fails. Throws a Failure with its end. */
export async function osls(args: readonly string[], { quiet = false, env = {} }: { quiet?: boolean; env?: NodeJS.ProcessEnv } = {}) {
  const own = { SLS_TELEMETRY_DISABLED: "1", SLS_NOTIFICATIONS_MODE: "off" };
  const said: Buffer[] = [];
  const child = spawn(process.execPath, ["node_modules/osls/bin/serverless.js", ...args], {
    stdio: ["ignore", quiet ? "pipe" : "inherit", quiet ? "pipe" : "inherit"],
    env: { ...own, ...process.env, ...env },
  });
  child.stdout?.on("data", (chunk: Buffer) => said.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => said.push(chunk));
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => resolve(status ?? 1));
  });
  if (code !== 0) throw new Failure(1, ...(quiet ? [Buffer.concat(said).toString().trim()] : []), `osls ${args[0]} ended with ${code}`);
}
