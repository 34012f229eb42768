/** Codes of alarms and their page; alarms, dashboard and saved queries of a deployment: each metric is one that somebody publishes, each reference one that is there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { alarms } from "../infra/template/alarms.ts";
import { dashboard } from "../infra/template/dashboard.ts";
import * as names from "../infra/template/names.ts";
import { queries } from "../infra/template/queries.ts";
import { CONSUMER_TIMEOUT_SECONDS, MAX_RECEIVE_COUNT } from "../infra/template/queues.ts";
import { DIMENSION, type EmfMetric, EMF_METRICS, NAMESPACE } from "../src/metrics/emf.ts";
import { MAX_DELAY_SECONDS, VISIBILITY_SECONDS } from "../src/limits.ts";
import { isErrorCode } from "../src/outcome.ts";
import { check, templateSchema } from "./support/cloudformation.ts";
import { mpoRelay } from "./support/cli.ts";
import { alarmCodes } from "./support/monitoring.ts";

const deployed: names.Deployed = {
  service: "mpo-relay",
  stage: "dev",
  sweepMinutes: 20,
  clusters: [
    { name: "dev", id: "Dev", consumed: true },
    { name: "stage-1", id: "Stage1", consumed: false },
    { name: "Unparsed", id: "Unparsed", consumed: true }, // called like something else of the stack
    { name: "edge", id: "Edge", consumed: true },
  ],
  inboxes: [{ webhook: "dev", id: "Dev" }], // as a cluster, too
};

/** What the stack has beside them, and osls adds. */
function stack(): Record<string, object> {
  const keys = names.keysOf(deployed);
  const ofClusters = deployed.clusters.flatMap(({ id }) => [names.queueOf(id), names.deadLettersOf(id)]);
  const ofWebhooks = deployed.inboxes.flatMap(({ id }) => [names.deliveriesOf(id), names.undeliveredOf(id)]);
  const queues = [names.UNPARSED_QUEUE, ...ofClusters, ...ofWebhooks];
  const code = { Code: { ZipFile: "none" }, Role: "arn:aws:iam::123456789012:role/none" };
  return Object.fromEntries([
    ...queues.map((id) => [id, { Type: "AWS::SQS::Queue" }] as const),
    ...keys.map((key) => [names.lambdaOf(key), { Type: "AWS::Lambda::Function", Properties: code }] as const),
    ...keys.map((key) => [names.logsOf(key), { Type: "AWS::Logs::LogGroup" }] as const),
  ]);
}
const watched = alarms(deployed, "");
const all = { ...watched, ...dashboard(deployed), ...queries(deployed) };
const metricSchema = {
  Namespace: z.string(),
  MetricName: z.string(),
  Dimensions: z.tuple([z.strictObject({ Name: z.string(), Value: z.record(z.string(), z.unknown()) })]),
};
const statistic = z.enum(["Sum", "Maximum"]);
const plainSchema = {
  AlarmName: z.string().max(255),
  AlarmDescription: z.string().max(1024),
  EvaluationPeriods: z.int(),
  DatapointsToAlarm: z.int(),
  Threshold: z.int().min(0),
  ComparisonOperator: z.enum(["GreaterThanThreshold", "LessThanThreshold"]),
  TreatMissingData: z.enum(["notBreaching", "breaching"]),
};
const partSchema = z.strictObject({
  Id: z.string().regex(/^[a-z][a-zA-Z0-9_]*$/),
  MetricStat: z.strictObject({ Metric: z.strictObject(metricSchema), Stat: statistic, Period: z.int() }),
  ReturnData: z.literal(false),
});
const alarmSchema = z.union([
  z
    .strictObject({ ...plainSchema, ...metricSchema, Statistic: statistic, Period: z.int() })
    .transform(({ Namespace, MetricName, Dimensions, ...rest }) => ({ ...rest, metrics: [{ Namespace, MetricName, Dimensions }] })),
  z
    .strictObject({
      ...plainSchema,
      Metrics: z.tuple([z.strictObject({ Id: z.string(), Expression: z.string(), ReturnData: z.literal(true) }), partSchema, partSchema]),
    })
    .transform(({ Metrics: [{ Expression }, ...parts], ...rest }) => {
      for (const { Id } of parts) expect(Expression).toContain(`FILL(${Id}, 0)`);
      const [{ MetricStat }, second] = parts;
      expect(second.MetricStat).toMatchObject({ Period: MetricStat.Period, Stat: MetricStat.Stat });
      return { ...rest, Statistic: MetricStat.Stat, Period: MetricStat.Period, metrics: parts.map((each) => each.MetricStat.Metric) };
    }),
]);
const each = Object.entries(watched).map(([id, { Properties }]) => ({ id, ...alarmSchema.parse(Properties) }));
const bodySchema = z.object({
  widgets: z.array(
    z.object({
      type: z.enum(["metric", "text", "log"]),
      x: z.int().min(0),
      y: z.int().min(0),
      width: z.int().min(1),
      height: z.int().min(1),
      properties: z.record(z.string(), z.unknown()),
    }),
  ),
});
const seriesSchema = z.array(z.tuple([z.string(), z.string(), z.string(), z.string(), z.object({ stat: z.string(), label: z.string() })]));
const subSchema = z.object({ DashboardName: z.string(), DashboardBody: z.object({ "Fn::Sub": z.string() }) });
const text = subSchema.parse(dashboard(deployed)["Dashboard"]?.Properties).DashboardBody["Fn::Sub"];
const { widgets } = bodySchema.parse(JSON.parse(text));
const series = widgets.flatMap(({ type, properties }) => (type === "metric" ? seriesSchema.parse(properties["metrics"]) : []));

