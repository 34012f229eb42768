/** The resource definitions of deckhouse.io, and the rights of the relay as infra/cluster hands them out. */
import { type KubernetesObject, loadAllYaml, loadYaml } from "@kubernetes/client-node";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { KubeApiserver } from "./kube-apiserver.ts";
import { operatorCrds } from "./prometheus-operator.ts";

const CRDS = join(import.meta.dirname, "../crds");
const RIGHTS = join(import.meta.dirname, "../../../infra/cluster");

/** ModulePullOverrides in that version, and no other, is what the cluster serves; ModuleSources, ModuleReleases and Modules come along. */
export async function crds(overrides: "v1alpha1" | "v1alpha2"): Promise<KubernetesObject[]> {
  const files = [`modulepulloverrides.${overrides}.yaml`, "modulesources.yaml", "modulereleases.yaml", "modules.yaml"];
  return (await Promise.all(files.map((file) => objectsOf(join(CRDS, file))))).flat();
}

/** What a cluster's monitoring reads: the operator's own definitions, and for Deckhouse's kinds ours. */
export async function applyMonitoringCrds(kube: KubeApiserver): Promise<void> {
  const all = [...(await operatorCrds()), ...(await objectsOf(join(CRDS, "monitoring-deckhouse.yaml")))];
  await kube.apply(all);
  for (const { spec } of all.map((each) => definition.parse(each)))
    for (const { name } of spec.versions.filter(({ served }) => served)) await kube.served(spec.group, name, spec.names.plural);
}
const definition = z.object({
  spec: z.object({
    group: z.string(),
    names: z.object({ plural: z.string() }),
    versions: z.array(z.object({ name: z.string(), served: z.boolean() })),
  }),
});

const kustomization = z.object({ resources: z.array(z.string()) });

/** What `kubectl apply -k infra/cluster/base` creates: a namespace, a service account and its rights. */
export async function rights(): Promise<{ namespace: string; objects: KubernetesObject[] }> {
  const objects = await rightsIn("base");
  const namespace = objects.find(({ kind }) => kind === "ServiceAccount")?.metadata?.namespace;
  if (namespace === undefined) throw new Error("infra/cluster/base has no service account with a namespace");
  return { namespace, objects };
}

/** What `kubectl apply -k infra/cluster/rescan` creates, once that source's name is written where the page says. */
export const rescanRights = (source: string) => rightsIn("rescan", (text) => text.replace("[my-modules]", `[${source}]`));

async function rightsIn(folder: string, edit = (text: string) => text): Promise<KubernetesObject[]> {
  const at = (file: string) => join(RIGHTS, folder, file);
  const { resources } = kustomization.parse(loadYaml(await readFile(at("kustomization.yaml"), "utf8")));
  return (await Promise.all(resources.map((file) => objectsOf(at(file), edit)))).flat();
}

/** All objects of a YAML file. */
async function objectsOf(file: string, edit = (text: string) => text): Promise<KubernetesObject[]> {
  return loadAllYaml(edit(await readFile(file, "utf8")));
}
