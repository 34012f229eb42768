/** What the functions that take deliveries open at import, so that a wrong configuration is an init error that their log names, and not a 503 to each sender. */
import type { RelayConfig } from "./config.ts";
import type { Journal } from "./journal/journal.ts";
import { EDGE_PATIENCE_MS, openJournals } from "./journals.ts";
import { lambdaConfig, lambdaLog } from "./lambda.ts";
import { openQueues, type Queues } from "./queues.ts";
import type { ReceiveContext } from "./receive.ts";
import { createSecretReader } from "./secrets.ts";

export interface LambdaEdge {
  readonly config: RelayConfig;
  readonly queues: Queues;
  readonly journal: Journal | null;
  readonly context: ReceiveContext;
}

/** Throws an Error with every problem of the configuration, or with the queue that cannot be opened. */
export async function openLambdaEdge(): Promise<LambdaEdge> {
  const config = await lambdaConfig();
  const observer = lambdaLog(config);
  const queues = await openQueues(config, { clusters: Object.keys(config.clusters), unparsed: true, as: "owner", observer });
  const { journal, note } = await openJournals(config, { observer, patienceMs: EDGE_PATIENCE_MS });
  const { store, storeUnparsed } = queues;
  const context = { config, observer, store, storeUnparsed, note, readSecret: createSecretReader(), now: () => new Date() };
  return { config, queues, journal, context };
}
