/**
 * What `npx osls package` (and deploy) does first, as a plugin of serverless.yml: build the bundles, and lay the configuration beside them
 * as JSON. It is MPO_RELAY_CONFIG (a path, or inline JSON), else relay.yaml, else the example, which makes a template to look at but no relay.
 */
import { readFile, writeFile } from "node:fs/promises";
import { parse } from "yaml";

const EXAMPLE = "infra/relay.example.yaml";

export default class Bundles {
  #serverless;
  hooks = { "before:package:createDeploymentArtifacts": () => bundle(this.#serverless.service.custom.cluster) };

  constructor(serverless) {
    this.#serverless = serverless;
  }
}

async function bundle(cluster) {
  await import("./build.mjs");
  await layConfiguration(cluster);
}

/**
 * Throws where `cluster` is not in it: the consumer would not start, and its records would end as dead letters without a reason.
 * And where a webhook has a queue, or something is embedded: both functions would refuse to start, in place of those that run.
 */
export async function layConfiguration(cluster) {
  const config = parse(await configuration());
  const known = Object.keys(config?.clusters ?? {});
  if (!known.includes(cluster))
    throw new Error(`no cluster "${cluster}" in the configuration: --param cluster=NAME, known: ${known.join(", ")}`);
  const queued = Object.entries(config?.webhooks ?? {}).flatMap(([name, webhook]) => (webhook?.queue ? [`webhooks.${name}.queue`] : []));
  if (queued.length > 0) throw new Error(`${queued.join(", ")}: only mpo-relay serve takes deliveries from a queue; take it out here`);
  const places = Object.entries(config.clusters).map(([name, of]) => [`clusters.${name}.queue`, of?.queue]);
  const embedded = [...places, ["unparsed", config.unparsed], ["journal", config.journal]].filter(([, form]) =>
    form?.startsWith("embedded:"),
  );
  if (embedded.length > 0)
    throw new Error(`${embedded.map(([place]) => place).join(", ")}: embedded needs a disk that lasts; write env:NAME (see ${EXAMPLE})`);
  await writeFile("dist/lambda/relay.json", JSON.stringify(config));
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
