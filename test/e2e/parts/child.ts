/** Programs that the end-to-end tests run: one that ends, and one that serves until it is stopped. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { closeSync, openSync, rmSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a program to its end; resolves with its standard output. Throws with the end of its standard error. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const settings = { ...options, env: options.env ?? process.env, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve, reject) => {
    execFile(command, args, settings, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === "ENOENT") reject(new Error(`\`${command}\` is not installed on this machine`));
      else
        reject(
          new Error(`\`${command} ${args.join(" ").slice(0, 200)}\` failed (${error.code ?? error.signal}):\n${tail(stderr || stdout)}`),
        );
    });
  });
}

export interface ServiceOptions extends RunOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Its standard output and error go here. */
  readonly log: string;
  /** Asked again and again until it says true; a throw counts as "not yet". */
  readonly ready: () => Promise<boolean>;
  readonly readyWithinMs?: number;
}
export interface Service {
  readonly pid: number;
  /** Whether it still runs. */
  alive(): boolean;
  /** Everything it has written so far. */
  output(): Promise<string>;
  /** Sends the signal and waits for the end. Default SIGKILL: nothing here is worth a polite good-bye. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a program and waits until it is ready; it does not outlive this process, however that dies. */
export async function serve(options: ServiceOptions): Promise<Service> {
  const { name, command, args, log, ready, readyWithinMs = 60_000, cwd, env } = options;
  const out = openSync(log, "a");
  // Standard input stays open as long as we live: kube-apiserver takes its end for ours.
  const child = spawn(command, args, { stdio: ["pipe", out, out], env: env ?? process.env, ...(cwd === undefined ? {} : { cwd }) });
  closeSync(out);
  let problem = "";
  const ended = new Promise<void>((resolve) => {
    child.once("exit", (code, signal) => resolve(void (problem = `ended with ${signal ?? code}`)));
    child.once("error", (error) => resolve(void (problem = error.message)));
  });
  child.stdin?.on("error", () => undefined);
  const guard = guardOf(child);
  const output = () => readFile(log, "utf8").catch(() => "");
  const stop = async (signal: NodeJS.Signals = "SIGKILL"): Promise<void> => {
    if (problem === "") child.kill(signal);
    await ended;
    guard?.kill("SIGKILL");
  };
  const until = Date.now() + readyWithinMs;
  while (!(await ready().catch(() => false))) {
    if (problem === "" && Date.now() < until) {
      await sleep(50);
      continue;
    }
    const why = problem === "" ? `not ready within ${readyWithinMs} ms` : problem;
    await stop();
    throw new Error(`${name}: ${why}\n${tail(await output())}`);
  }
  return { pid: child.pid ?? 0, alive: () => problem === "", output, stop };
}

/** A shell that outlives us by the blink in which it kills the child: SIGKILL of a test run leaves nothing listening. */
function guardOf(child: ChildProcess): ChildProcess | null {
  if (child.pid === undefined) return null;
  const guard = spawn("sh", ["-c", 'cat >/dev/null; kill -KILL "$1" 2>/dev/null', "guard", String(child.pid)], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  guard.on("error", () => undefined);
  guard.stdin.on("error", () => undefined);
  guard.unref();
  return guard;
}

/** A loopback port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === "object" ? resolve(address.port) : reject(new Error("no port"))));
    });
  });
}

export interface Folder {
  readonly path: string;
  /** Removes it. What nobody removed goes when this process ends; with `MPO_RELAY_E2E_KEEP` set all stays, logs included. */
  remove(): Promise<void>;
}
export async function temporaryFolder(name: string): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), `mpo-relay-e2e-${name}-`));
  if (process.env["MPO_RELAY_E2E_KEEP"]) return { path, remove: () => Promise.resolve() };
  const sweep = () => rmSync(path, { recursive: true, force: true });
  process.once("exit", sweep);
  return {
    path,
    remove: async () => {
      process.removeListener("exit", sweep);
      await rm(path, { recursive: true, force: true });
    },
  };
}

const tail = (text: string): string => text.trimEnd().split("\n").slice(-20).join("\n").slice(-4000);
