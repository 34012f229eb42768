/** Alert rules, dashboard and runbook against the code: each metric, label and code in them is one that there is, and each alarm has its page. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { openMetrics } from "../src/metrics/admin.ts";
import { METRICS, type Metric } from "../src/metrics/table.ts";
import { logTo } from "../src/observe.ts";
import { DONE_CODES, isErrorCode, SKIP_REASONS, SWEEP_STATES } from "../src/outcome.ts";
import { mpoRelay } from "./support/cli.ts";
import { configOf } from "./support/relay.ts";
import { alarmCodes, alertsOf, dashboardOf, expressions, groupedBy, pagesOf, selectorsIn } from "./support/monitoring.ts";
import { manifests } from "./support/monitoring-manifests.ts";

/** As Prometheus knows them. A histogram is three. */
const metrics = new Map(
  Object.values<Metric>(METRICS).flatMap(({ name, type, labels }) =>
    (type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]).map((end) => [
      `${name}${end}`,
      new Set([...labels, ...(end === "_bucket" ? ["le"] : [])]),
    ]),
  ),
);
/** What Prometheus adds to each series that it scrapes. */
const ADDED = ["instance", "job"];
const codes = new Set(alarmCodes());
const outcomes = new Set<string>([...DONE_CODES, ...SKIP_REASONS, "DEFERRED"]);
const VALUES: Readonly<Record<string, (value: string) => boolean>> = {
  code: (value) => codes.has(value),
  state: (value) => SWEEP_STATES.some((state) => state === value),
  decision: (value) => ["queued", "unparsed", "skipped", "refused", "failed"].includes(value),
  reason: (value) => isErrorCode(value) || outcomes.has(value),
  outcome: (value) => isErrorCode(value) || outcomes.has(value),
  webhook: (value) => value === "$webhook",
  cluster: (value) => value === "$cluster",
};

const made = manifests();
const groupsOf = z.array(z.looseObject({ rules: z.array(z.looseObject({ labels: z.record(z.string(), z.string()).optional() })) }));

describe("each metric, label and value is one that there is", () => {
  const all = expressions();
  it.each(all.map(({ where, expr }) => [where, expr]))("%s: %s", (_where, expr) => {
    const selectors = selectorsIn(expr);
    for (const { name, matchers } of selectors) {
      expect([...metrics.keys()]).toContain(name);
      for (const { label, values } of matchers) {
        expect(metrics.get(name), name).toContain(label);
        for (const value of values) expect(VALUES[label]?.(value), `${label}="${value}"`).toBe(true);
      }
    }
    const known = new Set([...ADDED, ...selectors.flatMap(({ name }) => [...(metrics.get(name) ?? [])])]);
    for (const label of groupedBy(expr)) expect([...known], expr).toContain(label);
  });

  it("finds them all: each metric of the table is looked at", () => {
    const used = new Set(all.flatMap(({ expr }) => selectorsIn(expr).map(({ name }) => name.replace(/_(?:bucket|sum|count)$/, ""))));
    expect([...used].toSorted()).toEqual(
      Object.values<Metric>(METRICS)
        .map(({ name }) => name)
        .toSorted(),
    );
  });

  it("and would notice one that went", () => {
    const [{ name, matchers } = { name: "", matchers: [] }] = selectorsIn(`rate(mpo_relay_gone_total{code="GONE",tag!~"a|b"}[5m])`);
    expect(metrics.has(name)).toBe(false);
    expect(matchers).toEqual([
      { label: "code", values: ["GONE"] },
      { label: "tag", values: ["a", "b"] },
    ]);
    expect(VALUES["code"]?.("GONE")).toBe(false);
  });
});

it("what an alert counts is there before its first event, which `increase` does not see else", async () => {
  const config = configOf();
  const text = await (await openMetrics(config).fetch(new Request("http://127.0.0.1/metrics"))).text();
  const counted = alertsOf().flatMap(({ expr }) => [...expr.matchAll(/increase\((\w+\{[^}]*\})/g)].map(([, selector = ""]) => selector));
  expect(counted.length).toBeGreaterThan(4);
  const missing = counted
    .flatMap(selectorsIn)
    .flatMap(({ name, matchers }) =>
      matchers.flatMap(({ label, values }) =>
        values.filter((value) => !new RegExp(`^${name}\\{.*${label}="${value}".*\\} 0$`, "m").test(text)),
      ),
    );
  expect(missing).toEqual([]);
  for (const reason of ["QUEUE_UNAVAILABLE", "QUEUE_REFUSED", "KEYS_UNAVAILABLE", "NO_MEMORY", "INTERNAL"])
    expect(text).toContain(`mpo_relay_deliveries_total{webhook="registry",decision="failed",reason="${reason}"} 0\n`);
});

