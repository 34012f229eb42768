/** AWS Lambda, SQS: the consumer of one cluster's queue (MPO_RELAY_CLUSTER). */
import { consume } from "../src/consume.ts";
import { failuresOf, type LambdaContext, recordsOf } from "../src/lambda.ts";
import { openLambdaCluster } from "../src/lambda-consumer.ts";
import { LAMBDA_RESERVE_MS } from "../src/limits.ts";

const { context } = await openLambdaCluster();

/** Only records whose settling failed, or whose turn never came, are given back to SQS. */
export async function handler(event: unknown, lambda: LambdaContext): Promise<{ batchItemFailures: { itemIdentifier: string }[] }> {
  const { failed, untouched } = await consume(recordsOf(event), context, () => lambda.getRemainingTimeInMillis() > LAMBDA_RESERVE_MS);
  return failuresOf([...failed, ...untouched]);
}
