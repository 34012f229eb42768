/**
 * How many tests passed and failed in runs of vitest, out of its JSON reports: `node verdict.mjs <exit code>:<report> …`
 * names each that failed, prints `N passed, N failed` last, and exits 1 on any failure.
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { pathToFileURL } from "node:url";

/** `runs`: exit code and report file of each. A run that broke outside of any test, or left one out, has not passed. */
export async function verdict(runs) {
  const counts = await Promise.all(
    runs.map(async ({ code, report }) => {
      const text = await readFile(report, "utf8").catch(() => "{}");
      const { numTotalTests = 0, numPassedTests = 0, testResults = [] } = JSON.parse(text);
      const broken = code !== 0 || numTotalTests === 0;
      for (const line of testResults.flatMap(failures)) console.log(line);
      return { passed: numPassedTests, failed: Math.max(numTotalTests - numPassedTests, broken ? 1 : 0) };
    }),
  );
  const sum = (field) => counts.reduce((total, count) => total + count[field], 0);
  console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
  return sum("failed") === 0 ? 0 : 1;
}

/** Of one test file: its tests that failed, or what broke it before it had any. The end of a long log is all that is kept of some. */
function failures({ name, status, message, assertionResults }) {
  const why = (text) => (text ?? "").split("\n", 1)[0];
  const failed = assertionResults.filter((test) => test.status === "failed");
  if (failed.length === 0 && status === "failed") return [`failed: ${basename(name)}: ${why(message)}`];
  return failed.map(({ fullName, failureMessages }) => `failed: ${basename(name)} > ${fullName}: ${why(failureMessages[0])}`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const runs = process.argv.slice(2).map((argument) => /^(\d+):(.+)$/.exec(argument));
  process.exitCode = await verdict(runs.map(([, code, report]) => ({ code: Number(code), report })));
}
