/** The documented example that the sandbox starts with: a module source with two modules, and an override of one of them. */
import type { EraName } from "./deckhouse-eras.ts";
import type { UpdatePolicy } from "./deckhouse-sources.ts";
import type { NewObject, Store } from "./kubernetes/types.ts";
import { pushImage } from "./registry-client.ts";

export const MODULE = "echo";
export const TAG = "main-patch-03354";
export const SOURCE_PATH = "deckhouse/modules";
/** Of the module that no override holds: `hello-world` follows it. */
export const CHANNEL = { module: "hello-world", name: "stable" };
const SOURCE = "test";
const MODULES = [MODULE, CHANNEL.module];
const FIRST_VERSION = "v1.0.0";

/** https://deckhouse.io/products/kubernetes-platform/documentation/v1/module-development/run/ `repo` is `host:port/path`, served over plain HTTP. */
export function createExample(store: Store, repo: string, era: EraName): void {
  store.create("modulesources", { metadata: { name: SOURCE }, spec: { registry: { repo, scheme: "HTTP" } } });
  for (const name of MODULES) {
    store.create("modules", { metadata: { name }, ...moduleFrom(SOURCE, era) });
  }
  store.create("modulepulloverrides", { metadata: { name: MODULE }, spec: { imageTag: TAG, scanInterval: "24h", source: SOURCE } });
}

/**
 * What the registry at `url` holds from the start: both modules, each with a release, in the channel that the example follows.
 * https://deckhouse.io/products/kubernetes-platform/documentation/v1/module-development/build/
 */
export async function seedRegistry(url: string): Promise<void> {
  for (const module of MODULES) {
    await pushImage(url, SOURCE_PATH, module);
    await pushImage(url, `${SOURCE_PATH}/${module}`, FIRST_VERSION);
    for (const tag of [FIRST_VERSION, CHANNEL.name])
      await pushImage(url, `${SOURCE_PATH}/${module}/release`, tag, { version: FIRST_VERSION });
  }
}

/** How the example's modules are updated: at once, from that channel. */
export const policyOf = (): UpdatePolicy => ({ name: "sandbox", channel: CHANNEL.name, mode: "Auto" });

/** A Module's own fields, by which an override's image is found; newer versions go by the package's repository. */
export function moduleFrom(source: string, era: EraName): Pick<NewObject, "properties" | "spec"> {
  const properties = { source, availableSources: [source], weight: 900 };
  return era === "e4" ? { properties, spec: { packageRepositoryName: source } } : { properties };
}

/** Resolves once Deckhouse looked at the example's override: from then on only an event makes it look again. */
export async function firstLook(store: Store): Promise<void> {
  let stop = () => undefined as void;
  await new Promise<void>((resolve) => {
    stop = store.watch("modulepulloverrides", ({ object }) => {
      if (object.status?.["message"] !== undefined) resolve();
    });
  });
  stop();
}
