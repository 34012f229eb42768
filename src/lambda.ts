/** What differs in AWS Lambda: records come in the event, whatever is not reported as failed is deleted by Lambda itself, and no disk lasts. */
import * as z from "zod";
import { configOrThrow, type RelayConfig } from "./config.ts";
import { isSuspect } from "./crashes.ts";
import { withEmf } from "./metrics/emf.ts";
import { logTo, type Observer } from "./observe.ts";
import type { Queue, QueueRecord } from "./queue/queue.ts";

export interface LambdaContext {
  getRemainingTimeInMillis(): number;
}

/** Throws an Error with every problem, also for queues that only a process with a disk can hold: the SQLite library is not in the bundle. */
export async function lambdaConfig(): Promise<RelayConfig> {
  const config = await configOrThrow();
  const places = Object.entries(config.clusters).map(([name, { queue }]) => ({ where: `clusters.${name}.queue`, form: queue }));
  const embedded = [...places, { where: "unparsed", form: config.unparsed }, { where: "journal", form: config.journal }].filter(
    ({ form }) => form?.kind === "embedded",
  );
  if (embedded.length === 0) return config;
  const where = embedded.map((place) => place.where).join(", ");
  throw new Error(
    `${where}: what is embedded needs a disk that lasts, and a Lambda function has none; write env:NAME (see infra/relay.example.yaml)`,
  );
}

/** The function's log, of whose lines CloudWatch makes metrics. Lambda sets the variable: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html */
export const lambdaLog = (config: RelayConfig): Observer =>
  withEmf(logTo(process.stdout), { named: config, function: process.env["AWS_LAMBDA_FUNCTION_NAME"] ?? "none" });

/** https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event */
const sqsEvent = z.object({
  Records: z.array(
    z.object({
      messageId: z.string(),
      receiptHandle: z.string(),
      body: z.string(),
      attributes: z.object({ ApproximateReceiveCount: z.coerce.number().int(), SentTimestamp: z.coerce.number() }),
    }),
  ),
});

/** Throws a ZodError for what is no SQS event: then the trigger is wired wrongly, and SQS keeps the records. */
export function recordsOf(event: unknown): QueueRecord[] {
  return sqsEvent.parse(event).Records.map(({ messageId, receiptHandle, body, attributes }) => ({
    id: messageId,
    receipt: receiptHandle,
    body,
    receiveCount: attributes.ApproximateReceiveCount,
    sentAt: new Date(attributes.SentTimestamp).toISOString(),
  }));
}

/** What is given back to SQS, by the trigger's `ReportBatchItemFailures`. */
export function failuresOf(records: readonly Pick<QueueRecord, "id">[]): { batchItemFailures: { itemIdentifier: string }[] } {
  return { batchItemFailures: records.map(({ id }) => ({ itemIdentifier: id })) };
}

/**
 * Copies and dead letters are stored by us; the deleting is Lambda's, after the batch. What is buried is deleted by us already, which harms
 * nothing; and so is what may crash us, or a neighbour in the batch that does would bring it back.
 */
export function lambdaQueue(queue: Queue): Pick<Queue, "send" | "acknowledge" | "defer" | "bury"> {
  const acknowledge = async (records: readonly QueueRecord[]) => {
    const suspects = records.filter(isSuspect);
    if (suspects.length > 0) await queue.acknowledge(suspects);
  };
  return {
    send: (records, options) => queue.send(records, options),
    acknowledge,
    defer: async (moves) => {
      await queue.send(moves.map(({ next }) => next));
      await acknowledge(moves.map(({ record }) => record));
    },
    bury: (record, letter) => queue.bury(record, letter),
  };
}
