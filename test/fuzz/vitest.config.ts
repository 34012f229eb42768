import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/fuzz/*.fuzz.ts"],
    execArgv: ["--expose-gc"],
    testTimeout: 24 * 3_600_000,
    coverage: {
      enabled: true,
      provider: "v8",
      include: ["src/providers/*.ts", "src/body.ts"],
      reporter: ["json"],
      reportsDirectory: "coverage/fuzz",
      reportOnFailure: true,
    },
  },
});
