/**
 * The few metrics that CloudWatch makes of the lines of Lambda functions, by the embedded metric format: they stand in the line itself, so
 * nothing is called for them. One dimension, the function's name, says stage, part and cluster; each metric with a dimension of its own is paid.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
import type { Observer } from "../observe.ts";
import { type Named, type Sample, samplesOf, samplesOfAlarm } from "./measure.ts";
import type { MetricKey } from "./table.ts";

export const NAMESPACE = "mpo-relay";
export const DIMENSION = "function";

export interface EmfMetric {
  readonly unit: "Count" | "Seconds";
  /** Which function prints it. */
  readonly by: readonly ("edge" | "inbox" | "consumer" | "sweep")[];
  readonly of: MetricKey;
  /** Only samples with these labels. */
  readonly where?: Readonly<Record<string, string>>;
}
const overrides = (state: string): EmfMetric => ({ unit: "Count", by: ["sweep"], of: "overrides", where: { state } });

/** By the name in CloudWatch. */
export const EMF_METRICS = {
  Queued: { unit: "Count", by: ["edge", "inbox"], of: "deliveries", where: { decision: "queued" } },
  Skipped: { unit: "Count", by: ["edge", "inbox"], of: "deliveries", where: { decision: "skipped" } },
  Unparsed: { unit: "Count", by: ["edge", "inbox"], of: "deliveries", where: { decision: "unparsed" } },
  AuthFailed: { unit: "Count", by: ["edge"], of: "deliveries", where: { reason: "AUTH_FAILED" } },
  Failed: { unit: "Count", by: ["edge", "inbox"], of: "deliveries", where: { decision: "failed" } },
  ReceiveToQueued: { unit: "Seconds", by: ["edge", "inbox"], of: "receiveToQueued" },
  Nudged: { unit: "Count", by: ["consumer"], of: "records", where: { outcome: "NUDGED" } },
  PickedUp: { unit: "Count", by: ["consumer"], of: "records", where: { outcome: "PICKED_UP" } },
  Unconfirmed: { unit: "Count", by: ["consumer"], of: "records", where: { outcome: "UNCONFIRMED" } },
  ReceiveToPatched: { unit: "Seconds", by: ["consumer"], of: "receiveToPatched" },
  PushToPickedUp: { unit: "Seconds", by: ["consumer"], of: "pushToPickedUp" },
  OverridesPush: overrides("push"),
  OverridesPolling: overrides("polling"),
  OverridesBehind: overrides("behind"),
  OverridesUnserved: overrides("unserved"),
  OverridesUnknown: overrides("unknown"),
  WebhookSilent: { unit: "Count", by: ["sweep"], of: "alarms", where: { code: "WEBHOOK_SILENT" } },
  Alarms: { unit: "Count", by: ["edge", "inbox", "consumer", "sweep"], of: "alarms" },
} as const satisfies Readonly<Record<string, EmfMetric>>;
export type EmfName = keyof typeof EMF_METRICS;
const FORMS: readonly (readonly [string, EmfMetric])[] = Object.entries(EMF_METRICS);

export interface EmfContext {
  readonly named: Named;
  /** The function's own name. */
  readonly function: string;
  readonly now?: () => number;
}

/** The same lines, and in those that count for something what CloudWatch needs to know of it. */
export function withEmf(observer: Observer, { named, function: name, now = Date.now }: EmfContext): Observer {
  const also = (samples: readonly Sample[]) => blockOf(samples, name, now());
  return {
    outcome: (line) => observer.outcome({ ...line, ...also(samplesOf(line, named)) }),
    alarm: (code, line) => observer.alarm(code, { ...line, ...also(samplesOfAlarm(code)) }),
  };
}

function blockOf(samples: readonly Sample[], name: string, timestamp: number): Readonly<Record<string, unknown>> {
  const values: Record<string, number> = {};
  const metrics: { readonly Name: string; readonly Unit: string }[] = [];
  for (const [metric, form] of FORMS) {
    const own = samples.filter((sample) => isOf(sample, form));
    if (own.length === 0) continue;
    values[metric] = own.reduce((sum, { value }) => sum + value, 0);
    metrics.push({ Name: metric, Unit: form.unit });
  }
  if (metrics.length === 0) return {};
  const directive = { Namespace: NAMESPACE, Dimensions: [[DIMENSION]], Metrics: metrics };
  return { ...values, [DIMENSION]: name, _aws: { Timestamp: timestamp, CloudWatchMetrics: [directive] } };
}

const isOf = ({ metric, labels }: Sample, { of, where = {} }: EmfMetric) =>
  metric === of && Object.entries(where).every(([label, value]) => labels[label] === value);
