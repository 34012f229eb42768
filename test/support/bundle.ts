/** A built bundle as AWS runs it: alone in a folder without node_modules, in a process of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import * as z from "zod";

export type BundleName = "edge" | "consumer" | "sweep" | "inbox";

const RUNNER = `
  const { handler } = await import(process.argv[1]);
  process.on("message", async (event) => process.send({ result: await handler(event, { getRemainingTimeInMillis: () => 60_000 }) }));
  process.send({ result: "ready" });
`;

/** `folder` holds what is in dist/lambda. `ready`: its init is done; rejects with what it wrote when that fails. */
export function startBundle(folder: string, name: BundleName, config: unknown, env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", RUNNER, join(folder, `${name}.mjs`)], {
    cwd: folder,
    env: {
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
      AWS_REGION: "us-east-1",
      AWS_LAMBDA_FUNCTION_NAME: `mpo-relay-test-${name}`,
      MPO_RELAY_CONFIG: JSON.stringify(config),
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let written = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => (written += chunk.toString()));
  const exited = once(child, "close");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  const answer = async (): Promise<unknown> => {
    const end = exited.then(() => {
      throw new Error(written.slice(-2000));
    });
    const [message] = await Promise.race([once(child, "message"), end]);
    return z.object({ result: z.unknown() }).parse(message).result;
  };
  return {
    ready: answer(),
    /** As AWS ends one that is over its memory or its time. */
    kill,
    /** All that it wrote. Ends it: its log comes by another pipe than its answers, and may come after them. */
    async output() {
      await kill();
      return written;
    },
    /** Rejects where it dies meanwhile. */
    invoke: (event: unknown) => {
      const result = answer();
      child.send(Object(event));
      return result;
    },
  };
}
