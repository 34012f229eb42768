/** The documented example that the sandbox starts with: a module source with two modules, and an override of one of them. */
import type { Store } from "./kubernetes/types.ts";

export const MODULE = "echo";
export const TAG = "main-patch-03354";
export const SOURCE_PATH = "deckhouse/modules";

/** https://deckhouse.io/products/kubernetes-platform/documentation/v1/module-development/run/ `repo` is `host:port/path`, served over plain HTTP. */
export function createExample(store: Store, repo: string): void {
  const modules = [MODULE, "hello-world"];
  store.create("modulesources", { metadata: { name: "test" }, spec: { registry: { repo, scheme: "HTTP" } } });
  store.patchStatus("modulesources", "test", { modulesCount: modules.length, modules: modules.map((name) => ({ name })) });
  for (const name of modules) {
    store.create("modules", { metadata: { name }, properties: { source: "test", availableSources: ["test"], weight: 900 } });
  }
  store.create("modulepulloverrides", { metadata: { name: MODULE }, spec: { imageTag: TAG, scanInterval: "24h" } });
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
