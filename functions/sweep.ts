/** AWS Lambda, on a schedule: one sweep of one cluster (MPO_RELAY_CLUSTER). What is behind goes into its queue, where the consumer takes it. */
import { consumeContext, openCluster, openSweeper } from "../src/consumer.ts";
import { openJournals, PATIENCE_MS } from "../src/journals.ts";
import { lambdaConfig, type LambdaContext, lambdaQueue } from "../src/lambda.ts";
import { LAMBDA_RESERVE_MS } from "../src/limits.ts";
import { logTo } from "../src/observe.ts";
import { openQueues } from "../src/queues.ts";
import { createTroubleNews } from "../src/sweeper.ts";

const cluster = process.env["MPO_RELAY_CLUSTER"] ?? "";
const config = await lambdaConfig();
const observer = logTo(process.stdout);
const queues = await openQueues(config, { clusters: [cluster], unparsed: false, as: "owner", observer });
const { note } = await openJournals(config, { observer, patienceMs: PATIENCE_MS });
const overrides = openCluster(config, cluster);
const context = consumeContext(config, { cluster, queue: lambdaQueue(queues.of(cluster)), overrides, observer, note });
const swept = openSweeper(config, context, createTroubleNews(observer));

export async function handler(_event: unknown, lambda: LambdaContext): Promise<{ queued: number }> {
  if (!swept || !(await context.circuit.probe())) return { queued: 0 }; // either was told
  const queued = await swept.sweeper.sweep(AbortSignal.timeout(Math.max(0, lambda.getRemainingTimeInMillis() - LAMBDA_RESERVE_MS)));
  return { queued };
}
