// Docker's HEALTHCHECK of `serve`: whether it answers on its port, 8080 unless MPO_RELAY_PORT says so. A worker listens to nothing; one that cannot go on ends.
import { readFile } from "node:fs/promises";

const command = await readFile("/proc/1/cmdline", "utf8").catch(() => "");
if (!command.includes("\0worker\0")) {
  const answer = await fetch(`http://127.0.0.1:${process.env.MPO_RELAY_PORT ?? 8080}/healthz`).catch(() => null);
  if (!answer?.ok) process.exitCode = 1;
}
