/** What CloudWatch makes of the functions' lines: each held to the published rules, and each metric of the list printed by one. */
import { describe, expect, it } from "vitest";
import { DIMENSION, EMF_METRICS, NAMESPACE, withEmf } from "../src/metrics/emf.ts";
import { logTo, type OutcomeLine } from "../src/observe.ts";
import { type AlarmCode, DONE_CODES, isErrorCode, OTHER_ALARMS, SKIP_REASONS, TREATMENT } from "../src/outcome.ts";
import { metricsIn } from "./support/emf.ts";
import { at, configOf, requestOf } from "./support/relay.ts";

const NAME = "mpo-relay-dev-edge";
const unitOf = new Map<string, string>(Object.entries(EMF_METRICS).map(([name, { unit }]) => [name, unit]));

function printing() {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line.trimEnd()) };
  return { lines, observer: withEmf(logTo(destination), { named: configOf(), function: NAME }) };
}
function printed(line: OutcomeLine) {
  const { observer, lines } = printing();
  observer.outcome(line);
  return metricsIn(lines[0] ?? expect.fail("no line"));
}
const printedAlarm = (code: AlarmCode) => {
  const { observer, lines } = printing();
  observer.alarm(code, { what: "what to do", cluster: "dev" });
  return metricsIn(lines[0] ?? expect.fail("no line"));
};
const errors = Object.keys(TREATMENT).filter(isErrorCode);
const { key, module, tag, digest, image, webhook, receivedAt } = requestOf();
const ofRecord = { event: "record", key, cluster: "dev", module, tag, digest, image, webhook, receivedAt, nudge: 0 } as const;
/** All that the program puts into a line of a delivery, and of a record. */
const aboutDelivery = { bytes: 900, receivedAt, ms: 4, key, cluster: "dev", module, tag, digest, image, actor: "ci", pushedAt: null };
const ofDelivery = {
  event: "delivery",
  webhook,
  ...aboutDelivery,
  queuedAt: at(1),
  why: "why",
  hint: "hint",
  more: 3,
  repository: "m/echo",
} as const;
const times = { patchedAt: at(1), pickedUpAt: at(9), pushToPatchedMs: 1000, pushToPickedUpMs: 9000, pushedAt: null };
const full = {
  ...ofRecord,
  ...times,
  kind: "renew",
  attempt: 0,
  receiveCount: 1,
  why: "why",
  seconds: 9,
  message: "Ready",
  advice: "none",
};
const counts = { overrides: 6, push: 3, polling: 2, behind: 1, unserved: 0, unknown: 0 };
/** Every end that there is. */
const lines: OutcomeLine[] = [
  ...["QUEUED", "UNPARSED", ...SKIP_REASONS, ...errors].map((outcome) => ({ ...ofDelivery, outcome })),
  ...[...DONE_CODES, ...SKIP_REASONS, ...errors, "DEFERRED"].map((outcome) => ({ ...full, outcome })),
  { event: "process", outcome: "SWEPT", cluster: "dev", ...counts, queued: 1, ms: 9 },
];

describe("each line", () => {
  it("is one that CloudWatch reads: of one namespace, by the function's name, with the units of the list", () => {
    const all = [...lines.flatMap(printed), ...[...errors, ...OTHER_ALARMS].flatMap(printedAlarm)];
    expect(all.length).toBeGreaterThan(60);
    for (const { namespace, dimensions, values, units } of all) {
      expect([namespace, dimensions]).toEqual([NAMESPACE, { [DIMENSION]: NAME }]);
      for (const [name, value] of Object.entries(values)) expect([units[name], value]).toEqual([unitOf.get(name), expect.any(Number)]);
    }
    const names = new Set(all.flatMap(({ values }) => Object.keys(values)));
    expect([...names].toSorted()).toEqual(Object.keys(EMF_METRICS).toSorted());
  });

  it("keeps all that it said, under names that no metric has", () => {
    for (const line of lines) {
      const { observer, lines: texts } = printing();
      observer.outcome(line);
      expect(JSON.parse(texts[0] ?? "")).toMatchObject(line);
      expect(Object.keys(EMF_METRICS).filter((name) => name in line)).toEqual([]);
      expect(line).not.toHaveProperty(DIMENSION);
    }
  });
});

it.each<[string, OutcomeLine, object]>([
  ["a stored push", { event: "delivery", outcome: "QUEUED", webhook, ms: 4 }, { Queued: 1, ReceiveToQueued: 0.004 }],
  ["skipped ones", { event: "delivery", outcome: "NO_TAG", webhook, more: 40 }, { Skipped: 40 }],
  ["a call that nobody signed", { event: "delivery", outcome: "AUTH_FAILED", webhook }, { AuthFailed: 1 }],
  ["a 503", { event: "delivery", outcome: "QUEUE_UNAVAILABLE", webhook }, { Failed: 1 }],
  ["a nudge", { ...ofRecord, outcome: "NUDGED", patchedAt: at(1.5) }, { Nudged: 1, ReceiveToPatched: 1.5 }],
  ["one that never took effect", { ...ofRecord, outcome: "UNCONFIRMED" }, { Unconfirmed: 1 }],
])("%s is %s", (_what, line, values) => {
  expect(printed(line).map((each) => each.values)).toEqual([values]);
});

it("an alarm counts as one, and a silent webhook by its own name too", () => {
  expect(printedAlarm("FORBIDDEN").map(({ values }) => values)).toEqual([{ Alarms: 1 }]);
  expect(printedAlarm("WEBHOOK_SILENT").map(({ values }) => values)).toEqual([{ Alarms: 1, WebhookSilent: 1 }]);
});

it.each<[string, OutcomeLine]>([
  ["a process that starts", { event: "process", outcome: "STARTED" }],
  ["a wrong address", { event: "delivery", outcome: "UNKNOWN_WEBHOOK", webhook: null }],
])("%s costs nothing", (_what, line) => {
  expect(printed(line)).toEqual([]);
});

describe("a line that CloudWatch would not read is found", () => {
  const lineOf = (part: object, { time = Date.now(), ...directive }: { time?: number; Namespace?: string; Unit?: string } = {}) => {
    const { Namespace = "n", Unit = "Count" } = directive;
    const metrics = [{ Namespace, Dimensions: [["d"]], Metrics: [{ Name: "M", Unit }] }];
    return JSON.stringify({ _aws: { Timestamp: time, CloudWatchMetrics: metrics }, d: "v", M: 1, ...part });
  };
  it.each<[string, string]>([
    ["a value that is a text", lineOf({ M: "1" })],
    ["no value", lineOf({ M: undefined })],
    ["a dimension without its value", lineOf({ d: undefined })],
    ["a dimension that is a number", lineOf({ d: 1 })],
    ["a time in seconds", lineOf({}, { time: Math.floor(Date.now() / 1000) })],
    ["an unknown unit", lineOf({}, { Unit: "ms" })],
    ["the vendor's namespace", lineOf({}, { Namespace: "AWS/n" })],
  ])("%s", (_what, line) => {
    expect(metricsIn(lineOf({}))).toHaveLength(1);
    expect(() => metricsIn(line)).toThrow();
  });
});
