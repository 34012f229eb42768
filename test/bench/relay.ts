/** The relay as an operator starts it: `mpo-relay serve` with a configuration, edge, embedded queue and consumer in one process. */
import { readFile, writeFile } from "node:fs/promises";
import * as z from "zod";
import type { Cluster } from "./cluster.ts";
import { SOURCE } from "./sender.ts";
import { isUp, place, start, type Started } from "./world.ts";

export interface ServeOptions {
  readonly tuning?: object;
  readonly profile: boolean;
  /** More clusters, by name: the `kubernetes` of each. */
  readonly others?: Readonly<Record<string, object>>;
}

export async function startServe(name: string, cluster: Cluster, options: ServeOptions): Promise<Started> {
  const configuration = async (port: number) => {
    const file = await place(name, "relay.json");
    const config = {
      webhooks: { bench: { provider: "generic", auth: "token", secret: "env:BENCH_SECRET" } },
      sources: [{ repo: SOURCE }],
      clusters: Object.fromEntries(
        Object.entries({ dev: await cluster.kubernetes(), ...options.others }).map(([each, kubernetes]) => [
          each,
          { queue: "embedded:./data", kubernetes },
        ]),
      ),
      listen: { host: "127.0.0.1", port },
      ...(options.tuning && { tuning: options.tuning }),
    };
    await writeFile(file, JSON.stringify(config));
    return ["serve", "--config", file];
  };
  const ready = (port: number) => isUp(`http://127.0.0.1:${port}/readyz`);
  return start(name, "dist/cli.js", configuration, { profile: options.profile, ready });
}

const recordLine = z.looseObject({ event: z.literal("record"), kind: z.string(), key: z.string(), outcome: z.string() });
type RecordLine = z.infer<typeof recordLine>;

/** What was logged of records so far. */
export async function recordLines(log: string): Promise<RecordLine[]> {
  const lines = (await readFile(log, "utf8")).split("\n").slice(0, -1); // the last one may be half a line
  return lines.flatMap((line) => {
    const read = line.includes('"event":"record"') ? recordLine.safeParse(JSON.parse(line)) : null;
    return read?.success ? [read.data] : [];
  });
}
