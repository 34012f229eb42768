/**
 * How many tests passed and failed in runs of vitest, out of its JSON reports: `node verdict.mjs <exit code>:<report> …`
 * prints `N passed, N failed` and exits 1 on any failure.
 */
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

/** `runs`: exit code and report file of each. A run that broke outside of any test, or left one out, has not passed. */
export async function verdict(runs) {
  const counts = await Promise.all(
    runs.map(async ({ code, report }) => {
      const { numTotalTests = 0, numPassedTests = 0 } = JSON.parse(await readFile(report, "utf8").catch(() => "{}"));
      const broken = code !== 0 || numTotalTests === 0;
      return { passed: numPassedTests, failed: Math.max(numTotalTests - numPassedTests, broken ? 1 : 0) };
    }),
  );
  const sum = (field) => counts.reduce((total, count) => total + count[field], 0);
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
  return sum("failed") === 0 ? 0 : 1;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const runs = process.argv.slice(2).map((argument) => /^(\d+):(.+)$/.exec(argument));
  process.exitCode = await verdict(runs.map(([, code, report]) => ({ code: Number(code), report })));
}
