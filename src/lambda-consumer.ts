/** What the functions of one cluster (MPO_RELAY_CLUSTER) open at import, so that a wrong configuration is an init error that their log names. */
import type { RelayConfig } from "./config.ts";
import type { ConsumeContext } from "./consume.ts";
import { consumeContext, openCluster } from "./consumer.ts";
import { openJournals, PATIENCE_MS } from "./journals.ts";
import { lambdaConfig, lambdaLog, lambdaQueue } from "./lambda.ts";
import { openQueues } from "./queues.ts";

/** Throws an Error with every problem of the configuration, or where it has no such cluster. */
export async function openLambdaCluster(): Promise<{ readonly config: RelayConfig; readonly context: ConsumeContext }> {
  const cluster = process.env["MPO_RELAY_CLUSTER"] ?? "";
  const config = await lambdaConfig();
  const observer = lambdaLog(config);
  const queues = await openQueues(config, { clusters: [cluster], unparsed: false, as: "owner", observer });
  const { note } = await openJournals(config, { observer, patienceMs: PATIENCE_MS });
  const overrides = openCluster(config, cluster, observer);
  return { config, context: consumeContext(config, { cluster, queue: lambdaQueue(queues.of(cluster)), overrides, observer, note }) };
}
