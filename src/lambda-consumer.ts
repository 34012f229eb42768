/** What the functions of one cluster (MPO_RELAY_CLUSTER) open at import, so that a wrong configuration is an init error that their log names. */
import type { RelayConfig } from "./config.ts";
import type { ConsumeContext } from "./consume.ts";
import { consumeContext, openCluster } from "./consumer.ts";
import { openJournals, PATIENCE_MS } from "./journals.ts";
import { lambdaConfig, lambdaLog, lambdaQueue } from "./lambda.ts";
import type { RunCounts } from "./queue/queue.ts";
import { openQueues } from "./queues.ts";

/** Throws an Error with every problem of the configuration, or where it has no such cluster. */
export async function openLambdaCluster(): Promise<{ readonly config: RelayConfig; readonly context: ConsumeContext }> {
  const cluster = process.env["MPO_RELAY_CLUSTER"] ?? "";
  const config = await lambdaConfig();
  const observer = lambdaLog(config);
  const queues = await openQueues(config, { clusters: [cluster], unparsed: false, as: "owner", observer });
  const { note } = await openJournals(config, { observer, patienceMs: PATIENCE_MS });
  const overrides = openCluster(config, cluster, observer);
  const context = consumeContext(config, { cluster, queue: lambdaQueue(queues.of(cluster)), overrides, observer, note });
  const table = process.env["MPO_RELAY_RUNS"];
  return { config, context: table ? { ...context, runs: lateRuns(table) } : context };
}

/** Of the table whose name the stack hands over. Its SDK is loaded where a record is first counted, which is seldom. */
function lateRuns(table: string): RunCounts {
  let opening: Promise<RunCounts> | null = null;
  const open = () => (opening ??= import("./journal/dynamodb.ts").then(({ openDynamoRuns }) => openDynamoRuns(table)));
  return {
    begin: async (record) => (await open()).begin(record),
    forget: async (record) => (await open()).forget(record),
  };
}
