/** What cfn-lint does not see in a template. Each gives `logical id: what is wrong`, and none means none. */
import * as z from "zod";

export type Resources = Readonly<Record<string, { readonly Type: string; readonly Properties?: unknown }>>;

const one = <T extends z.ZodType>(schema: T) => z.union([z.array(schema), schema.transform((each) => [each])]);
const statement = z.looseObject({
  Effect: z.enum(["Allow", "Deny"]),
  Action: one(z.string()).default([]),
  NotAction: z.unknown().optional(),
  Resource: one(z.unknown()).default([]),
  NotResource: z.unknown().optional(),
});
const role = z.object({ Policies: z.array(z.object({ PolicyDocument: z.object({ Statement: one(statement) }) })).default([]) });

/** Rights without a bound: an action or a resource that is `*` or begins with it, or that is everything but something. */
export function wildcards(resources: Resources): string[] {
  return of(resources, "AWS::IAM::Role").flatMap(([id, properties]) => {
    const allowed = role
      .parse(properties)
      .Policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement.filter(({ Effect }) => Effect === "Allow"));
    return allowed.flatMap(({ Action, NotAction, Resource, NotResource }) => [
      ...Action.filter((action) => action.includes("*")).map((action) => `${id}: allows ${action}`),
      ...Resource.filter((resource) =>
        /^(?:\*|arn:[^:]*:[^:]*:[^:]*:[^:]*:\*)$/.test(textOf(resource).replaceAll(/\$\{[^}]*\}/g, "x")),
      ).map((resource) => `${id}: allows it on ${textOf(resource)}`),
      ...(NotAction === undefined && NotResource === undefined ? [] : [`${id}: allows everything but something`]),
    ]);
  });
}

/** A text, or what Fn::Sub makes one of; others (a reference) have no wildcard. */
const textOf = (value: unknown): string => {
  const read = z.union([z.string(), z.object({ "Fn::Sub": z.string() }).transform((each) => each["Fn::Sub"])]).safeParse(value);
  return read.success ? read.data : "";
};

const widget = z.object({
  type: z.string(),
  x: z.int().min(0).max(23).optional(),
  y: z.int().min(0).optional(),
  width: z.int().min(1).max(24).optional(),
  height: z.int().min(1).max(1000).optional(),
  properties: z.record(z.string(), z.unknown()),
});

/** A dashboard whose body is no JSON, or none as CloudWatch reads it: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html */
export function dashboards(resources: Resources): string[] {
  return of(resources, "AWS::CloudWatch::Dashboard").flatMap(([id, properties]) => {
    const { DashboardBody } = z.object({ DashboardBody: z.unknown() }).parse(properties);
    const text = textOf(DashboardBody).replaceAll(/\$\{[^}]*\}/g, "x");
    try {
      const read = z.object({ widgets: z.array(widget).min(1) }).safeParse(JSON.parse(text));
      return read.success ? [] : read.error.issues.map(({ path, message }) => `${id}: ${path.join(".")}: ${message}`);
    } catch {
      return [`${id}: the body is no JSON`];
    }
  });
}

/** An ARN that names a partition: it would be wrong in China and in GovCloud. */
export function partitions(resources: Resources): string[] {
  return Object.entries(resources).flatMap(([id, { Properties }]) => {
    const found = JSON.stringify(Properties ?? {}).match(/arn:aws(?:-cn|-us-gov)?:[\w-]*/g) ?? [];
    return found.map((arn) => `${id}: ${arn} names its partition`);
  });
}

const alarm = z.object({
  EvaluationPeriods: z.int().min(1).optional(),
  DatapointsToAlarm: z.int().min(1).optional(),
  Period: z.int().optional(),
  TreatMissingData: z.string().optional(),
  Metrics: z.array(z.object({ Period: z.int().optional(), MetricStat: z.object({ Period: z.int() }).optional() })).default([]),
});
const DAY_SECONDS = 86_400;

/** https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: 10, 20, 30 s or whole minutes; all together a day, or a week where a period is an hour. */
export function alarms(resources: Resources): string[] {
  return of(resources, "AWS::CloudWatch::Alarm").flatMap(([id, properties]) => {
    const { EvaluationPeriods, DatapointsToAlarm = 1, Period, Metrics, TreatMissingData } = alarm.parse(properties);
    if (EvaluationPeriods === undefined) return [`${id}: no EvaluationPeriods`];
    const periods = [Period, ...Metrics.flatMap((each) => [each.Period, each.MetricStat?.Period])].filter((each) => each !== undefined);
    const longest = Math.max(...periods);
    return [
      ...(periods.length === 0 ? [`${id}: no period`] : []),
      ...periods
        .filter((each) => ![10, 20, 30].includes(each) && (each < 60 || each % 60 !== 0))
        .map((each) => `${id}: a period of ${each} s`),
      ...(longest * EvaluationPeriods > (longest >= 3600 ? 7 : 1) * DAY_SECONDS
        ? [`${id}: looks back ${longest * EvaluationPeriods} s`]
        : []),
      ...(DatapointsToAlarm > EvaluationPeriods ? [`${id}: more datapoints than periods`] : []),
      ...(TreatMissingData === undefined ? [`${id}: does not say what missing data mean`] : []),
    ];
  });
}

const of = (resources: Resources, type: string) =>
  Object.entries(resources).flatMap(([id, { Type, Properties }]) => (Type === type ? [[id, Properties ?? {}] as const] : []));

export const CHECKS = [wildcards, dashboards, partitions, alarms];
