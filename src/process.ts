/** How a process ends: on SIGINT or SIGTERM it finishes what is in hand; on a second one it leaves at once. */
import type { Observer } from "./observe.ts";

export async function untilStopped(observer: Observer, stop: () => Promise<void>): Promise<void> {
  const signal = await new Promise<NodeJS.Signals>((resolve) => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, resolve);
  });
  observer.outcome({ event: "process", outcome: "STOPPING", signal });
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => process.exit(1));
  await stop();
  observer.outcome({ event: "process", outcome: "STOPPED" });
}
