/**
 * What a line of the log is in numbers. Nothing else in the program counts, so that log and metrics cannot tell two stories. Pure.
 * A label has the values of the configuration and of our own codes, and no others, whatever comes from outside.
 */
import type { RelayConfig } from "../config.ts";
import type { OutcomeLine } from "../observe.ts";
import {
  type AlarmCode,
  DONE_CODES,
  type ErrorCode,
  failureStatus,
  isErrorCode,
  OTHER_ALARMS,
  SKIP_REASONS,
  type SkipReason,
  SWEEP_STATES,
  TREATMENT,
} from "../outcome.ts";
import type { MetricKey } from "./table.ts";

/** A counter grows by `value`, a gauge becomes it, a histogram has one more of it. */
export interface Sample {
  readonly metric: MetricKey;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
/** The names that labels may have. */
export type Named = Pick<RelayConfig, "webhooks" | "clusters">;

/** In place of a name or a code that is none of ours; no webhook and no cluster can be called so. */
export const OTHER = "(other)";

export function samplesOf(line: OutcomeLine, named: Named): Sample[] {
  switch (line.event) {
    case "delivery":
      return ofDelivery(line, nameIn(named.webhooks, line["webhook"]));
    case "record":
      return ofRecord(line, nameIn(named.clusters, line["cluster"]));
    case "process":
      return line.outcome === "SWEPT" ? ofSweep(line, nameIn(named.clusters, line["cluster"])) : [];
    case "adoption":
      return [];
  }
}

export function samplesOfAlarm(code: AlarmCode): Sample[] {
  return [{ metric: "alarms", labels: { code: isErrorCode(code) || OTHER_CODES.has(code) ? code : OTHER }, value: 1 }];
}

/** How a delivery ends badly at a webhook that there is. */
const BAD_ENDS: readonly (ErrorCode | SkipReason)[] = [
  "AUTH_FAILED",
  "TOO_LARGE",
  "NO_MEMORY",
  "CUT_OFF",
  "KEYS_UNAVAILABLE",
  "QUEUE_UNAVAILABLE",
  "QUEUE_REFUSED",
  "INTERNAL",
  "UNKNOWN_HOST",
];
/** By which it shows whether a cluster takes nudges: that it did, and that its API server did not. */
const NUDGE_ENDS: readonly string[] = [
  "NUDGED",
  ...Object.keys(TREATMENT).filter((code) => isErrorCode(code) && TREATMENT[code] === "circuit"),
];

/** Series that are there before their first event: one that begins with it hides it from PromQL's `increase`. */
export function seriesFromStart({ webhooks, clusters }: Named): Pick<Sample, "metric" | "labels">[] {
  const ofWebhooks = Object.keys(webhooks).flatMap((webhook) => [
    { metric: "receiveToQueued" as const, labels: { webhook } },
    ...BAD_ENDS.map((reason) => ({ metric: "deliveries" as const, labels: { webhook, decision: decisionOn(reason)[0], reason } })),
  ]);
  const ofClusters = Object.keys(clusters).flatMap((cluster) => [
    ...(["receiveToPatched", "pushToPickedUp"] as const).map((metric) => ({ metric, labels: { cluster } })),
    ...NUDGE_ENDS.map((outcome) => ({ metric: "records" as const, labels: { cluster, outcome } })),
  ]);
  const ofNobody = { metric: "deliveries" as const, labels: { webhook: OTHER, decision: "refused", reason: "UNKNOWN_WEBHOOK" } };
  const ofAlarms = [...Object.keys(TREATMENT), ...OTHER_ALARMS].map((code) => ({ metric: "alarms" as const, labels: { code } }));
  return [...ofWebhooks, ofNobody, ...ofClusters, ...ofAlarms];
}

function ofDelivery(line: OutcomeLine, webhook: string): Sample[] {
  const [decision, reason] = decisionOn(line.outcome);
  const count: Sample = { metric: "deliveries", labels: { webhook, decision, reason }, value: numberOf(line["more"]) ?? 1 };
  const ms = line.outcome === "QUEUED" ? numberOf(line["ms"]) : null;
  return ms === null ? [count] : [count, { metric: "receiveToQueued", labels: { webhook }, value: seconds(ms) }];
}

/** As the answer says it (src/app.ts). */
function decisionOn(outcome: string): [string, string] {
  if (outcome === "QUEUED" || outcome === "UNPARSED") return [outcome.toLowerCase(), outcome];
  if (SKIPS.has(outcome)) return ["skipped", outcome];
  if (!isErrorCode(outcome)) return [OTHER, OTHER];
  return [failureStatus(outcome) === 503 ? "failed" : "refused", outcome];
}

function ofRecord(line: OutcomeLine, cluster: string): Sample[] {
  const { outcome } = line;
  const count: Sample = {
    metric: "records",
    labels: { cluster, outcome: OUTCOMES.has(outcome) || isErrorCode(outcome) ? outcome : OTHER },
    value: 1,
  };
  const { webhook } = line;
  if (typeof webhook !== "string" || webhook.startsWith("(")) return [count]; // what the sweep found, or a person renewed, is no push's time
  const [metric, ms] = durationOf(line);
  return ms === null ? [count] : [count, { metric, labels: { cluster }, value: seconds(ms) }];
}

/** Of a push that is nudged once more only the pick-up is news. */
function durationOf(line: OutcomeLine): ["receiveToPatched" | "pushToPickedUp", number | null] {
  if (line.outcome === "PICKED_UP") return ["pushToPickedUp", numberOf(line["pushToPickedUpMs"])];
  const isFirst = line.outcome === "NUDGED" && line["nudge"] === 0;
  return ["receiveToPatched", isFirst ? numberOf(timeOf(line["patchedAt"]) - timeOf(line["receivedAt"])) : null];
}

function ofSweep(line: OutcomeLine, cluster: string): Sample[] {
  const states = SWEEP_STATES.flatMap((state) => {
    const value = numberOf(line[state]);
    return value === null ? [] : [{ metric: "overrides" as const, labels: { cluster, state }, value }];
  });
  const behind = numberOf(line["behindSeconds"]);
  return behind === null ? states : [...states, { metric: "overridesBehind", labels: { cluster }, value: behind }];
}

const SKIPS: ReadonlySet<string> = new Set(SKIP_REASONS);
const OUTCOMES: ReadonlySet<string> = new Set([...DONE_CODES, ...SKIP_REASONS, "DEFERRED"]);
const OTHER_CODES: ReadonlySet<string> = new Set(OTHER_ALARMS);
const nameIn = (names: Readonly<Record<string, unknown>>, name: unknown) =>
  typeof name === "string" && Object.hasOwn(names, name) ? name : OTHER;
const numberOf = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const timeOf = (value: unknown) => (typeof value === "string" ? Date.parse(value) : Number.NaN);
/** Two clocks may differ, and no time is negative. */
const seconds = (ms: number) => Math.max(0, ms / 1000);
