/**
 * What `npx osls package` (and deploy) does first, as a plugin of serverless.yml: build the bundles, and lay the configuration beside them
 * as JSON. It is MPO_RELAY_CONFIG (a path, or inline JSON), else relay.yaml, else the example, which makes a template to look at but no relay.
 */
import { readFile, writeFile } from "node:fs/promises";
import { parse } from "yaml";

const EXAMPLE = "infra/relay.example.yaml";

export default class Bundles {
  hooks = { "before:package:createDeploymentArtifacts": bundle };
}

async function bundle() {
  await import("./build.mjs");
  await layConfiguration();
}

export async function layConfiguration() {
  await writeFile("dist/lambda/relay.json", JSON.stringify(parse(await configuration())));
}

/** JSON is YAML too. */
async function configuration() {
  const given = process.env.MPO_RELAY_CONFIG?.trim();
  if (given) return given.startsWith("{") ? given : await readFile(given, "utf8");
  try {
    return await readFile("relay.yaml", "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    process.stderr.write(`no relay.yaml here and no MPO_RELAY_CONFIG: packaging ${EXAMPLE}, which serves nobody\n`);
    return await readFile(EXAMPLE, "utf8");
  }
}
