/**
 * The alert rules by the real promtool: each has a file that shows when it fires and when it does not. The dashboard by Grafana's own types: Grafana
 * itself is in no package registry.
 */
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { alertsOf, expressions } from "../support/monitoring.ts";
import { temporaryFolder } from "./parts/child.ts";
import { misfitsIn } from "./parts/grafana-types.ts";
import { promtool } from "./parts/prometheus.ts";

const root = join(import.meta.dirname, "../..");
const folder = join(root, "test/monitoring");
const rules = join(root, "infra/monitoring/rules.yml");

test("promtool knows each rule, and finds nothing wrong with any", () => promtool("check", "rules", "--lint-fatal", rules));

test("Prometheus can read what the dashboard asks, with its variables put in", async () => {
  const { path, remove } = await temporaryFolder("expressions");
  onTestFinished(remove);
  const asked = expressions().filter(({ where }) => where.startsWith("panel "));
  expect(asked.length).toBeGreaterThan(10);
  const rules = asked.map(({ expr }, index) => ({ record: `panel:${index}`, expr: expr.replaceAll("$__rate_interval", "5m") }));
  await writeFile(join(path, "rules.yml"), JSON.stringify({ groups: [{ name: "panels", rules }] }));
  await promtool("check", "rules", join(path, "rules.yml"));
});

test("promtool finds what is wrong", async () => {
  await expect(promtool("check", "rules", join(folder, "MpoRelayAlarm.yml"))).rejects.toThrow("rule_files");
});

describe("each alert fires, and does not", () => {
  const files = readdirSync(folder);
  test("has its file", () => {
    expect(files.toSorted()).toEqual(
      alertsOf()
        .map(({ alert }) => `${alert}.yml`)
        .toSorted(),
    );
  });
  test.each(files)("%s", (file) => promtool("test", "rules", join(folder, file)));
});

describe("Grafana's types", () => {
  const dashboard = readFileSync(join(root, "infra/monitoring/dashboard.json"), "utf8");
  test("know everything in the dashboard", async () => {
    expect(await misfitsIn(dashboard)).toEqual([]);
  });
  test.each([
    ["a misspelt field of a query", '"legendFormat":', '"legendFormt":', /^panels\[1\]\.targets\[0\].*unexpected field 'legendFormt'/],
    ["a misspelt field of a panel", '"unit":', '"units":', /^panel Alarms: .*unexpected field 'units'/],
    ["a panel of no known type", '"type": "timeseries"', '"type": "timeserie"', /^panel Alarms: unknown type 'timeserie'/],
    ["a text for a number", '"refresh": 2', '"refresh": "2"', /^templating\.list\[1\]\.refresh: json: cannot unmarshal string/],
    ["a version that is missing", '"schemaVersion":', '"schema":', /^schemaVersion: required field is missing/],
  ])("find %s", async (_what, right, wrong, told) => {
    expect(dashboard).toContain(right);
    expect((await misfitsIn(dashboard.replace(right, wrong)))[0]).toMatch(told);
  });
});
