/** The relay's own processes: the built program with a relay.yaml, as an operator starts them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { type Service, serve } from "./parts/child.ts";
import { ELASTICMQ_ENV } from "./parts/elasticmq.ts";

const CLI = join(import.meta.dirname, "../../dist/cli.js");

/** A line of the program's log, with whatever else stands in it. */
const line = z.looseObject({ event: z.string().optional(), outcome: z.string().optional(), alarm: z.string().optional() });
export type Line = z.infer<typeof line>;

/** Which digest each push's key stands for, by the lines about its delivery and its renewal. */
export function digestsIn(lines: readonly Line[]): Map<string, string> {
  const named = lines.filter((each) => each.outcome === "QUEUED" || each["kind"] === "renew");
  return new Map(named.map((each) => [String(each["key"]), String(each["digest"])]));
}

export interface RelayProcess extends Pick<Service, "stop" | "alive" | "pid"> {
  /** Every line logged so far, those of earlier processes with the same log file included. */
  lines(): Promise<Line[]>;
}

export interface RelayOptions {
  readonly config: string;
  readonly log: string;
  /** Another build than dist/'s. */
  readonly cli?: string;
  /** Another Node than this one. */
  readonly node?: string;
  /** Another program that starts it. */
  readonly under?: { readonly by: readonly string[]; readonly env: NodeJS.ProcessEnv };
}

/** `mpo-relay serve`, ready when its edge says so. */
export function serveRelay(options: RelayOptions & { url: string }): Promise<RelayProcess> {
  return start("serve", [], options, async () => (await fetch(`${options.url}/readyz`)).ok);
}

/** `mpo-relay worker` for one cluster. It listens to nothing: its first line says that it runs. */
export function workRelay(options: RelayOptions & { cluster: string }): Promise<RelayProcess> {
  return start("worker", ["--cluster", options.cluster], options, async (lines) =>
    (await lines()).some(({ outcome }) => outcome === "STARTED"),
  );
}

async function start(
  command: string,
  args: readonly string[],
  { config, log, cli = CLI, node = process.execPath, under = { by: [], env: {} } }: RelayOptions,
  ready: (lines: () => Promise<Line[]>) => Promise<boolean>,
): Promise<RelayProcess> {
  const [program, ...before] = [...under.by, node, cli];
  const service = await serve({
    name: `mpo-relay ${command}`,
    command: program ?? node,
    args: [...before, command, "--config", config, ...args],
    env: { PATH: process.env["PATH"], ...ELASTICMQ_ENV, ...under.env },
    log,
    ready: () => ready(() => linesOf(log)),
  });
  return { pid: service.pid, alive: service.alive, stop: service.stop, lines: () => linesOf(log) };
}

async function linesOf(log: string): Promise<Line[]> {
  const text = await readFile(log, "utf8").catch(() => "");
  return text.split("\n").flatMap((each) => {
    try {
      return [line.parse(JSON.parse(each))];
    } catch {
      return []; // a line that a kill tore apart, or a warning of the runtime
    }
  });
}
