/** AWS Lambda, SQS: the consumer of one cluster's queue (MPO_RELAY_CLUSTER). */
import { consume } from "../src/consume.ts";
import { consumeContext, openCluster } from "../src/consumer.ts";
import { openJournals, PATIENCE_MS } from "../src/journals.ts";
import { lambdaConfig, type LambdaContext, lambdaQueue, recordsOf } from "../src/lambda.ts";
import { LAMBDA_RESERVE_MS } from "../src/limits.ts";
import { logTo } from "../src/observe.ts";
import { openQueues } from "../src/queues.ts";

const cluster = process.env["MPO_RELAY_CLUSTER"] ?? "";
const config = await lambdaConfig();
const observer = logTo(process.stdout);
const queues = await openQueues(config, { clusters: [cluster], unparsed: false, as: "owner", observer });
const { note } = await openJournals(config, { observer, patienceMs: PATIENCE_MS });
const overrides = openCluster(config, cluster);
const context = consumeContext(config, { cluster, queue: lambdaQueue(queues.of(cluster)), overrides, observer, note });

/** Only records whose settling failed, or whose turn never came, are given back to SQS. */
export async function handler(event: unknown, lambda: LambdaContext): Promise<{ batchItemFailures: { itemIdentifier: string }[] }> {
  const { failed, untouched } = await consume(recordsOf(event), context, () => lambda.getRemainingTimeInMillis() > LAMBDA_RESERVE_MS);
  return { batchItemFailures: [...failed, ...untouched].map(({ id }) => ({ itemIdentifier: id })) };
}