/**
 * What AWS publishes, by hand from
 * https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html and
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
 */
const PUBLISHED: Readonly<Record<string, { readonly dimension: string; readonly ids: RegExp; readonly metrics: readonly string[] }>> = {
  "AWS/Lambda": { dimension: "FunctionName", ids: /LambdaFunction$/, metrics: ["Invocations", "Errors", "Throttles", "Duration"] },
  "AWS/SQS": {
    dimension: "QueueName",
    ids: /^(?:Queue|DeadLetters|Deliveries|Undelivered|UnparsedQueue)/,
    metrics: [
      "ApproximateAgeOfOldestMessage",
      "ApproximateNumberOfMessagesDelayed",
      "ApproximateNumberOfMessagesVisible",
      "NumberOfMessagesDeleted",
      "NumberOfMessagesReceived",
    ],
  },
};
const ours = new Map<string, EmfMetric>(Object.entries(EMF_METRICS));

/** null, or what is wrong with a metric that is named so of that resource. */
function wrong(namespace: string, metric: string, dimension: string, resource: string): string | null {
  if (namespace === NAMESPACE) {
    const by = /^(Edge|Inbox|Consumer|Sweep).*LambdaFunction$/.exec(resource)?.[1]?.toLowerCase();
    const printed = ours.get(metric)?.by.some((kind) => kind === by) ?? false;
    return printed && dimension === DIMENSION ? null : `${resource} prints no ${metric} by ${dimension}`;
  }
  const known = PUBLISHED[namespace];
  const isKnown = known?.dimension === dimension && known.metrics.includes(metric) && known.ids.test(resource);
  return isKnown ? null : `${namespace} has no ${metric} by ${dimension} of ${resource}`;
}
const resourceOf = (value: Readonly<Record<string, unknown>>) => String([value["Ref"] ?? value["Fn::GetAtt"]].flat()[0]);

it("all fits CloudFormation's schema, and refers to what is there", async () => {
  const template = templateSchema.parse({ Resources: { ...stack(), ...all } });
  const { problems, values } = await check(template);
  expect(problems).toEqual([]);
  expect(values).toBeGreaterThan(500);
  const faulty = templateSchema.parse({ Resources: all });
  expect((await check(faulty)).problems.join("\n")).toMatch(
    /AlarmDevStuck\..*no resource QueueDev\n[^]*Dashboard\..*no resource EdgeLogGroup\n[^]*QueryAlarms/,
  );
});

