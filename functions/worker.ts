/** The consumer alone, long-polling outwards: for clusters that nobody can reach from outside. */
import type { RelayConfig } from "../src/config.ts";
import type { Observer } from "../src/observe.ts";
import { untilStopped } from "../src/process.ts";
import { startRelay } from "../src/relay.ts";

/** `clusters`: whose queues to consume; empty: every cluster that has `kubernetes`. */
export async function worker(config: RelayConfig, observer: Observer, clusters: readonly string[]): Promise<void> {
  await untilStopped(observer, () => startRelay({ config, observer, roles: ["consumer"], ...(clusters.length > 0 && { clusters }) }));
}
