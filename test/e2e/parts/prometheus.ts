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
  /** The labels of alerts that fire now. */
  firing(): Promise<Record<string, string>[]>;
  stop(): Promise<void>;
}

/** Scrapes `targets` (`host:port`) and looks at the rules every second. */
export async function startPrometheus(options: { rules: string; targets: readonly string[] }): Promise<Prometheus> {
  const folder = await temporaryFolder("prometheus");
  const port = await freePort();
  const config = {
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
  return {
    async firing() {
      const { alerts } = answer.parse(await (await fetch(`${url}/api/v1/alerts`)).json()).data;
      return alerts.filter(({ state }) => state === "firing").map(({ labels }) => labels);
    },
    async stop() {
      await service.stop();
      await folder.remove();
    },
  };
}
