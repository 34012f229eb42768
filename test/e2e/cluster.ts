/** A cluster as the relay meets it: a real kube-apiserver with a module source, its modules, an override of each, and the relay's own rights. */
import { CustomObjectsApi, type KubernetesObject } from "@kubernetes/client-node";
import * as z from "zod";
import { crds, rights } from "./parts/crds.ts";
import { type KubeApiserver, startKubeApiserver } from "./parts/kube-apiserver.ts";

export const TAG = "main";
export const SOURCE = "test";

const seen = z.object({
  metadata: z.object({ name: z.string(), annotations: z.record(z.string(), z.string()).default({}) }),
  spec: z.object({ imageTag: z.string() }),
  status: z.object({ message: z.string(), imageDigest: z.string() }).partial().default({}),
});
export type SeenOverride = z.infer<typeof seen>;

export type Version = "v1alpha1" | "v1alpha2";
export interface Cluster {
  readonly kube: KubeApiserver;
  /** The token of the relay's service account: no more rights than infra/cluster gives. */
  readonly token: string;
  /** What an administrator sees, by the version that is served. */
  override(module: string): Promise<SeenOverride>;
  overrides(): Promise<SeenOverride[]>;
  /** Writes into a status what Deckhouse never did. */
  spoil(module: string, imageDigest: string): Promise<void>;
  /** Replaces the resource definition by that of the newer version; the objects stay. */
  upgrade(): Promise<void>;
}

/** `repo` is the module source's, `host:port/path`, served over plain HTTP. Overrides scan every 24 h: whatever happens sooner, an event made it happen. */
export async function startCluster(options: {
  repo: string;
  modules: readonly string[];
  version?: Version;
}): Promise<Cluster & { stop(): Promise<void> }> {
  let { version = "v1alpha2" } = options;
  const kube = await startKubeApiserver();
  try {
    await kube.apply(await crds(version));
    for (const plural of ["modulesources", "modulereleases", "modules"]) await kube.served("deckhouse.io", "v1alpha1", plural);
    await kube.served("deckhouse.io", version, "modulepulloverrides");
    const { namespace, objects } = await rights();
    await kube.apply([...objects, ...moduleObjects(options.repo, options.modules, version)]);
    const token = await kube.serviceAccountToken(namespace, "mpo-relay");
    const api = kube.config(kube.adminToken).makeApiClient(CustomObjectsApi);
    const kind = () => ({ group: "deckhouse.io", version, plural: "modulepulloverrides" });
    return {
      kube,
      token,
      override: async (name) => seen.parse(await api.getClusterCustomObject({ ...kind(), name })),
      overrides: async () => z.object({ items: z.array(seen) }).parse(await api.listClusterCustomObject(kind())).items,
      spoil: async (name, imageDigest) => {
        const patch = [{ op: "replace", path: "/status/imageDigest", value: imageDigest }];
        await api.patchClusterCustomObjectStatus({ ...kind(), name, body: patch });
      },
      upgrade: async () => {
        await kube.apply(await crds("v1alpha2"));
        await kube.served("deckhouse.io", "v1alpha2", "modulepulloverrides");
        version = "v1alpha2";
      },
      stop: () => kube.stop(),
    };
  } catch (error) {
    await kube.stop();
    throw error;
  }
}

function moduleObjects(repo: string, modules: readonly string[], version: Version): KubernetesObject[] {
  const source = {
    apiVersion: "deckhouse.io/v1alpha1",
    kind: "ModuleSource",
    metadata: { name: SOURCE },
    spec: { registry: { repo, scheme: "HTTP" } },
  };
  const ofModule = (name: string) => [
    { apiVersion: "deckhouse.io/v1alpha1", kind: "Module", metadata: { name }, properties: { source: SOURCE, availableSources: [SOURCE] } },
    overrideOf(name, version),
  ];
  return [source, ...modules.flatMap(ofModule)];
}

/** An override of the module with the tag `main`. Only v1alpha1 knows a source. */
function overrideOf(name: string, version: Version): KubernetesObject {
  const spec = { imageTag: TAG, scanInterval: "24h", ...(version === "v1alpha1" && { source: SOURCE }) };
  const override: KubernetesObject & { spec: object } = {
    apiVersion: `deckhouse.io/${version}`,
    kind: "ModulePullOverride",
    metadata: { name },
    spec,
  };
  return override;
}
