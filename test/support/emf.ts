/**
 * The rules of the embedded metric format, as published:
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
import * as z from "zod";

const PRINTED = /^[\x20-\x7e]+$/;
/** https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html */
const size = ["Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Bits", "Kilobits", "Megabits", "Gigabits", "Terabits"];
const units = [
  "Seconds",
  "Microseconds",
  "Milliseconds",
  ...size,
  "Percent",
  "Count",
  ...[...size, "Count"].map((each) => `${each}/Second`),
];
const definition = z.strictObject({
  Name: z.string().min(1).max(1024),
  Unit: z.enum([...units, "None"]).optional(),
  StorageResolution: z.literal([1, 60]).optional(),
});
const directive = z.strictObject({
  // a name that begins with AWS/ is the vendor's
  Namespace: z
    .string()
    .min(1)
    .max(255)
    .regex(/^(?!AWS\/)[-.\w/#:]+$/),
  Dimensions: z.array(z.array(z.string().min(1).max(250).regex(PRINTED)).max(30)).min(1),
  Metrics: z.array(definition).min(1).max(100),
});
const root = z.looseObject({
  _aws: z.strictObject({
    Timestamp: z.int().min(Date.UTC(2026, 0)).max(Date.UTC(2100, 0)), // milliseconds; more than two weeks old, or two hours ahead, is dropped
    CloudWatchMetrics: z.array(directive).min(1),
  }),
});
const value = z.union([z.number(), z.array(z.number()).min(1).max(100)]);
const dimension = z.string().min(1).max(1024).regex(PRINTED);

export interface Printed {
  readonly namespace: string;
  readonly dimensions: Readonly<Record<string, string>>;
  readonly values: Readonly<Record<string, number | number[]>>;
  readonly units: Readonly<Record<string, string | undefined>>;
}

/** What CloudWatch makes of a line; [] where nothing. Throws where it would make something wrong, or nothing of what was meant. */
export function metricsIn(line: string): Printed[] {
  if (!line.includes(`"_aws"`)) return [];
  if (Buffer.byteLength(line) > 256 * 1024) throw new Error("a log event of that size was cut for years, and is in some regions");
  const { _aws: about, ...rest } = root.parse(JSON.parse(line));
  const members = new Map<string, unknown>(Object.entries(rest));
  return about.CloudWatchMetrics.flatMap(({ Namespace, Dimensions, Metrics }) =>
    Dimensions.map((names) => ({
      namespace: Namespace,
      dimensions: Object.fromEntries(names.map((name) => [name, dimension.parse(members.get(name))])),
      values: Object.fromEntries(Metrics.map(({ Name }) => [Name, value.parse(members.get(Name))])),
      units: Object.fromEntries(Metrics.map(({ Name, Unit }) => [Name, Unit])),
    })),
  );
}
