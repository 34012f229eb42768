/** The alert rules by the real promtool: each has a file that shows when it fires and when it does not. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { alertsOf } from "../support/monitoring.ts";
import { promtool } from "./parts/prometheus.ts";

const root = join(import.meta.dirname, "../..");
const folder = join(root, "test/monitoring");
const rules = join(root, "infra/monitoring/rules.yml");

test("promtool knows each rule, and finds nothing wrong with any", () => promtool("check", "rules", "--lint-fatal", rules));

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
