/** AWS Lambda, SQS: the edge's other entrance, a registry's events from the queue of one webhook (MPO_RELAY_WEBHOOK). */
import { settleDeliveries } from "../src/inbox.ts";
import { failuresOf, recordsOf } from "../src/lambda.ts";
import { openLambdaEdge } from "../src/lambda-edge.ts";
import { openWebhookQueue } from "../src/queues.ts";

const webhook = process.env["MPO_RELAY_WEBHOOK"] ?? "";
const { config, context } = await openLambdaEdge();
const form = config.webhooks[webhook]?.queue;
if (!form) throw new Error(`no webhook "${webhook}" with a queue in the configuration; MPO_RELAY_WEBHOOK names one`);
const queue = await openWebhookQueue(form);

/** What could not be stored is given back to SQS, hidden for longer each time; the rest Lambda deletes. */
export async function handler(event: unknown): Promise<{ batchItemFailures: { itemIdentifier: string }[] }> {
  const { left } = await settleDeliveries(recordsOf(event), { ...context, webhook, queue });
  return failuresOf(left);
}
