/** Runs a TypeScript program of test/ as `node` runs JavaScript: bundled first, since Node 20 reads none. */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The real parts find their sources beside their own file. */
const ownFolder = {
  name: "own-folder",
  setup: ({ onLoad }) =>
    onLoad({ filter: /test\/e2e\/.*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replaceAll("import.meta.dirname", JSON.stringify(dirname(path))),
      loader: "ts",
    })),
};

/**
 * `entry` is the program, from the project's folder, where it runs with this process's arguments; gives its exit code. `beside`: more
 * programs, for it to start out of the folder that MPO_RELAY_BUNDLED names. `prepare` puts something into that folder before.
 */
export async function runBundled(entry, { beside = [], prepare = async () => undefined } = {}) {
  // below node_modules, where the bundle finds what it imports, and on the disk of the project: a temporary folder may be a tmpfs, whose fsync costs nothing
  const cache = `${root}node_modules/.cache/mpo-relay`;
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(`${cache}/run-`);
  let child = null;
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child?.kill(signal));
  try {
    await prepare(root, folder);
    await build({
      absWorkingDir: root,
      entryPoints: [entry, ...beside],
      outdir: folder,
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      target: "node20",
      packages: "external",
      outExtension: { ".js": ".mjs" },
      plugins: [ownFolder],
      logLevel: "warning",
    });
    const settings = { cwd: root, stdio: "inherit", env: { ...process.env, MPO_RELAY_BUNDLED: folder } };
    child = spawn(process.execPath, [`${folder}/${basename(entry, ".ts")}.mjs`, ...process.argv.slice(2)], settings);
    return await new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 1)));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
