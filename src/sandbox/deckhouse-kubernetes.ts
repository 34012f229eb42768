/** The {@link KubePort} over the Kubernetes API itself, so that one Deckhouse stand-in works against the sandbox's API and a real kube-apiserver. */
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { type KubeAccess, kubeClient, KubeError } from "./deckhouse-client.ts";
import type { KubePort, Module, ModuleSource, PullOverride } from "./deckhouse-port.ts";

const VERSIONS = ["v1alpha2", "v1alpha1"] as const;
const RELIST_MS = 200;

const strings = z.record(z.string(), z.string());
const pullOverride = z
  .object({
    metadata: z.object({
      name: z.string(),
      resourceVersion: z.string(),
      generation: z.number(),
      labels: strings.default({}),
      annotations: strings.default({}),
      finalizers: z.array(z.string()).default([]),
      deletionTimestamp: z.string().optional(),
    }),
    spec: z.object({
      imageTag: z.string(),
      source: z.string().default(""),
      scanInterval: z.string().nullable().default(null),
      rollback: z.boolean().default(false),
    }),
    status: z
      .object({ message: z.string().default(""), imageDigest: z.string().default(""), updatedAt: z.string().default("") })
      .prefault({}),
  })
  .transform(({ metadata: { deletionTimestamp, ...metadata }, spec, status }): PullOverride => {
    return { ...metadata, deleting: deletionTimestamp !== undefined, ...spec, status };
  });
const moduleObject = z
  .object({
    metadata: z.object({ resourceVersion: z.string() }),
    properties: z.object({ source: z.string().default("") }).prefault({}),
    spec: z.object({ packageRepositoryName: z.string().default("") }).prefault({}),
    status: z.object({ conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).default([]) }).prefault({}),
  })
  .transform(({ metadata: { resourceVersion }, properties: { source }, spec, status: { conditions } }): Module => {
    const repository = spec.packageRepositoryName;
    const disabled = conditions.some(({ type, status }) => /^EnabledByModule(?:Config|Manager)$/.test(type) && status === "False");
    return { resourceVersion, source, repository, embedded: source === "Embedded" || repository === "embedded", disabled, conditions };
  });
const moduleSource = z
  .object({
    metadata: z.object({ resourceVersion: z.string() }),
    spec: z.object({ registry: z.object({ repo: z.string(), scheme: z.string().default("HTTPS") }) }),
    status: z
      .object({ modules: z.array(z.looseObject({ name: z.string(), overridden: z.boolean().optional() })).default([]) })
      .prefault({}),
  })
  .transform(({ metadata, spec: { registry }, status }): ModuleSource => ({
    repo: registry.repo,
    scheme: registry.scheme === "HTTP" ? "http" : "https",
    resourceVersion: metadata.resourceVersion,
    modules: status.modules,
  }));

export function kubernetesPort(access: KubeAccess): KubePort & { close(): void } {
  const { call, get, follow, close } = kubeClient(access);
  let version: string | null = null;

  /** The newest served version; looked up anew after a failure, since a CRD's versions may change under us. */
  const overrides = async <T>(use: (path: string) => Promise<T>): Promise<T> => {
    try {
      version ??= await servedVersion(call);
      return await use(`/${version}/modulepulloverrides`);
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) version = null;
      throw error;
    }
  };
  const write = (path: string, patch: object) =>
    overrides(async (plural) => pullOverride.parse(await call("PATCH", `${plural}/${path}`, patch)));

  return {
    async follow(on, signal) {
      const known = new Set<string>();
      while (!signal.aborted) {
        try {
          await overrides((path) => follow(path, pullOverride, known, on, signal));
        } catch {
          version = null; // the API is down, or the history expired: list again
        }
        await sleep(RELIST_MS, undefined, { signal }).catch(() => undefined);
      }
    },
    override: (name) => overrides((path) => get(`${path}/${name}`, pullOverride)),
    module: (name) => get(`/v1alpha1/modules/${name}`, moduleObject),
    source: (name) => get(`/v1alpha1/modulesources/${name}`, moduleSource),
    writeStatus: ({ name, resourceVersion }, status) => write(`${name}/status`, { metadata: { resourceVersion }, status }),
    writeMetadata: ({ name, resourceVersion }, metadata) => write(name, { metadata: { resourceVersion, ...metadata } }),
    async writeConditions(name, { resourceVersion }, conditions) {
      await call("PATCH", `/v1alpha1/modules/${name}/status`, { metadata: { resourceVersion }, status: { conditions } });
    },
    async writeSourceModules(name, { resourceVersion }, modules) {
      const patch = { metadata: { resourceVersion }, status: { modules } };
      await call("PATCH", `/v1alpha1/modulesources/${name}/status`, patch);
    },
    close,
  };
}

async function servedVersion(call: (method: string, path: string) => Promise<unknown>): Promise<string> {
  for (const version of VERSIONS) {
    try {
      await call("GET", `/${version}/modulepulloverrides?limit=1`);
      return version;
    } catch (error) {
      if (!(error instanceof KubeError) || error.status !== 404) throw error;
    }
  }
  throw new Error("the API serves no ModulePullOverride");
}
