import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ["*.deploy.ts"],
    fileParallelism: false, // each packages, and that fills two cores
    testTimeout: 600_000, // some package twice, which a busy machine takes minutes for
    hookTimeout: 300_000,
    env: { AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
  },
});
