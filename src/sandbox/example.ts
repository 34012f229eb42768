/** The documented example that the sandbox starts with: a module source with two modules, and an override of one of them. */
import type { EraName } from "./deckhouse-eras.ts";
import type { NewObject, Store } from "./kubernetes/types.ts";

export const MODULE = "echo";
export const TAG = "main-patch-03354";
export const SOURCE_PATH = "deckhouse/modules";

/** https://deckhouse.io/products/kubernetes-platform/documentation/v1/module-development/run/ `repo` is `host:port/path`, served over plain HTTP. */
export function createExample(store: Store, repo: string, era: EraName): void {
  const source = "test";
  const modules = [MODULE, "hello-world"];
  store.create("modulesources", { metadata: { name: source }, spec: { registry: { repo, scheme: "HTTP" } } });
  store.patchStatus("modulesources", source, { modulesCount: modules.length, modules: modules.map((name) => ({ name })) });
  for (const name of modules) {
    store.create("modules", { metadata: { name }, ...moduleFrom(source, era) });
  }
  store.create("modulepulloverrides", { metadata: { name: MODULE }, spec: { imageTag: TAG, scanInterval: "24h", source } });
}

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
