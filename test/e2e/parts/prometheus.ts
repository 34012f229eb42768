/** Prometheus, and promtool that checks rules: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/ */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { install } from "./cache.ts";
import { freePort, run, serve, temporaryFolder } from "./child.ts";
import { debianPart } from "./debian.ts";

export const prometheus = debianPart("prometheus", "2.42.0");

/** Throws with what promtool says of them. */
export async function promtool(...args: readonly string[]): Promise<void> {
  await run(join(await install(prometheus), "usr/bin/promtool"), [...args]);
}

const answer = z.object({ data: z.object({ alerts: z.array(z.object({ labels: z.record(z.string(), z.string()), state: z.string() })) }) });
export interface Prometheus {
  /** The labels of alerts that fire now, or are in another state. */
  firing(state?: "firing" | "pending"): Promise<Record<string, string>[]>;
  /** An answer of its API: https://prometheus.io/docs/prometheus/latest/querying/api/ */
  get(path: string): Promise<unknown>;
  stop(): Promise<void>;
}

/** Scrapes `targets` (`host:port`) and looks at the rules every second; or does what its own configuration says. */
export async function startPrometheus(options: { rules: string; targets: readonly string[] } | { config: object }): Promise<Prometheus> {
  const folder = await temporaryFolder("prometheus");
  const port = await freePort();
  const config =
    "config" in options
      ? options.config
      : {
          global: { scrape_interval: "1s", evaluation_interval: "1s" },
          rule_files: [options.rules],
          scrape_configs: [{ job_name: "mpo-relay", static_configs: [{ targets: options.targets }] }],
        };
  const file = join(folder.path, "prometheus.yml");
  await writeFile(file, JSON.stringify(config));
  const url = `http://127.0.0.1:${port}`;
  const service = await serve({
    name: "prometheus",
    command: join(await install(prometheus), "usr/bin/prometheus"),
    args: [`--config.file=${file}`, `--storage.tsdb.path=${join(folder.path, "data")}`, `--web.listen-address=127.0.0.1:${port}`],
    env: { PATH: process.env["PATH"] },
    log: join(folder.path, "log"),
    ready: async () => (await fetch(`${url}/-/ready`)).ok,
  });
  const get = async (path: string): Promise<unknown> => (await fetch(`${url}/api/v1/${path}`)).json();
  return {
    get,
    async firing(wanted = "firing") {
      const { alerts } = answer.parse(await get("alerts")).data;
      return alerts.filter(({ state }) => state === wanted).map(({ labels }) => labels);
    },
    async stop() {
      await service.stop();
      await folder.remove();
    },
  };
}
