/** .github/workflows: what may run there, by whose hand, and with which rights. The syntax is actionlint's business (e2e/workflows.e2e.ts). */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import * as z from "zod";

const root = join(import.meta.dirname, "..");
const folder = join(root, ".github/workflows");
const step = z.object({
  name: z.string().default(""),
  uses: z.string().optional(),
  run: z.string().optional(),
  with: z.record(z.string(), z.unknown()).default({}),
});
const rights = z.record(z.string(), z.enum(["read", "write"]));
const job = z.object({
  permissions: rights,
  uses: z.string().optional(),
  "timeout-minutes": z.int().optional(),
  container: z.object({ image: z.string() }).optional(),
  env: z.record(z.string(), z.string()).default({}),
  steps: z.array(step).default([]),
});
const workflow = z.object({
  defaults: z.object({ run: z.strictObject({ shell: z.literal("bash") }) }),
  concurrency: z.looseObject({ group: z.string() }),
  on: z.record(z.string(), z.unknown()),
  permissions: z.strictObject({}),
  jobs: z.record(z.string(), job),
});

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

test("images are named by what is in them, too: that of a job, the image's base, and what builds it", () => {
  const CONTENT = /^docker\.io\/[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$/;
  expect(jobs.flatMap(({ container }) => container?.image ?? []).filter((image) => !CONTENT.test(image))).toEqual([]);
  const build = jobs.find(({ at }) => at === "release.yml build");
  expect(build?.env["BUILDKIT"]).toMatch(CONTENT);
  const [building = "", ...more] = runs.flatMap(({ run }) => (run.includes("docker buildx") ? [run] : []));
  expect(more).toEqual([]);
  expect(building).toContain('docker buildx create --use --driver-opt "image=$BUILDKIT"');
  expect(building).not.toContain("--build-arg"); // the base is the one that was looked at with infra/Dockerfile
  expect(CONTENT.test("docker.io/library/node:24")).toBe(false);
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

/** A step of release.yml in a folder, by the shell that runs it on GitHub: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#defaultsrunshell */
async function play(name: string, cwd: string, ref: string): Promise<boolean> {
  const { run = expect.fail() } = steps.find((each) => each.at.startsWith("release.yml") && each.name.startsWith(name)) ?? {};
  const env = { PATH: `${cwd}:${process.env["PATH"]}`, HOME: cwd, GITHUB_REF_NAME: ref };
  const args = ["--noprofile", "--norc", "-eo", "pipefail", "-c", run];
  return promisify(execFile)("bash", args, { cwd, env }).then(
    () => true,
    () => false,
  );
}
function emptyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "mpo-relay-workflows-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("a release of another version than package.json's is refused, and one that is not on main", async () => {
  const folder = emptyFolder();
  writeFileSync(join(folder, "package.json"), JSON.stringify({ version: "1.2.3" }));
  // git's answer alone: nobody needs git for `npm test`, and what it is asked stands here
  const git = (isOnMain: boolean) =>
    writeFileSync(join(folder, "git"), `#!/bin/sh\ntest "$*" = "merge-base --is-ancestor HEAD origin/main" && ${isOnMain}\n`, {
      mode: 0o755,
    });
  const verdicts = (...refs: readonly string[]) => Promise.all(refs.map((ref) => play("The tag is", folder, ref)));
  git(true);
  expect(await verdicts("v1.2.3", "1.2.3", "v1.2.4", "v1.2.3-rc.1", "v1.2.3; true")).toEqual([true, false, false, false, false]);
  git(false);
  expect(await verdicts("v1.2.3")).toEqual([false]);
  const fetched = steps.filter(({ at, uses }) => at === "release.yml build" && uses?.startsWith("actions/checkout@"));
  expect(fetched.map((each) => each.with["fetch-depth"])).toEqual([0]); // else there is no origin/main
});

test("nothing is signed but the files of a release, as they were built", async () => {
  const files = ["base-image.txt", "mpo-relay-1.2.3.tar", "mpo-relay-1.2.3.tgz", "sbom.cdx.json"];
  const folder = emptyFolder();
  const release = join(folder, "release");
  mkdirSync(release);
  const sums = files.map((file) => `${createHash("sha256").update(file).digest("hex")}  ${file}\n`);
  for (const file of files) writeFileSync(join(release, file), file);
  writeFileSync(join(release, "SHA256SUMS"), sums.join(""));
  const isTaken = (ref = "v1.2.3") => play("These files", folder, ref);
  expect([await isTaken(), await isTaken("v1.2.4")]).toEqual([true, false]);
  writeFileSync(join(release, ".hidden"), "");
  expect(await isTaken()).toBe(false);
  rmSync(join(release, ".hidden"));
  writeFileSync(join(release, "sbom.cdx.json"), "another");
  expect(await isTaken()).toBe(false);
});
