/** Where a run of the benchmark lives, and the processes it starts. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort, serve, type Service } from "../e2e/parts/child.ts";

/** Set by run.mjs: the bundles, the copy of dist/ and everything that the processes write. Removed at the end. */
export const folder = process.env["MPO_RELAY_BUNDLED"] ?? "";

export const SECRET = "a-secret-of-the-benchmark";
/** What every process of a run is given. fauxqs checks no signature, but the SDK makes one. */
const ENV = {
  PATH: process.env["PATH"],
  BENCH_SECRET: SECRET,
  AWS_ACCESS_KEY_ID: "bench",
  AWS_SECRET_ACCESS_KEY: "bench",
  AWS_REGION: "us-east-1",
  AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
};
export const environment = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({ ...ENV, ...more });

export interface Options {
  /** Shorter and rougher: to see that it works. */
  readonly quick: boolean;
  /** Patches also on a real kube-apiserver. */
  readonly real: boolean;
  /** Keeps CPU profiles of the processes under load in node_modules/.cache/mpo-relay/profiles/. */
  readonly profile: boolean;
}

/** Progress, which is no result. */
export const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

/** A file of this run's own; its folder is made. */
export async function place(...path: readonly string[]): Promise<string> {
  const file = join(folder, ...path);
  await mkdir(join(file, ".."), { recursive: true });
  return file;
}

export interface Started extends Service {
  readonly port: number;
  readonly log: string;
}

/** Starts a script of the run folder. `ready` is asked until it says true. */
export async function start(
  name: string,
  script: string,
  args: (port: number) => readonly string[] | Promise<readonly string[]>,
  options: { profile: boolean; ready: (port: number) => Promise<boolean> },
): Promise<Started> {
  const port = await freePort();
  const log = await place("logs", `${name}.log`);
  const flags = options.profile ? ["--cpu-prof", `--cpu-prof-dir=${join(folder, "../profiles", name)}`] : [];
  const service = await serve({
    name,
    command: process.execPath,
    args: [...flags, join(folder, script), ...(await args(port))],
    env: environment(),
    log,
    ready: () => options.ready(port),
  });
  return { ...service, port, log };
}

/** Megabytes (10^6) of resident memory: now, and at their highest. Linux alone says it. */
export async function memoryOf(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const of = (field: string) => (Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1]) * 1024) / 1e6;
  return { now: of("VmRSS"), peak: of("VmHWM") };
}

/** Milliseconds of processor time since the process started: it says the same on a busy machine. Linux alone says it. */
export async function cpuOf(pid: number): Promise<number> {
  const [, , , , , , , , , , , user = "", system = ""] = (await readFile(`/proc/${pid}/stat`, "utf8"))
    .replace(/\(.*\)/, "()")
    .split(" ")
    .slice(2);
  return (Number(user) + Number(system)) * TICK_MS;
}
/** https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html counts in 1/sysconf(_SC_CLK_TCK), which is 100 on all of Node's Linux targets. */
const TICK_MS = 10;

/** For `ready`: whether it answers 200. A port may have been taken by a stranger who never answers. */
export const isUp = async (url: string): Promise<boolean> => (await fetch(url, { signal: AbortSignal.timeout(1000) })).ok;