describe("the dashboard", () => {
  it("has its panels beside and below each other, each with something to show", () => {
    const { panels } = dashboardOf();
    for (const [index, { title, gridPos: a }] of panels.entries()) {
      expect(a.x + a.w, title).toBeLessThanOrEqual(24);
      const over = panels
        .slice(0, index)
        .filter(({ gridPos: b }) => b.x < a.x + a.w && a.x < b.x + b.w && b.y < a.y + a.h && a.y < b.y + b.h);
      expect(over, title).toEqual([]);
    }
    expect(panels.filter(({ targets }) => targets.length > 0).length).toBeGreaterThan(10);
  });

  it("asks the Prometheus that its variable names, by the name that Deckhouse's linter asks for (dmt, templates: grafana-dashboards)", () => {
    const sources: unknown[] = [];
    JSON.parse(made["module/monitoring/grafana-dashboards/applications/mpo-relay.json"], (key, value: unknown) => {
      if (key === "datasource") sources.push(value);
      return value;
    });
    expect(sources.length).toBeGreaterThan(20);
    for (const source of sources) expect(source).toEqual({ type: "prometheus", uid: "${ds_prometheus}" });
    expect(dashboardOf().templating.list[0]).toEqual({ name: "ds_prometheus", type: "datasource", query: "prometheus" });
  });
});

describe("what is made of them for clusters", () => {
  it.each(Object.entries(made))("infra/%s is as it is written from them: npm run monitoring", async (path, text) => {
    await expect(text).toMatchFileSnapshot(`../infra/${path}`);
  });

  it("has every rule as it stands, and for Deckhouse its own scale beside ours", () => {
    const groups = groupsOf.parse(parse(readFileSync(join(import.meta.dirname, "../infra/monitoring/rules.yml"), "utf8")).groups);
    const levelled = groups.map(({ rules, ...group }) => ({
      ...group,
      rules: rules.map((rule) => {
        const level = { severity_level: rule.labels?.["severity"] === "critical" ? "5" : "6", tier: "cluster" };
        return { ...rule, ...(rule.labels && { labels: { ...rule.labels, ...level } }) };
      }),
    }));
    expect(groups.flatMap(({ rules }) => rules).length).toBeGreaterThan(10);
    expect(parse(made["cluster/monitoring/operator/rules.yaml"])).toMatchObject({ kind: "PrometheusRule", spec: { groups } });
    expect(parse(made["cluster/monitoring/deckhouse/rules.yaml"])).toMatchObject({
      kind: "CustomPrometheusRules",
      spec: { groups: levelled },
    });
    expect(parse(made["module/monitoring/prometheus-rules/relay.yaml"])).toEqual(levelled);
  });
});

describe("the pods of infra/cluster", () => {
  const read = (path: string): unknown => parse(readFileSync(join(import.meta.dirname, "../infra/cluster", path), "utf8"));
  const container = z.looseObject({ ports: z.array(z.object({ name: z.string(), containerPort: z.int() })) });
  const pods = z.looseObject({
    spec: z.looseObject({ template: z.looseObject({ spec: z.looseObject({ containers: z.tuple([container]) }) }) }),
  });
  const monitor = z.looseObject({ spec: z.looseObject({ podMetricsEndpoints: z.tuple([z.object({ port: z.string() })]) }) });

  it.each([
    ["serve", "relay.yaml"],
    ["worker", "worker.yaml"],
  ])("of %s serve /metrics where the PodMonitor looks, and not on loopback", (overlay, config) => {
    const [{ port }] = monitor.parse(read("monitoring/scrape/pod-monitor.yaml")).spec.podMetricsEndpoints;
    const [{ ports }] = pods.parse(read(`${overlay}/deployment.yaml`)).spec.template.spec.containers;
    const found = ports.find(({ name }) => name === port)?.containerPort;
    expect(found).toBeDefined();
    expect(read(`${overlay}/${config}`)).toMatchObject({ admin: { host: "0.0.0.0", port: found } });
  });
});

