/** How a process ends: on SIGINT or SIGTERM it finishes what is in hand; on a second one it leaves at once. */
import type { Observer } from "./observe.ts";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/**
 * Starts, and stops when a signal comes. One that comes during the start counts when that is over: process 1 of a container, whose signals
 * do nothing by themselves, would miss it (https://man7.org/linux/man-pages/man7/pid_namespaces.7.html).
 */
export async function untilStopped(observer: Observer, start: () => Promise<{ stop(): Promise<void> }>): Promise<void> {
  const signalled = new Promise<void>((resolve) => {
    const stopping = (signal: NodeJS.Signals) => {
      observer.outcome({ event: "process", outcome: "STOPPING", signal });
      for (const name of SIGNALS) process.off(name, stopping).once(name, () => process.exit(1));
      resolve();
    };
    for (const name of SIGNALS) process.once(name, stopping);
  });
  const { stop } = await start();
  await signalled;
  await stop();
  observer.outcome({ event: "process", outcome: "STOPPED" });
}
