/** .github/workflows by the linter that knows GitHub's rules; what is ours to ask of them is in test/workflows.test.ts. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { lintWorkflows } from "./parts/actionlint.ts";
import { temporaryFolder } from "./parts/child.ts";

const FOLDER = join(import.meta.dirname, "../../.github/workflows");

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
