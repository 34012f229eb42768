/** A copy of the project with a relay.yaml of its own, in which its own scripts run as an operator runs them. */
import { spawn } from "node:child_process";
import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { temporaryFolder } from "../e2e/parts/child.ts";

const root = join(import.meta.dirname, "../..");
const PARTS = ["functions", "infra", "src", "package.json", "serverless.yml", "tsconfig.json"];

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
export interface Project {
  readonly path: string;
  configure(relay: unknown): Promise<void>;
  /** Runs a program of the project to its end, whatever that is. Nothing of this machine's set-up of AWS, or of a relay's, reaches it. */
  node(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended>;
  /** `npm run <script> -- <args>`. */
  npm(script: string, args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended>;
  remove(): Promise<void>;
}

export async function copyProject(): Promise<Project> {
  const folder = await temporaryFolder("project");
  const at = (path: string) => join(folder.path, path);
  for (const path of PARTS) await cp(join(root, path), at(path), { recursive: true });
  await symlink(join(root, "node_modules"), at("node_modules"));
  await mkdir(at("home"));
  const nowhere = { AWS_CONFIG_FILE: at("none"), AWS_SHARED_CREDENTIALS_FILE: at("none"), AWS_EC2_METADATA_DISABLED: "true" };
  const quick = {
    SLS_AWS_MONITORING_FREQUENCY: "200",
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    npm_config_update_notifier: "false",
  };
  const run = (command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    new Promise<Ended>((resolve, reject) => {
      const own = { PATH: process.env["PATH"], HOME: at("home"), ...nowhere, ...quick, ...env };
      const child = spawn(command, args, { cwd: folder.path, env: own, stdio: ["ignore", "pipe", "pipe"] });
      let [stdout, stderr] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => void (stdout += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => void (stderr += chunk.toString()));
      child.once("error", reject);
      child.once("close", (code) => resolve({ code: code ?? 1, stdout, stderr }));
    });
  return {
    path: folder.path,
    configure: (relay) => writeFile(at("relay.yaml"), stringify(relay)),
    node: (args, env) => run(process.execPath, args, env),
    npm: (script, args, env) => run("npm", ["run", "--silent", script, "--", ...args], env),
    remove: () => folder.remove(),
  };
}
