#!/usr/bin/env node
import { run } from "./program.ts";

// A reader that went away (`mpo-relay dlq list | head`) is no error of ours. A service that lost its log is to be started again, which none is
// that ended well (systemd's Restart=on-failure).
const isService = ["serve", "worker"].includes(process.argv[2] ?? "");
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" && !isService ? 0 : 1));

const exitCode = await run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(`${text}\n`),
  err: (text) => void process.stderr.write(`${text}\n`),
  env: process.env,
  now: () => new Date(),
  ...(process.stdin.isTTY && process.stdout.isTTY && { ask }),
});

async function ask(question: string, signal: AbortSignal): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  const closed = new Promise<string>((resolve) => lines.once("close", () => resolve(""))); // the end of input, or Ctrl-C
  try {
    return await Promise.race([lines.question(question, { signal }).catch(() => ""), closed]);
  } finally {
    lines.close();
  }
}
if (exitCode !== 0) process.exitCode = exitCode; // a command may have set its own
// Its report is out; what a check was left waiting for (a kubeconfig's plugin that never ends, say) must not keep it from ending.
if (process.argv[2] === "doctor") process.stdout.write("", () => process.exit());
