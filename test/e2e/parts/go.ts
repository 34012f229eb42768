/** Programs as the Go toolchain installs them, one static binary in the part's folder. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { hashOf } from "./cache.ts";
import { run } from "./child.ts";

const FLAGS = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags=-s -w"];

/** `path` is the package of the command, without its version. */
export const goPart = (name: string, version: string, path: string, cost: string): Part => ({
  name,
  version,
  cost,
  build: async (folder) => {
    const env = { ...process.env, GOBIN: folder, GOFLAGS: "-buildvcs=false", CGO_ENABLED: "0" };
    await run("go", ["install", "-trimpath", "-ldflags=-s -w", `${path}@${version}`], { env });
  },
});

/**
 * `program` of the module in the folder `name` beside this file, whose go.sum pins everything that is built into it. `more` adds to the part's folder
 * what else is wanted of these modules.
 */
export function pinnedGoPart(name: string, program: string, cost: string, more?: (folder: string, source: string) => Promise<void>): Part {
  const source = join(import.meta.dirname, name);
  const files = ["go.mod", "go.sum", "main.go"].map((file) => join(source, file)).filter((file) => existsSync(file));
  return {
    name,
    version: hashOf(...files.map((file) => readFileSync(file)), ...FLAGS, program),
    cost,
    build: async (folder) => {
      const env = { ...process.env, CGO_ENABLED: "0" };
      await run("go", ["build", ...FLAGS, "-o", join(folder, name), program], { cwd: source, env });
      await more?.(folder, source);
    },
  };
}
