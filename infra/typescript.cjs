/**
 * Runs TypeScript of this folder where Node 20 reads none: bundled in memory, so that two runs beside each other share no file;
 * packages stay where they are installed.
 */
const { join } = require("node:path");
const { compileFunction } = require("node:vm");
const { buildSync } = require("esbuild");

/** What the file exports, given its path below infra/. */
module.exports = function load(path) {
  const settings = { format: "cjs", platform: "node", target: "node20", bundle: true, packages: "external" };
  const entryPoints = [join(__dirname, path)];
  const { outputFiles } = buildSync({ ...settings, supported: { "dynamic-import": false }, entryPoints, write: false });
  const bundle = { exports: {} };
  compileFunction(outputFiles[0].text, ["module", "exports", "require"])(bundle, bundle.exports, require);
  return bundle.exports;
};
