/** Grafana's own types for dashboards, which tell what they do not know of one: https://github.com/grafana/grafana-foundation-sdk */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { install } from "./cache.ts";
import { pinnedGoPart } from "./go.ts";

export const grafanaTypes = pinnedGoPart("grafana-types", ".", "about 30 CPU seconds");

/** What does not fit, a line each. */
export async function misfitsIn(dashboard: string): Promise<string[]> {
  const child = spawn(join(await install(grafanaTypes), grafanaTypes.name), { stdio: ["pipe", "ignore", "pipe"] });
  child.stdin.end(dashboard);
  const [told, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
  const lines = told.split("\n").filter((line) => line !== "");
  if ((code === 0) !== (lines.length === 0)) throw new Error(`ended with ${String(code)}: ${told}`);
  return lines;
}
