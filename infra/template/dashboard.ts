/**
 * One dashboard: the edge on top, then a row for each cluster.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
 */
import { type MetricName, ofLambda, ofQueue, ours } from "./metric.ts";
import {
  consumerOf,
  deadLettersOf,
  deliveriesOf,
  type Deployed,
  EDGE,
  inboxOf,
  keysOf,
  logsOf,
  queueOf,
  type Resources,
  sweepOf,
  undeliveredOf,
  UNPARSED_QUEUE,
} from "./names.ts";

type Statistic = "Sum" | "Maximum" | "p50" | "p99";
interface Line {
  readonly metric: MetricName;
  readonly statistic: Statistic;
  readonly label: string;
}
const line = (metric: MetricName, statistic: Statistic, label: string): Line => ({ metric, statistic, label });
interface Widget {
  readonly type: "metric" | "text" | "log";
  readonly width: number;
  readonly height: number;
  readonly properties: Readonly<Record<string, unknown>>;
}
const WIDTH = 24;
const PERIOD_SECONDS = 300;

export function dashboard(deployed: Deployed): Resources {
  const { service, stage, clusters, inboxes } = deployed;
  const rows = [
    [heading(`${service}-${stage}: edge`)],
    edge(),
    ...inboxes.flatMap(({ webhook, id }) => [[heading(`Webhook ${webhook}, from its queue`)], ofInbox(id)]),
    ...clusters.flatMap((cluster) => [[heading(`Cluster ${cluster.name}`)], ofCluster(cluster)]),
    [alarmLines(keysOf(deployed))],
  ];
  const body = { start: "-PT12H", periodOverride: "inherit", widgets: placed(rows) };
  const Properties = { DashboardName: `${service}-${stage}`, DashboardBody: { "Fn::Sub": JSON.stringify(body) } };
  return { Dashboard: { Type: "AWS::CloudWatch::Dashboard", Properties } };
}

const edge = (): Widget[] => [
  graph("Deliveries", [...decisions(EDGE), line(ours("AuthFailed", EDGE), "Sum", "not authenticated")]),
  untilStored(EDGE),
  running(EDGE),
  graph("Unread deliveries", [line(ofQueue("ApproximateNumberOfMessagesVisible", UNPARSED_QUEUE), "Maximum", "kept raw")]),
];

const ofInbox = (id: string): Widget[] => [
  graph("Deliveries", decisions(inboxOf(id))),
  untilStored(inboxOf(id)),
  running(inboxOf(id)),
  graph("Queue", [
    line(ofQueue("ApproximateNumberOfMessagesVisible", deliveriesOf(id)), "Maximum", "waiting"),
    line(ofQueue("ApproximateNumberOfMessagesVisible", undeliveredOf(id)), "Maximum", "dead letters"),
  ]),
];

const decisions = (key: string) => [
  line(ours("Queued", key), "Sum", "queued"),
  line(ours("Skipped", key), "Sum", "not for us"),
  line(ours("Unparsed", key), "Sum", "unread"),
  line(ours("Failed", key), "Sum", "not stored: to be tried again"),
];
const untilStored = (key: string) =>
  graph("Until it is stored, s", [line(ours("ReceiveToQueued", key), "p50", "p50"), line(ours("ReceiveToQueued", key), "p99", "p99")]);
const running = (key: string) =>
  graph("Function", [
    line(ofLambda("Invocations", key), "Sum", "calls"),
    line(ofLambda("Errors", key), "Sum", "errors"),
    line(ofLambda("Throttles", key), "Sum", "throttled"),
  ]);

