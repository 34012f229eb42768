// Builds dist/: the command line for Node (dependencies stay in node_modules), and the Lambda functions as self-contained ESM bundles.
import { rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

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
};
// CommonJS packages inside an ESM bundle call require() for Node's own modules.
const requireBanner = `import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);`;

await rm(`${root}dist`, { recursive: true, force: true });
const cli = await build({
  ...common,
  packages: "external",
  entryPoints: { cli: "src/cli/index.ts" },
  outdir: "dist",
  chunkNames: "chunks/[name]-[hash]",
  banner: { js: requireBanner },
});
const lambda = await build({
  ...common,
  entryPoints: { edge: "functions/edge.ts", consumer: "functions/consumer.ts" },
  outdir: "dist/lambda",
  outExtension: { ".js": ".mjs" },
  chunkNames: "chunks/[name]-[hash]",
  minify: true,
  external: ["libsql", "pino-pretty", "yaml", "@hono/node-server"],
  banner: { js: requireBanner },
});
await writeFile(`${root}dist/meta.json`, JSON.stringify({ cli: cli.metafile.outputs, lambda: lambda.metafile.outputs }));
