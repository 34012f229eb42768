/** .github/workflows, and the action for pipelines, by the linters that know GitHub's rules; what is ours to ask of them is in test/workflows.test.ts. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { lintWorkflows } from "./parts/actionlint.ts";
import { temporaryFolder } from "./parts/child.ts";
import { attackWorkflows } from "./parts/zizmor.ts";

const ROOT = join(import.meta.dirname, "../..");
const FOLDER = join(ROOT, ".github/workflows");

test("actionlint finds nothing, and would", async () => {
  const files = (await readdir(FOLDER)).map((name) => join(FOLDER, name));
  expect(files).toHaveLength(2);
  await lintWorkflows(files);
  const folder = await temporaryFolder("workflows");
  onTestFinished(() => folder.remove());
  const wrong = join(folder.path, "wrong.yml");
  await writeFile(wrong, "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ github.evnt }}\n");
  await expect(lintWorkflows([wrong])).rejects.toThrow('property "evnt" is not defined');
});

test("zizmor finds nothing that could be misused, and would", async () => {
  await attackWorkflows([...(await readdir(FOLDER)).map((name) => join(FOLDER, name)), join(ROOT, "infra/ci/github/action.yml")]);
  const folder = await temporaryFolder("workflows");
  onTestFinished(() => folder.remove());
  const wrong = join(folder.path, "wrong.yml");
  const job = `    runs-on: ubuntu-24.04
    container: { image: "docker.io/library/golang:1.26-bookworm" }
    steps:
      - uses: actions/checkout@v6
      - run: echo "\${{ github.event.pull_request.title }}"
`;
  await writeFile(wrong, `on: pull_request_target\njobs:\n  a:\n${job}`);
  const found = await attackWorkflows([wrong]).catch(String);
  for (const audit of ["dangerous-triggers", "excessive-permissions", "template-injection", "unpinned-images", "unpinned-uses"])
    expect(found).toContain(`title=${audit}::`);
});
