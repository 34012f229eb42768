import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: [process.env["MPO_RELAY_TRIAL"] ? "*.trial.ts" : "*.e2e.ts"],
    globalSetup: ["setup.ts"],
    // One scenario after the other: each measures and kills processes on the same two cores.
    fileParallelism: false,
    maxConcurrency: 2,
    testTimeout: 300_000,
    hookTimeout: 120_000,
    env: {
      AWS_ACCESS_KEY_ID: "none",
      AWS_SECRET_ACCESS_KEY: "none",
      AWS_REGION: "elasticmq",
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    },
  },
});
