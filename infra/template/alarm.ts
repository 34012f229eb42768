/** One alarm of CloudWatch, as a resource. */
import type { MetricName } from "./metric.ts";
import type { Resource } from "./names.ts";

export interface Alarm {
  /** `hasNone`: where there is any of the first one, and none of this. */
  readonly metric: MetricName;
  readonly hasNone?: MetricName;
  readonly statistic: "Sum" | "Maximum";
  /** Beyond it; default: any. `nothing`: where there is none. */
  readonly over?: number | "nothing";
  readonly periodSeconds?: number;
  /** Of `of` periods so many. */
  readonly periods?: readonly [many: number, of: number];
  readonly means: string;
  readonly first: string;
}

export const PERIOD_SECONDS = 300;
export const DAY_SECONDS = 86_400;
/** All periods together: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html */
export const LONGEST_SECONDS = 7 * DAY_SECONDS;

export function alarmOf(name: string, { means, first, ...alarm }: Alarm, topic: string): Resource {
  const { over = 0, periods = [1, 1] } = alarm;
  const [DatapointsToAlarm, EvaluationPeriods] = periods;
  const isClock = over === "nothing";
  return {
    Type: "AWS::CloudWatch::Alarm",
    Properties: {
      AlarmName: name,
      AlarmDescription: `${means.charAt(0).toUpperCase()}${means.slice(1)}. First: ${first}`,
      ...measured(alarm),
      EvaluationPeriods,
      DatapointsToAlarm,
      Threshold: isClock ? 1 : over,
      ComparisonOperator: isClock ? "LessThanThreshold" : "GreaterThanThreshold",
      TreatMissingData: isClock ? "breaching" : "notBreaching",
      ...(topic && { AlarmActions: [topic], OKActions: [topic] }),
    },
  };
}

/** https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html */
function measured({ metric, hasNone, statistic, periodSeconds: Period = PERIOD_SECONDS }: Omit<Alarm, "means" | "first">) {
  if (!hasNone) return { ...propertiesOf(metric), Statistic: statistic, Period };
  const of = (Id: string, each: MetricName) => ({
    Id,
    MetricStat: { Metric: propertiesOf(each), Stat: statistic, Period },
    ReturnData: false,
  });
  const Expression = "IF(FILL(any, 0) > 0 AND FILL(none, 0) == 0, 1, 0)";
  return { Metrics: [{ Id: "both", Expression, ReturnData: true }, of("any", metric), of("none", hasNone)] };
}

const propertiesOf = ({ namespace: Namespace, name: MetricName, dimension, resource: from, attribute }: MetricName) => ({
  Namespace,
  MetricName,
  Dimensions: [{ Name: dimension, Value: attribute === undefined ? { Ref: from } : { "Fn::GetAtt": [from, attribute] } }],
});
