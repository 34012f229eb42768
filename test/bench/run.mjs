/**
 * `npm run bench`: bundles the benchmark (Node 20 reads no TypeScript) and runs it over a copy of dist/, so that a build in the
 * meantime changes nothing. Options: --json, --real (patches also on a real kube-apiserver), --quick, --only <part>[,<part>], --profile.
 */
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));
// On the disk of the project, not in a temporary folder: that may be a tmpfs, whose fsync costs nothing.
const cache = `${root}node_modules/.cache/mpo-relay-bench`;
await mkdir(cache, { recursive: true });
const folder = await mkdtemp(`${cache}/run-`);

/** The real parts find their sources beside their own file. */
const ownFolder = {
  name: "own-folder",
  setup: ({ onLoad }) =>
    onLoad({ filter: /test\/e2e\/.*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replaceAll("import.meta.dirname", JSON.stringify(dirname(path))),
      loader: "ts",
    })),
};

let child = null;
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child?.kill(signal));
try {
  await cp(`${root}dist`, `${folder}/dist`, { recursive: true });
  await build({
    absWorkingDir: root,
    entryPoints: ["main", "edge", "fauxqs", "api"].map((name) => `test/bench/${name}.ts`),
    outdir: folder,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    packages: "external",
    plugins: [ownFolder],
    logLevel: "warning",
  });
  const settings = { cwd: root, stdio: "inherit", env: { ...process.env, MPO_RELAY_BENCH_FOLDER: folder } };
  child = spawn(process.execPath, [`${folder}/main.js`, ...process.argv.slice(2)], settings);
  process.exitCode = await new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
} finally {
  await rm(folder, { recursive: true, force: true });
}
