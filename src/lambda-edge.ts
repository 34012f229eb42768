/** What the functions that take deliveries open at import, so that a wrong configuration is an init error that their log names, and not a 503 to each sender. */
import type { RelayConfig } from "./config.ts";
import type { Journal } from "./journal/journal.ts";
import { EDGE_PATIENCE_MS, openJournals } from "./journals.ts";
import { lambdaConfig, lambdaLog } from "./lambda.ts";
import { openQueues, type Queues } from "./queues.ts";
import type { ReceiveContext } from "./receive.ts";
import { boundRefusals } from "./refusals.ts";
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
  const { observer } = boundRefusals(lambdaLog(config)); // what is summed up is told by this instance's next call; of one that ends before, it is lost
  const queues = await openQueues(config, { clusters: Object.keys(config.clusters), unparsed: true, as: "owner", observer });
  const { journal, note } = await openJournals(config, { observer, patienceMs: EDGE_PATIENCE_MS });
  const { store, storeUnparsed } = queues;
  const context = { config, observer, store, storeUnparsed, note, readSecret: createSecretReader(), now: () => new Date() };
  return { config, queues, journal, context };
}

/** Lambda takes no larger event, and the body is in it: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const LARGEST_BODY = 6 * 1024 ** 2;

/** The app's limits, where a body is in hand whole before anybody looks: it is measured by `receive`, once its sender is known, so a stranger's is no alarm. */
export const withWholeBodies = ({ limits, webhooks }: RelayConfig): Pick<RelayConfig, "limits" | "webhooks"> => ({
  limits: { ...limits, body: LARGEST_BODY },
  webhooks: Object.fromEntries(Object.entries(webhooks).map(([name, webhook]) => [name, { ...webhook, maxBody: null }])),
});
