/** The list of what an operator runs (CycloneDX): installed beside the program, or bundled into it. */
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { foldersOf } from "../notices.mjs";

const DEVELOPMENT = "cdx:npm:package:development";

/**
 * As text, the same for the same lock file, npm and build: without the number and the hour that would make each list another. With every
 * platform's packages, as the lock file has them. `root` is the project's folder, where dist/ is built.
 *
 * Not by `npm sbom --omit dev`, which in npm 11 leaves out whatever development needs too: more than half.
 */
export async function sbomOf(root) {
  const args = ["sbom", "--package-lock-only", "--sbom-format", "cyclonedx"];
  const { serialNumber: _, ...all } = JSON.parse(execFileSync("npm", args, { cwd: root, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 }));
  const bundled = await bundledIn(root);
  const isForDevelopment = ({ properties = [] }) => properties.some(({ name, value }) => name === DEVELOPMENT && value === "true");
  const components = all.components
    .filter((each) => !isForDevelopment(each) || bundled.has(`${each.name}@${each.version}`))
    .map((each) => (isForDevelopment(each) ? shipped(each) : each));
  const kept = new Set([all.metadata.component["bom-ref"], ...components.map((each) => each["bom-ref"])]);
  const dependencies = all.dependencies
    .filter(({ ref }) => kept.has(ref))
    .map((each) => ({ ...each, dependsOn: each.dependsOn.filter((ref) => kept.has(ref)) }));
  delete all.metadata.timestamp;
  return `${JSON.stringify({ ...all, components, dependencies }, null, 2)}\n`;
}

/** What is bundled runs: a scanner that passes over what development alone needs must not pass over it. */
function shipped(component) {
  const { scope: _, ...rest } = component;
  return { ...rest, properties: component.properties.filter(({ name }) => name !== DEVELOPMENT) };
}

/** `name@version`: of one name, development may need other versions than the bundle holds. */
async function bundledIn(root) {
  const read = async (path) => JSON.parse(await readFile(join(root, path), "utf8"));
  const [{ cli }, { packages }] = await Promise.all([read("dist/meta.json"), read("package-lock.json")]);
  const inputs = Object.values(cli).flatMap((output) => Object.keys(output.inputs));
  return new Set(foldersOf(inputs).map((folder) => `${folder.replace(/.*node_modules\//, "")}@${packages[folder].version}`));
}
