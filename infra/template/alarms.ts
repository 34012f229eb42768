/**
 * CloudWatch alarms: each says what it means and what to type first. What is counted here is not published while nothing happens, so
 * what is missing is well, but for a clock. A metric that stands in a log line may come late, hence one of three periods.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Alarms.html
 */
import { type Alarm, alarmOf, DAY_SECONDS, LONGEST_SECONDS, PERIOD_SECONDS } from "./alarm.ts";
import { ofLambda, ofQueue, ours } from "./metric.ts";
import {
  consumerOf,
  deadLettersOf,
  deliveriesOf,
  type Deployed,
  EDGE,
  inboxOf,
  queueOf,
  type Resources,
  sweepOf,
  undeliveredOf,
  UNPARSED_QUEUE,
} from "./names.ts";
import { MAX_RECEIVE_COUNT, VISIBILITY_SECONDS } from "./queues.ts";

/** What Lambda received and did not hand over, over and over again. */
const BURIED = `nothing is lost, but after ${(MAX_RECEIVE_COUNT * VISIBILITY_SECONDS) / 3600} h of this SQS moves records to the dead letters: npx mpo-relay dlq redrive, once the cause is gone`;
/**
 * A record that is put off is stored anew for at most MAX_DELAY_SECONDS (src/limits.ts); twice as old, nobody takes it. What was received
 * three times is not in this metric any more: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
 */
const STUCK_SECONDS = 1800;
/** Two days before SQS deletes what is 14 days old. */
const EXPIRES_SECONDS = 12 * 24 * 3600;
/** Longer than a record is hidden, so that there is a receive in each. */
const UNSETTLED_SECONDS = 600;
/** Of a line's metric. */
const LATE = [1, 3] as const;

/** Logical ids begin with `Alarm`. `topic`: the ARN of whom they tell; without one ("") they are only seen in the console. */
export function alarms(deployed: Deployed, topic: string): Resources {
  const { service, stage, clusters, inboxes, sweepMinutes } = deployed;
  const all = [
    ...named("edge", edge(stage)),
    ...named("unparsed", unparsed()),
    ...inboxes.flatMap(({ webhook, id }) => named(webhook, ofInbox(stage, webhook, id), id)),
    ...clusters.flatMap(({ name, id, consumed }) =>
      named(name, { ...ofAnyCluster(name, id, consumed), ...(consumed && ofConsumed(stage, name, id, sweepMinutes)) }, id),
    ),
  ];
  return Object.fromEntries(all.map(({ id, name, alarm }) => [`Alarm${id}`, alarmOf(`${service}-${stage}-${name}`, alarm, topic)]));
}

function edge(stage: string): Record<string, Alarm> {
  const logs = "query `alarms` of Logs Insights";
  return {
    AuthFailures: {
      metric: ours("AuthFailed", EDGE),
      statistic: "Sum",
      periods: LATE,
      means:
        "somebody called a webhook that exists without its secret. If it was the registry, its pushes are refused and most registries do not send them again",
      first: "query `refused deliveries by webhook` of Logs Insights, then npx mpo-relay webhook NAME for what the registry must hold",
    },
    Failed: {
      metric: ours("Failed", EDGE),
      statistic: "Sum",
      periods: LATE,
      means:
        "deliveries were answered 503: a queue did not take them, or a secret cannot be read. Senders were told to try again; some do not",
      first: logs,
    },
    Throttles: {
      metric: ofLambda("Throttles", EDGE),
      statistic: "Sum",
      means: "AWS refused deliveries since too many ran at once. Most registries do not send them again",
      first: "aws lambda get-account-settings, and ask for more concurrent executions; then npx mpo-relay sweep for what was missed",
    },
    Errors: {
      metric: ofLambda("Errors", EDGE),
      statistic: "Sum",
      means: "the edge crashed, ran out of time, or does not start: a wrong configuration is named in its log",
      first: `npx osls logs --function edge --stage ${stage} --startTime 15m`,
    },
    Alarms: {
      metric: ours("Alarms", EDGE),
      statistic: "Sum",
      periods: LATE,
      means: "the edge wrote a line with `alarm`, which says what it means and what to do",
      first: logs,
    },
  };
}

const kept = (queue: string, place: string, means: string): Alarm => ({
  metric: ofQueue("ApproximateNumberOfMessagesVisible", queue),
  statistic: "Maximum",
  means,
  first: `npx mpo-relay dlq list --cluster ${place}`,
});
const expiring = (queue: string, place: string): Alarm => ({
  metric: ofQueue("ApproximateAgeOfOldestMessage", queue),
  statistic: "Maximum",
  over: EXPIRES_SECONDS,
  means: "SQS deletes dead letters within two days",
  first: `npx mpo-relay dlq export --cluster ${place}`,
});

/** Under other keys than a cluster's, which may be called like this. */
const unparsed = (): Record<string, Alarm> => ({
  Kept: kept(UNPARSED_QUEUE, "unparsed", "deliveries that could not be read are kept raw"),
  Expire: expiring(UNPARSED_QUEUE, "unparsed"),
});

