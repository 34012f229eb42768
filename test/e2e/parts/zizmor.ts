/** zizmor, which looks at workflows as somebody would who wants to misuse them: https://docs.zizmor.sh/audits/ */
import { join } from "node:path";
import { install } from "./cache.ts";
import { run } from "./child.ts";
import { pipPart } from "./pip.ts";

export const zizmor = pipPart("zizmor", "1.32.0");

/** Throws with every finding that could do harm, by its most suspicious eye. Without the audits that ask GitHub. */
export async function attackWorkflows(paths: readonly string[]): Promise<void> {
  const options = ["--offline", "--no-config", "--no-ignores", "--strict-collection", "--persona", "auditor", "--min-severity", "medium"];
  await run(join(await install(zizmor), "bin/zizmor"), [...options, "--quiet", "--no-progress", "--format", "github", ...paths]);
}
