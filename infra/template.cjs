/**
 * The stack, for serverless.yml: osls takes no TypeScript. Bundled in memory, so that two packagings beside each other share no file;
 * packages stay where they are installed.
 */
const { join } = require("node:path");
const { compileFunction } = require("node:vm");
const { buildSync } = require("esbuild");

const settings = { format: "cjs", platform: "node", target: "node20", bundle: true, packages: "external", write: false };
const entry = { entryPoints: [join(__dirname, "template/index.ts")], supported: { "dynamic-import": false } };
const [{ text }] = buildSync({ ...settings, ...entry }).outputFiles;
const bundle = { exports: {} };
compileFunction(text, ["module", "exports", "require"])(bundle, bundle.exports, require);

let configuration = null;
module.exports = async ({ resolveVariable, resolveConfigurationProperty }) => {
  const { relay, ...stack } = await bundle.exports.generate({
    service: await resolveConfigurationProperty(["service"]),
    stage: await resolveVariable("sls:stage"),
    http: await resolveVariable("param:http"),
    kmsKeyArn: await resolveVariable("param:kmsKeyArn"),
  });
  configuration = relay;
  return stack;
};
/** What goes into each function's zip, as plain data; there once the stack was asked for. */
module.exports.configuration = () => configuration;
