/**
 * `npm run bench`: runs the benchmark over a copy of dist/, so that a build in the meantime changes nothing.
 * Options: --json, --real (patches also on a real kube-apiserver), --quick, --only <part>[,<part>], --profile.
 */
import { cp } from "node:fs/promises";
import { runBundled } from "../support/bundled.mjs";

process.exitCode = await runBundled("test/bench/main.ts", {
  beside: ["edge", "fauxqs", "api"].map((name) => `test/bench/${name}.ts`),
  prepare: (root, folder) => cp(`${root}dist`, `${folder}/dist`, { recursive: true }),
});
