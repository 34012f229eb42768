// Builds dist/: the command line for Node (dependencies stay in node_modules), and the functions as self-contained ESM bundles.
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { noticesOf } from "./notices.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  mainFields: ["module", "main"],
  splitting: true,
  logLevel: "warning",
  metafile: true,
  // CommonJS packages inside an ESM bundle call require() for Node's own modules.
  banner: { js: `import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);` },
};

/** Chunks lie in a folder per function, so that no function's zip holds those of another. */
const lambda = (name) =>
  build({
    ...common,
    entryPoints: { [name]: `functions/${name}.ts` },
    outdir: "dist/lambda",
    outExtension: { ".js": ".mjs" },
    chunkNames: `${name}/[name]-[hash]`,
    minify: true,
    // Reached only from forms of the configuration that a Lambda function refuses, or does not have.
    external: ["libsql", "pino-pretty", "yaml", "@hono/node-server"],
  });

/** One file, as a Worker is uploaded. No file of a Worker has a path that require() could start from. */
const worker = build({
  ...common,
  entryPoints: { edge: "functions/edge-workers.ts" },
  outdir: "dist/workers",
  outExtension: { ".js": ".mjs" },
  splitting: false,
  minify: true,
  target: "es2023",
  banner: { js: common.banner.js.replace("import.meta.url", '"/"') },
  // Reached only from forms of the configuration that a Worker refuses: the SDK for ssm:, a YAML file, a terminal.
  external: ["./ssm.ts", "yaml", "pino-pretty"],
});

// Whole, the Kubernetes client takes half a second to load, and 50 MB: of it the bundle has what we use, and it is installed for the build alone.
const { dependencies } = JSON.parse(await readFile(`${root}package.json`, "utf8"));
const external = Object.keys(dependencies);
const FUNCTIONS = ["edge", "consumer", "sweep", "inbox"];
const [cli, workers, ...functions] = await Promise.all([
  build({
    ...common,
    external,
    entryPoints: { cli: "src/cli/index.ts" },
    outdir: "dist",
    chunkNames: "chunks/[name]-[hash]",
  }),
  worker,
  ...FUNCTIONS.map(lambda),
]);
const outputs = {
  cli: cli.metafile.outputs,
  workers: workers.metafile.outputs,
  lambda: Object.assign({}, ...functions.map(({ metafile }) => metafile.outputs)),
};
await writeFile(`${root}dist/meta.json`, JSON.stringify(outputs));

// Beside what it speaks of, in a function's own folder: so it goes wherever that goes, into its zip too.
const { texts } = JSON.parse(await readFile(`${root}infra/licences.json`, "utf8"));
const notices = new Map([
  ["dist/THIRD-PARTY.txt", cli.metafile],
  ["dist/workers/THIRD-PARTY.txt", workers.metafile],
]);
for (const [index, { metafile }] of functions.entries()) notices.set(`dist/lambda/${FUNCTIONS[index]}/THIRD-PARTY.txt`, metafile);
for (const [file, { outputs: of }] of notices) {
  const inputs = Object.values(of).flatMap((output) => Object.keys(output.inputs));
  await writeFile(root + file, await noticesOf(root, inputs, texts));
}

// What an earlier build left goes last: whatever runs from dist/ meanwhile finds its files, which have the same names if they are the same.
const built = new Set(["dist/meta.json", ...notices.keys(), ...Object.values(outputs).flatMap((each) => Object.keys(each))]);
for (const file of await readdir(`${root}dist`, { recursive: true, withFileTypes: true })) {
  const path = `${file.parentPath}/${file.name}`.slice(root.length);
  if (file.isFile() && !built.has(path)) await rm(`${root}${path}`, { force: true });
}