it("each metric, by its dimension, is one that the function's lines hold or AWS publishes", () => {
  const measured = each.flatMap(({ metrics }) => metrics);
  expect(
    measured
      .map(({ Namespace, MetricName, Dimensions: [{ Name, Value }] }) => wrong(Namespace, MetricName, Name, resourceOf(Value)))
      .filter(Boolean),
  ).toEqual([]);
  expect(measured.length).toBeGreaterThan(each.length);
  const drawn = series.map(([namespace, metric, dimension, value]) =>
    wrong(namespace, metric, dimension, value.replaceAll(/^\$\{(\w+).*$/g, "$1")),
  );
  expect(drawn.filter(Boolean)).toEqual([]);
  expect(drawn.length).toBeGreaterThan(60);
  const shown = new Set(series.filter(([namespace]) => namespace === NAMESPACE).map(([, metric]) => metric));
  expect([...ours.keys()].filter((metric) => !shown.has(metric) && metric !== "Alarms")).toEqual([]); // those are listed, not drawn
});

it("what SQS makes in the end of records that are taken in vain is told with its alarms: AWS counts each try to call a consumer as a receive", () => {
  const hours = (MAX_RECEIVE_COUNT * 6 * CONSUMER_TIMEOUT_SECONDS) / 3600;
  expect(hours).toBeGreaterThan(72); // a weekend
  const told = each.filter(({ AlarmDescription }) => AlarmDescription.includes(`${hours} h`)).map(({ id }) => id);
  const consumed = ["Dev", "Edge", "Unparsed"].flatMap((id) => [`Alarm${id}ConsumerErrors`, `Alarm${id}Unsettled`]);
  expect(told.toSorted()).toEqual(consumed.toSorted()); // where a worker is away, nobody counts
});

it.each([
  ["our own of another function", NAMESPACE, "Queued", DIMENSION, "ConsumerDevLambdaFunction"],
  ["our own by another dimension", NAMESPACE, "Queued", "FunctionName", "EdgeLambdaFunction"],
  ["one that nobody prints", NAMESPACE, "Lost", DIMENSION, "EdgeLambdaFunction"],
  ["one that AWS has not", "AWS/SQS", "OldestMessage", "QueueName", "QueueDev"],
  ["a queue's of a function", "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "EdgeLambdaFunction"],
])("a metric that nobody publishes is found: %s", (_what, ...metric) => {
  expect(wrong(...metric)).not.toBeNull();
});

describe("alarms", () => {
  it("are of the edge, of unread deliveries and of each cluster, with functions where it is consumed here", () => {
    const idsOf = (prefix: string) => each.flatMap(({ id }) => (id.startsWith(prefix) ? [id.slice(prefix.length)] : []));
    expect(idsOf("AlarmStage1")).toEqual(["DeadLetters", "DeadLettersExpire", "Stuck"]);
    const consumed = ["ConsumerAlarms", "ConsumerErrors", "DeadLetters", "DeadLettersExpire", "Stuck", "Unsettled"];
    const inbox = ["InboxAlarms", "InboxErrors", "Undelivered", "Waiting"];
    expect(idsOf("AlarmDev").toSorted()).toEqual(
      [...consumed, ...inbox, "SweepAlarms", "SweepErrors", "SweepStopped", "Unconfirmed", "WebhookSilent"].toSorted(),
    );
    expect(
      idsOf("AlarmEdge")
        .filter((id) => !/^(?:Consumer|Sweep)/.test(id))
        .toSorted(),
    ).toEqual([
      "Alarms",
      "AuthFailures",
      "DeadLetters",
      "DeadLettersExpire",
      "Errors",
      "Failed",
      "Stuck",
      "Throttles",
      "Unconfirmed",
      "Unsettled",
      "WebhookSilent",
    ]);
    expect(each).toHaveLength(5 + 2 + 4 + 3 * 11 + 3);
    expect(new Set(each.map(({ AlarmName }) => AlarmName)).size).toBe(each.length);
  });

  it("look at whole periods, and not so far back that CloudWatch refuses", () => {
    for (const { id, Period, EvaluationPeriods, DatapointsToAlarm } of each) {
      expect([10, 20, 30].includes(Period) || Period % 60 === 0, id).toBe(true);
      expect(Period * EvaluationPeriods, id).toBeLessThanOrEqual((Period < 3600 ? 1 : 7) * 24 * 3600);
      expect(DatapointsToAlarm, id).toBeGreaterThanOrEqual(1);
      expect(DatapointsToAlarm, id).toBeLessThanOrEqual(EvaluationPeriods);
    }
  });

  it("add up events and take the worst of what is measured; a line's metric may come late", () => {
    for (const { id, metrics, Statistic, EvaluationPeriods, DatapointsToAlarm } of each) {
      expect(Statistic, id).toBe(metrics.every(({ MetricName }) => MetricName.startsWith("Approximate")) ? "Maximum" : "Sum");
      if (metrics.some(({ Namespace }) => Namespace === NAMESPACE)) expect([DatapointsToAlarm, EvaluationPeriods], id).toEqual([1, 3]);
    }
  });

  it("leave a record its longest wait, and who exports dead letters two days", () => {
    const over = (suffix: string) => new Set(each.filter(({ id }) => id.endsWith(suffix)).map(({ Threshold }) => Threshold));
    expect(over("Stuck")).toEqual(new Set([1800]));
    expect(over("Waiting")).toEqual(new Set([1800]));
    expect(1800).toBeGreaterThan(MAX_DELAY_SECONDS + 6 * CONSUMER_TIMEOUT_SECONDS + VISIBILITY_SECONDS);
    expect(over("Expire")).toEqual(new Set([12 * 24 * 3600]));
    const others = each.filter(({ id }) => !/(?:Stuck|Waiting|Expire|SweepStopped)$/.test(id));
    expect(new Set(others.map(({ Threshold }) => Threshold))).toEqual(new Set([0]));
  });

  it("see within minutes that what is taken is not settled, which the age of the oldest does not show after three receives", () => {
    const hidden = 6 * CONSUMER_TIMEOUT_SECONDS;
    expect(1800).toBeGreaterThan(3 * hidden); // too late for `Stuck`
    const unsettled = each.filter(({ id }) => id.endsWith("Unsettled"));
    expect(unsettled).toHaveLength(3);
    for (const { id, Period, EvaluationPeriods, DatapointsToAlarm, TreatMissingData, metrics } of unsettled) {
      expect(metrics.map(({ MetricName }) => MetricName)).toEqual(["NumberOfMessagesReceived", "NumberOfMessagesDeleted"]);
      expect(new Set(metrics.map(({ Dimensions: [{ Value }] }) => resourceOf(Value)))).toEqual(
        new Set([id.replace(/^Alarm(.*)Unsettled$/, "Queue$1")]),
      );
      expect(Period, "a receive in each period").toBeGreaterThan(hidden);
      expect(DatapointsToAlarm, "a batch on the border of two periods is none").toBe(2);
      expect(Period * EvaluationPeriods).toBeLessThanOrEqual(1200);
      expect(TreatMissingData).toBe("notBreaching");
    }
  });

  it.each([
    [1, 300, 3],
    [5, 300, 3],
    [20, 1200, 3],
    [24 * 60, 86_400, 3],
    [2 * 24 * 60, 86_400, 6],
    [7 * 24 * 60, 86_400, 7],
  ])("miss a sweep by the clock: every %i min, in periods of %i s", (sweepMinutes, Period, many) => {
    const stopped = { ...alarms({ ...deployed, sweepMinutes }, "") }["AlarmDevSweepStopped"];
    expect(alarmSchema.parse(stopped?.Properties)).toMatchObject({
      Period,
      EvaluationPeriods: many,
      DatapointsToAlarm: many,
      Threshold: 1,
      ComparisonOperator: "LessThanThreshold",
      TreatMissingData: "breaching",
      metrics: [{ Namespace: "AWS/Lambda", MetricName: "Invocations", Dimensions: [{ Value: { Ref: "SweepDevLambdaFunction" } }] }],
    });
  });
  it("miss none where there is none, and take nothing else that is missing for bad", () => {
    expect(Object.keys(alarms({ ...deployed, sweepMinutes: 0 }, "")).filter((id) => id.endsWith("SweepStopped"))).toEqual([]);
    expect(each.filter(({ TreatMissingData }) => TreatMissingData === "breaching").map(({ id }) => id)).toEqual(
      each.map(({ id }) => id).filter((id) => id.endsWith("SweepStopped")),
    );
  });

  it("say what they mean and what to do first, in commands and queries that there are", async () => {
    const saved = Object.values(queries(deployed)).map(({ Properties }) => String(Properties["Name"]).replace(/^mpo-relay-dev\//, ""));
    const commands = new Set<string>();
    for (const { id, AlarmDescription } of each) {
      expect(AlarmDescription, id).toMatch(/^[A-Z].+\. First: (?:npx|aws|query) /);
      for (const [, query = ""] of AlarmDescription.matchAll(/query `([^`]+)`/g)) expect(saved, id).toContain(query);
      for (const [, command = ""] of AlarmDescription.matchAll(/npx mpo-relay ((?:dlq )?[a-z]+)/g)) commands.add(command);
    }
    expect(commands.size).toBeGreaterThan(3);
    for (const command of commands) expect(await mpoRelay([...command.split(" "), "--help"]), command).toMatchObject({ exitCode: 0 });
  });
});

describe("the dashboard", () => {
  it("has its widgets beside and below each other, within its width", () => {
    for (const [index, { x, y, width, height }] of widgets.entries()) {
      expect(x + width).toBeLessThanOrEqual(24);
      const over = widgets.slice(0, index).filter((b) => x < b.x + b.width && b.x < x + width && y < b.y + b.height && b.y < y + height);
      expect(over).toEqual([]);
    }
  });

  it("has a row for each cluster, and lists alarms of every function's log", () => {
    expect(widgets.filter(({ type }) => type === "text").map(({ properties }) => properties["markdown"])).toEqual([
      "## mpo-relay-dev: edge",
      "## Webhook dev, from its queue",
      ...deployed.clusters.map(({ name }) => `## Cluster ${name}`),
    ]);
    const log = String(widgets.find(({ type }) => type === "log")?.properties["query"]);
    expect(log.match(/\$\{\w+\}/g)).toEqual(Object.keys(stack()).flatMap((id) => (id.endsWith("LogGroup") ? [`\${${id}}`] : [])));
  });

  it("draws shares of times, and no sum of what is a state", () => {
    for (const [, metric, , , { stat }] of series) {
      if (ours.get(metric)?.unit === "Seconds") expect(stat, metric).toMatch(/^p\d\d$/);
      if (ours.get(metric)?.of === "overrides" || metric.startsWith("Approximate")) expect(stat, metric).toBe("Maximum");
    }
  });
});

it("queries read the logs of the functions that there are, and ask for codes of ours", () => {
  const saved = Object.values(queries(deployed)).map(({ Properties }) => Properties);
  expect(saved.map(({ Name }) => Name)).toEqual(
    ["what became of this digest", "what became of this key", "refused deliveries by webhook", "alarms"].map(
      (name) => `mpo-relay-dev/${name}`,
    ),
  );
  const groups = saved.map(({ LogGroupNames }) => z.array(z.object({ Ref: z.string() })).parse(LogGroupNames).length);
  expect(groups).toEqual([8, 8, 2, 8]);
  const codes = saved.flatMap(({ QueryString }) => String(QueryString).match(/"(?!REPLACE)[A-Z][A-Z_]+"/g) ?? []);
  expect(codes.length).toBeGreaterThan(3);
  expect(codes.filter((code) => !isErrorCode(code.slice(1, -1)))).toEqual([]);
});

it("each alarm of the program has a row on the page, and no row is of one that went", () => {
  const page = readFileSync(join(import.meta.dirname, "../infra/metrics.md"), "utf8");
  const rows = [...page.slice(page.indexOf("## Alarms")).matchAll(/^\| `([A-Z_]+)` \|/gm)].map(([, each = ""]) => each);
  expect(rows.toSorted()).toEqual(alarmCodes());
});