function ofAnyCluster(name: string, id: string, consumed: boolean): Record<string, Alarm> {
  return {
    DeadLetters: kept(deadLettersOf(id), name, `pushes to cluster ${name} ended without taking effect, each with its reason`),
    DeadLettersExpire: expiring(deadLettersOf(id), name),
    Stuck: {
      metric: ofQueue("ApproximateAgeOfOldestMessage", queueOf(id)),
      statistic: "Maximum",
      over: STUCK_SECONDS,
      means: `nobody takes the records of cluster ${name}: ${consumed ? "the trigger of its consumer is off, or may not take" : "no worker runs"}. Nothing is lost; records are kept for 14 days`,
      first: `npx mpo-relay dlq list --cluster ${name} for how many wait; then the consumer's log, or the worker's`,
    },
  };
}

/** Its deliveries are stored in the clusters' queues, and stay in their own where that fails. */
function ofInbox(stage: string, webhook: string, id: string): Record<string, Alarm> {
  const key = inboxOf(id);
  return {
    InboxErrors: crashed(stage, key),
    InboxAlarms: told(key),
    Waiting: {
      metric: ofQueue("ApproximateAgeOfOldestMessage", deliveriesOf(id)),
      statistic: "Maximum",
      over: STUCK_SECONDS,
      means: `deliveries of webhook ${webhook} wait in its queue: nobody takes them, or a cluster's queue does not. Nothing is lost; they are kept for 14 days`,
      first: "query `alarms` of Logs Insights",
    },
    Undelivered: {
      metric: ofQueue("ApproximateNumberOfMessagesVisible", undeliveredOf(id)),
      statistic: "Maximum",
      means: `EventBridge could not put events into the queue of webhook ${webhook}, or one was received a thousand times`,
      first: "npx mpo-relay sweep for what was missed; the queue's messages say why (ERROR_CODE)",
    },
  };
}

const told = (key: string): Alarm => ({
  metric: ours("Alarms", key),
  statistic: "Sum",
  periods: LATE,
  means: `${key} wrote a line with \`alarm\`, which says what it means and what to do`,
  first: "query `alarms` of Logs Insights",
});
const crashed = (stage: string, key: string): Alarm => ({
  metric: ofLambda("Errors", key),
  statistic: "Sum",
  means: `${key} crashed, ran out of time, or does not start: a wrong configuration is named in its log. What it had in hand comes again`,
  first: `npx osls logs --function ${key} --stage ${stage} --startTime 15m`,
});

function ofConsumed(stage: string, name: string, id: string, sweepMinutes: number): Record<string, Alarm> {
  const [consumer, sweep] = [consumerOf(id), sweepOf(id)];
  const errors = crashed(stage, consumer);
  return {
    Unsettled: {
      metric: ofQueue("NumberOfMessagesReceived", queueOf(id)),
      hasNone: ofQueue("NumberOfMessagesDeleted", queueOf(id)),
      statistic: "Sum",
      periodSeconds: UNSETTLED_SECONDS,
      periods: [2, 2],
      means: `Lambda takes the records of cluster ${name}, and none is settled: its consumer is throttled, does not start, or dies. They wait; ${BURIED}`,
      first: `npx osls logs --function ${consumer} --stage ${stage} --startTime 30m; where nothing is new, aws lambda get-account-settings, for too many functions of this account run at once`,
    },
    ConsumerErrors: { ...errors, means: `${errors.means}; ${BURIED}` },
    ConsumerAlarms: told(consumer),
    SweepErrors: crashed(stage, sweep),
    SweepAlarms: told(sweep),
    ...(sweepMinutes > 0 && { SweepStopped: stopped(name, sweep, sweepMinutes) }),
    Unconfirmed: {
      metric: ours("Unconfirmed", consumer),
      statistic: "Sum",
      periods: LATE,
      means: `a push to cluster ${name} was nudged, and to the last look Deckhouse did not run it`,
      first: `npx mpo-relay dlq list --cluster ${name}, then dlq show ID for the override's status`,
    },
    WebhookSilent: {
      metric: ours("WebhookSilent", sweep),
      statistic: "Sum",
      periods: LATE,
      means: `a push to cluster ${name} came to its registry and no webhook told of it; the sweep found it`,
      first: "query `alarms` of Logs Insights for the source, then npx mpo-relay send WEBHOOK --url URL",
    },
  };
}

/** Three sweeps that did not come. What comes by a clock is missed by nothing else: a call that never was is neither an error nor throttled. */
function stopped(name: string, sweep: string, minutes: number): Alarm {
  const periodSeconds = Math.min(DAY_SECONDS, Math.max(PERIOD_SECONDS, minutes * 60));
  const many = Math.min(Math.max(3, Math.ceil((3 * minutes * 60) / periodSeconds)), LONGEST_SECONDS / periodSeconds);
  return {
    metric: ofLambda("Invocations", sweep),
    statistic: "Sum",
    over: "nothing",
    periodSeconds,
    periods: [many, many],
    means: `nobody looks for lost pushes to cluster ${name}: its sweep was not called, as its schedule (a rule of EventBridge) is off or gone, or it is throttled. Also after the first deploy, until the first sweep`,
    first: `aws events list-rules --query "Rules[?State=='DISABLED'].Name", then aws events enable-rule --name NAME; where there is none, deploy again`,
  };
}

/** `AuthFailures` → `edge-auth-failures`, AlarmEdgeAuthFailures. */
const named = (place: string, alarms: Record<string, Alarm>, id = place.charAt(0).toUpperCase() + place.slice(1)) =>
  Object.entries(alarms).map(([key, alarm]) => ({
    id: `${id}${key}`,
    name: `${place}${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    alarm,
  }));
