/** actionlint, which knows what GitHub takes for a workflow: https://github.com/rhysd/actionlint */
import { join } from "node:path";
import { install } from "./cache.ts";
import { run } from "./child.ts";
import { goPart } from "./go.ts";

export const actionlint = goPart("actionlint", "v1.7.12", "github.com/rhysd/actionlint/cmd/actionlint", "about 20 CPU seconds");

/** Throws with every finding. The linters that it would call where they are installed are left out: each machine would find something else. */
export async function lintWorkflows(files: readonly string[]): Promise<void> {
  await run(join(await install(actionlint), "actionlint"), ["-no-color", "-shellcheck=", "-pyflakes=", ...files]);
}