describe("the two alerts of alarms", () => {
  const [critical = "", rest = ""] = alertsOf().flatMap(({ expr }) => /code[=!]~"([^"]+)"/.exec(expr)?.[1] ?? []);

  it("share all codes between them: what wants nobody at once is all that is not named", () => {
    expect(critical.split("|").length).toBeGreaterThan(5);
    expect(rest).toBe(critical);
    for (const code of critical.split("|")) expect([...codes]).toContain(code);
  });
});

const BY_SYMPTOM = "A push does not arrive";
/** Answers that nobody is given who asks for a push that did not arrive: of release channels, of no push, or on the way only. */
const UNASKED = new Set(
  (
    "RESCAN_OFF OVERRIDDEN NO_SOURCE RESCAN_UNSUPPORTED RESCAN_REFUSED RESCANNED RELEASE_DEPLOYED RELEASE_PENDING NO_RELEASE " +
    "HANDSHAKE REPEATED UNWATCHED"
  ).split(" "),
);

describe("the runbook", () => {
  const pages = pagesOf();
  const titles = pages.map(({ title }) => title);
  const isOfCodes = ({ annotations }: { annotations: { runbook: string } }) =>
    annotations.runbook === "infra/runbook.md#{{ $labels.code | toLower }}";
  const ofAlerts = alertsOf().filter((alert) => !isOfCodes(alert));

  it("has a page for each alarm and for each alert that is none, and no page is for nothing", () => {
    expect(alertsOf().filter(isOfCodes)).toHaveLength(2);
    expect(titles.toSorted()).toEqual([...codes, ...ofAlerts.map(({ alert }) => alert), BY_SYMPTOM].toSorted());
  });

  it("is where alerts and alarm lines say that it is", () => {
    for (const { alert, annotations } of ofAlerts) expect(annotations.runbook).toBe(`infra/runbook.md#${alert.toLowerCase()}`);
    const lines: string[] = [];
    logTo({ write: (line) => void lines.push(line) }).alarm("WEBHOOK_SILENT", { what: "a push came" });
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ alarm: "WEBHOOK_SILENT", page: "infra/runbook.md#webhook_silent" });
  });

  it.each(pages)("$title: what it means, commands, when to worry, how it ends", ({ text }) => {
    expect(text).toMatch(/^\n[A-Z`][^\n]+\n\n```sh\n[^`]+\n```\n\n[A-Z`][^\n]+\n\n\*\*Worry\*\* [^\n]+\n\n\*\*It ends\*\* [^\n]+\n/);
  });

  it("is tried: each alarm is caused in a trial of whoever is on call", () => {
    const folder = join(import.meta.dirname, "e2e");
    const trials = readdirSync(folder).filter((file) => file.endsWith(".trial.ts"));
    const text = trials.map((file) => readFileSync(join(folder, file), "utf8")).join("\n");
    const caused = new Set(
      [...text.matchAll(/\bcode: "(\w+)"|test\.each\(\[("[A-Z_", ]+")\]/g)].flatMap(([, code, each]) => code ?? each?.match(/\w+/g) ?? []),
    );
    expect([...caused].toSorted()).toEqual([...codes].toSorted());
  });

  it("has first what to do where nothing has rung: each answer in its table is one that there is, and each that a history may end with is there", () => {
    const [{ title, text } = { title: "", text: "" }] = pages;
    expect(title).toBe(BY_SYMPTOM);
    const rows = [...text.matchAll(/^\| (.+?) \|/gm)].map(([, answer = ""]) => answer);
    const named = new Set(rows.flatMap((answer) => [...answer.matchAll(/`([A-Z_]+)`/g)].map(([, each = ""]) => each)));
    expect([...named].filter((each) => !isErrorCode(each) && !outcomes.has(each))).toEqual([]);
    expect([...outcomes].filter((each) => !named.has(each) && !UNASKED.has(each))).toEqual([]);
  });

  it("names commands and outcomes that there are", async () => {
    const text = pages.map((page) => page.text).join("\n");
    const commands = new Set([...text.matchAll(/mpo-relay ((?:dlq )?[a-z]+)(?![a-z/.-])/g)].map(([, command = ""]) => command));
    expect(commands.size).toBeGreaterThan(8);
    for (const command of ["get", "create", "exec"]) commands.delete(command); // kubectl -n mpo-relay …
    for (const command of commands) expect(await mpoRelay([...command.split(" "), "--help"]), command).toMatchObject({ exitCode: 0 });
  });
});
