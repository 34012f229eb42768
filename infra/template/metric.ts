/** A metric as alarms and dashboard name it. Names and dimensions: test/alarms.test.ts holds AWS's own, src/metrics/emf.ts has ours. */
import { DIMENSION, type EmfName, NAMESPACE } from "../../src/metrics/emf.ts";
import { lambdaOf } from "./names.ts";

export interface MetricName {
  readonly namespace: string;
  readonly name: string;
  readonly dimension: string;
  /** The resource that the dimension's value comes from: `Ref`, or an attribute of it. */
  readonly resource: string;
  readonly attribute?: string;
}

/** A line of a function of ours; `key` as in names.ts. */
export const ours = (name: EmfName, key: string): MetricName => ({
  namespace: NAMESPACE,
  name,
  dimension: DIMENSION,
  resource: lambdaOf(key),
});
/** https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html */
export const ofLambda = (name: "Invocations" | "Errors" | "Throttles" | "Duration", key: string): MetricName => ({
  namespace: "AWS/Lambda",
  name,
  dimension: "FunctionName",
  resource: lambdaOf(key),
});
/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html */
export const ofQueue = (
  name:
    | "ApproximateNumberOfMessagesVisible"
    | "ApproximateNumberOfMessagesDelayed"
    | "ApproximateAgeOfOldestMessage"
    | "NumberOfMessagesReceived"
    | "NumberOfMessagesDeleted",
  resource: string,
): MetricName => ({ namespace: "AWS/SQS", name, dimension: "QueueName", resource, attribute: "QueueName" });