function ofCluster({ id, consumed }: Deployed["clusters"][number]): Widget[] {
  const queue = graph("Queue", [
    line(ofQueue("ApproximateNumberOfMessagesVisible", queueOf(id)), "Maximum", "waiting"),
    line(ofQueue("ApproximateNumberOfMessagesDelayed", queueOf(id)), "Maximum", "put off"),
    line(ofQueue("ApproximateNumberOfMessagesVisible", deadLettersOf(id)), "Maximum", "dead letters"),
  ]);
  const age = graph("Age of the oldest record, s", [line(ofQueue("ApproximateAgeOfOldestMessage", queueOf(id)), "Maximum", "oldest")]);
  if (!consumed) return [queue, age];
  const [consumer, sweep] = [consumerOf(id), sweepOf(id)];
  return [
    queue,
    age,
    graph("Records", [
      line(ofQueue("NumberOfMessagesReceived", queueOf(id)), "Sum", "taken"),
      line(ofQueue("NumberOfMessagesDeleted", queueOf(id)), "Sum", "settled"),
    ]),
    graph("Pushes", [
      line(ours("Nudged", consumer), "Sum", "nudged"),
      line(ours("PickedUp", consumer), "Sum", "picked up"),
      line(ours("Unconfirmed", consumer), "Sum", "unconfirmed"),
      line(ours("WebhookSilent", sweep), "Sum", "told by no webhook"),
    ]),
    graph("From push, s", [
      line(ours("ReceiveToPatched", consumer), "p50", "patched, p50"),
      line(ours("ReceiveToPatched", consumer), "p99", "patched, p99"),
      line(ours("PushToPickedUp", consumer), "p50", "picked up, p50"),
      line(ours("PushToPickedUp", consumer), "p99", "picked up, p99"),
    ]),
    graph("Overrides", [
      line(ours("OverridesPush", sweep), "Maximum", "push"),
      line(ours("OverridesPolling", sweep), "Maximum", "polling"),
      line(ours("OverridesBehind", sweep), "Maximum", "behind"),
      line(ours("OverridesUnserved", sweep), "Maximum", "unserved"),
      line(ours("OverridesUnknown", sweep), "Maximum", "unknown"),
    ]),
    graph("Functions", [
      line(ofLambda("Errors", consumer), "Sum", "consumer: errors"),
      line(ofLambda("Throttles", consumer), "Sum", "consumer: throttled"),
      line(ofLambda("Errors", sweep), "Sum", "sweep: errors"),
      line(ofLambda("Invocations", sweep), "Sum", "sweep: calls"),
      line(ofLambda("Duration", consumer), "Maximum", "consumer: longest, ms"),
    ]),
  ];
}

const heading = (text: string): Widget => ({ type: "text", width: WIDTH, height: 1, properties: { markdown: `## ${text}` } });

const graph = (title: string, lines: readonly Line[]): Widget => ({
  type: "metric",
  width: 6,
  height: 6,
  properties: {
    title,
    region: "${AWS::Region}",
    view: "timeSeries",
    period: PERIOD_SECONDS,
    metrics: lines.map(({ metric: { namespace, name, dimension, resource, attribute }, statistic, label }) => {
      const value = attribute === undefined ? `\${${resource}}` : `\${${resource}.${attribute}}`;
      return [namespace, name, dimension, value, { stat: statistic, label }];
    }),
  },
});

function alarmLines(keys: readonly string[]): Widget {
  const sources = keys.map((key) => `SOURCE '\${${logsOf(key)}}'`).join(" | ");
  const query = `${sources} | filter ispresent(alarm) | fields @timestamp, alarm, cluster, webhook, why, message | sort @timestamp desc | limit 50`;
  return {
    type: "log",
    width: WIDTH,
    height: 6,
    properties: { title: "Alarms in the log", region: "${AWS::Region}", view: "table", query },
  };
}

/** From left to right, and further down where there is no more room. */
function placed(rows: readonly (readonly Widget[])[]) {
  const widgets: (Widget & { readonly x: number; readonly y: number })[] = [];
  let bottom = 0;
  for (const row of rows) {
    let x = 0;
    let y = bottom;
    for (const widget of row) {
      if (x + widget.width > WIDTH) [x, y] = [0, bottom];
      widgets.push({ ...widget, x, y });
      x += widget.width;
      bottom = Math.max(bottom, y + widget.height);
    }
  }
  return widgets;
}
