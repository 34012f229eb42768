/** Programs as the Go toolchain installs them, one static binary in the part's folder. */
import type { Part } from "./cache.ts";
import { run } from "./child.ts";

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
