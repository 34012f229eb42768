import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/e2e/**", "node_modules/**"],
    maxWorkers: "100%", // vitest keeps one core free, and many a machine has two
    testTimeout: 60_000, // a machine with other work is slow, and no test is about how fast something is
    hookTimeout: 60_000,
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
  },
});
