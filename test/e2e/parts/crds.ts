/** The resource definitions of deckhouse.io, and the rights of the relay as infra/cluster hands them out. */
import { type KubernetesObject, loadAllYaml } from "@kubernetes/client-node";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const CRDS = join(import.meta.dirname, "../crds");

/** ModulePullOverrides in that version, and no other, is what the cluster serves; ModuleSources and Modules come along. */
export async function crds(overrides: "v1alpha1" | "v1alpha2"): Promise<KubernetesObject[]> {
  const files = [`modulepulloverrides.${overrides}.yaml`, "modulesources.yaml", "modules.yaml"];
  return (await Promise.all(files.map((file) => objectsOf(join(CRDS, file))))).flat();
}

/** All objects of a YAML file. */
export async function objectsOf(file: string): Promise<KubernetesObject[]> {
  return loadAllYaml(await readFile(file, "utf8"));
}
