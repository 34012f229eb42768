/** What `npx osls package` (and deploy) does first, as a plugin of serverless.yml: build the bundles, and lay the configuration beside them as JSON. */
import { writeFile } from "node:fs/promises";
import template from "./template.cjs";

export default class Bundles {
  hooks = { "before:package:createDeploymentArtifacts": bundle };
}

async function bundle() {
  await import("./build.mjs");
  await writeFile("dist/lambda/relay.json", JSON.stringify(template.configuration()));
}
