/** `npm run flood -- [--minutes 10]`: bundles the flood, since Node 20 reads no TypeScript, and runs it against dist/cli.js. */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));
// below node_modules, where the bundle finds what it imports
const cache = `${root}node_modules/.cache`;
await mkdir(cache, { recursive: true });
const folder = await mkdtemp(`${cache}/mpo-relay-flood-`);
let child = null;
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child?.kill(signal));
try {
  await build({
    absWorkingDir: root,
    entryPoints: ["test/flood/main.ts"],
    outdir: folder,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    packages: "external",
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
  child = spawn(process.execPath, [`${folder}/main.mjs`, ...process.argv.slice(2)], { cwd: root, stdio: "inherit" });
  process.exitCode = await new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
} finally {
  await rm(folder, { recursive: true, force: true });
}
