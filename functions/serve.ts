/** One Node process with everything: edge, embedded queue, and a consumer for each cluster that it can reach. */
import type { RelayConfig } from "../src/config.ts";
import type { Observer } from "../src/observe.ts";
import { untilStopped } from "../src/process.ts";
import { startRelay } from "../src/relay.ts";

/** Resolves when a signal has ended it and everything in hand is settled. */
export async function serve(config: RelayConfig, observer: Observer): Promise<void> {
  await untilStopped(observer, () => startRelay({ config, observer }));
}
