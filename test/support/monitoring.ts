/** infra/monitoring as data: what the alert rules and the dashboard ask Prometheus for, and the pages of the runbook. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { parse } from "yaml";
import { ADVICE, OTHER_ALARMS } from "../../src/outcome.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");

const alertRule = z.strictObject({
  alert: z.string(),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
  annotations: z.strictObject({ summary: z.string(), description: z.string(), runbook: z.string() }),
});
const recordRule = z.strictObject({ record: z.string(), expr: z.string() });
const rulesFile = z.strictObject({
  groups: z.array(z.strictObject({ name: z.string(), rules: z.array(z.union([alertRule, recordRule])) })),
});
const rules = () => rulesFile.parse(parse(read("infra/monitoring/rules.yml"))).groups.flatMap((group) => group.rules);
export const alertsOf = () => rules().flatMap((rule) => ("alert" in rule ? [rule] : []));

const dashboardFile = z.object({
  panels: z.array(
    z.object({
      title: z.string(),
      gridPos: z.object({ x: z.int(), y: z.int(), w: z.int(), h: z.int() }),
      targets: z.array(z.object({ expr: z.string() })).default([]),
    }),
  ),
  templating: z.object({ list: z.array(z.object({ name: z.string(), type: z.string(), query: z.string() })) }),
});
export const dashboardOf = () => dashboardFile.parse(JSON.parse(read("infra/monitoring/dashboard.json")));

/** Every expression, by where it stands. */
export function expressions(): { where: string; expr: string }[] {
  const { panels, templating } = dashboardOf();
  return [
    ...rules().map((rule) => ({ where: "alert" in rule ? rule.alert : rule.record, expr: rule.expr })),
    ...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ where: `panel ${title}`, expr }))),
    ...templating.list.filter(({ query }) => query.startsWith("label_values(")).map(({ query: expr }) => ({ where: "variable", expr })),
  ];
}

/** A metric of ours in an expression, with its matchers: `deliveries_total{decision="failed"}`. */
export function selectorsIn(expr: string): { name: string; matchers: { label: string; values: string[] }[] }[] {
  return [...expr.matchAll(/\b(mpo_relay_\w+)(?:\{([^}]*)\})?/g)].map(([, name = "", inner = ""]) => ({
    name,
    matchers: [...inner.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"/g)].map(([, label = "", values = ""]) => ({
      label,
      values: values.split("|"),
    })),
  }));
}
/** The labels that an expression keeps. */
export const groupedBy = (expr: string): string[] =>
  [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, names = ""]) => names.split(",").map((name) => name.trim()));

/** Every code that src/ can alarm. */
export function alarmCodes(): string[] {
  const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
  const code = files.map((file) => read(join("src", file))).join("\n");
  const literal = [...code.matchAll(/(?:\.alarm\(|\balarm\(context, )"([A-Z_]+)"/g)].map(([, each = ""]) => each);
  const [, ofDeliveries = ""] = /const ALARMS: ReadonlySet<ErrorCode> = new Set<ErrorCode>\(\[([^\]]+)\]/.exec(code) ?? [];
  const edges = ofDeliveries.match(/[A-Z_]+/g) ?? [];
  if (literal.length <= 10 || edges.length <= 3) throw new Error("the code does not look as this expects");
  return [...new Set([...Object.keys(ADVICE), ...OTHER_ALARMS, ...literal, ...edges])].toSorted();
}

export interface Page {
  readonly title: string;
  readonly text: string;
}
/** A page of the runbook is a heading of the second order that is a code or an alert's name. */
export function pagesOf(): Page[] {
  const [, ...parts] = read("infra/runbook.md").split(/^## /m);
  return parts.map((part) => ({ title: part.slice(0, part.indexOf("\n")), text: part.slice(part.indexOf("\n") + 1) }));
}
