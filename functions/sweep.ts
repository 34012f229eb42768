/** AWS Lambda, on a schedule: one sweep of one cluster (MPO_RELAY_CLUSTER). What is behind goes into its queue, where the consumer takes it. */
import { openSweeper } from "../src/consumer.ts";
import type { LambdaContext } from "../src/lambda.ts";
import { openLambdaCluster } from "../src/lambda-consumer.ts";
import { LAMBDA_RESERVE_MS } from "../src/limits.ts";
import { createTroubleNews } from "../src/sweeper.ts";

const { config, context } = await openLambdaCluster();
const swept = openSweeper(config, context, createTroubleNews(context.observer));

export async function handler(_event: unknown, lambda: LambdaContext): Promise<{ queued: number }> {
  if (!swept || !(await context.circuit.probe())) return { queued: 0 }; // either was told
  const queued = await swept.sweeper.sweep(AbortSignal.timeout(Math.max(0, lambda.getRemainingTimeInMillis() - LAMBDA_RESERVE_MS)));
  return { queued };
}
