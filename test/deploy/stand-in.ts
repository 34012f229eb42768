/** Starts the stand-in for AWS: stand-in/server.py, which says what it is. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort, serve, temporaryFolder } from "../e2e/parts/child.ts";
import { pythonEnv } from "./python.ts";
import { REGION } from "./relay.ts";

const SERVER = join(import.meta.dirname, "stand-in/server.py");

export interface StandIn {
  readonly endpoint: string;
  /** What the SDK's usual chain needs to find it, as somebody who may do everything. */
  readonly env: Readonly<Record<string, string>>;
  /** Types of resources that nothing was made of, each once. */
  skipped(): Promise<string[]>;
  stop(): Promise<void>;
}

/** An empty account. */
export async function startStandIn(): Promise<StandIn> {
  const folder = await temporaryFolder("stand-in");
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const skipped = join(folder.path, "skipped");
  const service = await serve({
    name: "aws-stand-in",
    command: "python3",
    args: [SERVER, String(port), skipped],
    env: { ...(await pythonEnv()), MOTO_ALLOW_NONEXISTENT_REGION: "false" },
    cwd: folder.path,
    log: join(folder.path, "log"),
    ready: async () => (await fetch(`${endpoint}/moto-api/`)).ok,
  });
  return {
    endpoint,
    env: { AWS_ENDPOINT_URL: endpoint, AWS_REGION: REGION, AWS_ACCESS_KEY_ID: "anybody", AWS_SECRET_ACCESS_KEY: "anything" },
    skipped: async () => [...new Set((await readFile(skipped, "utf8").catch(() => "")).split("\n").filter(Boolean))].toSorted(),
    stop: async () => {
      await service.stop();
      await folder.remove();
    },
  };
}
