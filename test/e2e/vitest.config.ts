import { defineConfig } from "vitest/config";

const isTrial = process.env["MPO_RELAY_TRIAL"] !== undefined;

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: [isTrial ? "*.trial.ts" : "*.e2e.ts"],
    globalSetup: ["setup.ts"],
    // One scenario after the other: each measures and kills processes on the same two cores. Whoever is on call mostly waits, at three desks.
    fileParallelism: isTrial,
    ...(isTrial && { maxWorkers: 3 }),
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
