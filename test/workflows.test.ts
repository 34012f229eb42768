/** .github/workflows: what may run there, by whose hand, and with which rights. The syntax is actionlint's business (e2e/workflows.e2e.ts). */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import * as z from "zod";

const root = join(import.meta.dirname, "..");
const folder = join(root, ".github/workflows");
const step = z.object({ uses: z.string().optional(), run: z.string().optional(), with: z.record(z.string(), z.unknown()).default({}) });
const rights = z.record(z.string(), z.enum(["read", "write"]));
const job = z.object({
  permissions: rights,
  uses: z.string().optional(),
  "timeout-minutes": z.int().optional(),
  steps: z.array(step).default([]),
});
const workflow = z.object({ on: z.record(z.string(), z.unknown()), permissions: z.strictObject({}), jobs: z.record(z.string(), job) });

const files = readdirSync(folder).map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
const workflows = files.map(({ name, text }) => ({ name, ...workflow.parse(parse(text)) }));
const jobs = workflows.flatMap(({ name, jobs: of }) => Object.entries(of).map(([key, each]) => ({ at: `${name} ${key}`, ...each })));
const steps = jobs.flatMap(({ at, steps: of }) => of.map((each) => ({ at, ...each })));
const runs = steps.flatMap(({ at, run }) => (run === undefined ? [] : [{ at, run }]));

test("actions are named by commit, with the version beside it for people and Renovate", () => {
  const uses = files.flatMap(({ text }) => text.split("\n").filter((line) => /\buses:/.test(line)));
  const PINNED = /uses: (?:\.\/[\w./-]+|actions\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$/;
  expect(uses.length).toBeGreaterThan(5);
  expect(uses.filter((line) => !PINNED.test(line))).toEqual([]);
  expect(PINNED.test("- uses: actions/checkout@v6")).toBe(false);
  const versions = new Map(uses.flatMap((line) => (line.includes("@") ? [[line.replace(/.*uses: |@.*/g, ""), new Set<string>()]] : [])));
  for (const line of uses) versions.get(line.replace(/.*uses: |@.*/g, ""))?.add(line.replace(/.*@/, ""));
  expect([...versions.values()].filter(({ size }) => size !== 1)).toEqual([]);
});

test("each job has the rights that it needs, and one alone may write: it runs no code of ours or of a package", () => {
  const writing = jobs.filter(({ permissions }) => Object.values(permissions).includes("write"));
  expect(writing.map(({ at, permissions }) => [at, permissions])).toEqual([
    ["release.yml publish", { contents: "write", "id-token": "write", attestations: "write" }],
  ]);
  expect(
    writing
      .flatMap(({ steps: of }) => of)
      .filter(({ uses, run }) => uses?.startsWith("actions/checkout@") || /\b(?:npm|node)\b/.test(run ?? "")),
  ).toEqual([]);
  for (const { at, permissions } of jobs.filter((each) => !writing.includes(each)))
    expect([at, permissions]).toEqual([at, { contents: "read" }]);
});

test("no job goes on for ever, keeps the token in the checkout, or takes what another run left", () => {
  expect(jobs.filter((each) => each.uses === undefined && each["timeout-minutes"] === undefined)).toEqual([]);
  const of = (action: string) => steps.filter(({ uses }) => uses?.startsWith(`actions/${action}@`));
  expect(of("checkout").length).toBeGreaterThan(2);
  expect(of("checkout").filter((each) => each.with["persist-credentials"] !== false)).toEqual([]);
  expect(of("setup-node").filter((each) => each.with["package-manager-cache"] !== false)).toEqual([]);
  expect(of("cache")).toEqual([]);
});

test("a stranger's pull request runs without secrets, and no text of theirs becomes a command", () => {
  expect(workflows.flatMap(({ on }) => Object.keys(on)).toSorted()).toEqual(["pull_request", "push", "push", "workflow_call"]);
  expect(files.filter(({ text }) => /\bsecrets\b/.test(text))).toEqual([]);
  expect(runs.filter(({ run }) => run.includes("${{"))).toEqual([]);
});

test("the gate is the one of this repository, and what is built has its list of parts and its provenance", () => {
  const { scripts } = z
    .object({ scripts: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync(join(root, "package.json"), "utf8")));
  const called = runs.flatMap(({ run }) => [...run.matchAll(/\bnpm run ([\w:]+)/g)].map(([, name = ""]) => name));
  expect(called.filter((name) => !(name in scripts))).toEqual([]);
  const checked = [...(scripts["check"] ?? "").matchAll(/npm run --silent ([\w:]+)/g)].map(([, name = ""]) => name);
  expect(checked.filter((name) => !called.includes(name))).toEqual([]);
  expect(runs.map(({ run }) => run)).toContain(".ci/run");
  expect(runs.some(({ run }) => run.includes("sbom.cdx.json"))).toBe(true);
  expect(steps.some(({ uses }) => uses?.startsWith("actions/attest-build-provenance@"))).toBe(true);
});
