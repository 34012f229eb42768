/** The {@link KubePort} over the Kubernetes API itself, so that one Deckhouse stand-in works against the sandbox's API and a real kube-apiserver. */
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { KubeConflict, type KubePort, type Module, type ModuleSource, type PullOverride } from "./deckhouse-port.ts";

const GROUP = "/apis/deckhouse.io";
const VERSIONS = ["v1alpha2", "v1alpha1"] as const;
const TIMEOUT_MS = 10_000;
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
const listing = z.object({ metadata: z.object({ resourceVersion: z.string() }), items: z.array(pullOverride) });
const watchEvent = z.object({ type: z.string(), object: z.unknown() });
const named = z.object({ metadata: z.object({ name: z.string() }) });
const failure = z.object({ kind: z.literal("Status"), reason: z.string(), message: z.string() });

/** An answer that is no success. `reason` is the Status's, or "" for plain text. */
class KubeError extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, text: string) {
    const read = failure.safeParse(parse(text));
    super(`the API answered ${status}: ${read.success ? read.data.message : text.slice(0, 200)}`);
    this.status = status;
    this.reason = read.success ? read.data.reason : "";
  }
}

/** `server` is `https://host:port`, `ca` PEM, `token` a bearer token that may read and write the deckhouse.io objects with their status. */
export function kubernetesPort({ server, ca, token }: { server: string; ca: string; token: string }): KubePort & { close(): void } {
  const agent = new Agent({ keepAlive: true, ca });
  let version: string | null = null;

  const open = (method: string, path: string, patch: object | null, signal: AbortSignal) => {
    const headers = {
      authorization: `Bearer ${token}`,
      accept: "application/json",
      ...(patch === null ? {} : { "content-type": "application/merge-patch+json" }),
    };
    return new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(new URL(GROUP + path, server), { method, headers, agent, signal }, resolve);
      sent.on("error", reject); // stays on: one that comes after the response is told by the response, too
      sent.end(patch === null ? undefined : JSON.stringify(patch));
    });
  };
  const call = async (method: string, path: string, patch: object | null = null, signal?: AbortSignal): Promise<unknown> => {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const response = await open(method, path, patch, signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
    const text = await textOf(response);
    if (response.statusCode === 200) return parse(text);
    const error = new KubeError(response.statusCode ?? 0, text);
    if (error.status === 409) throw new KubeConflict(error.message);
    throw error;
  };
  /** null only for a Status that says NotFound: plain text is an API version that is not served. */
  const get = async <T>(path: string, schema: z.ZodType<T>): Promise<T | null> => {
    try {
      return schema.parse(await call("GET", path));
    } catch (error) {
      if (error instanceof KubeError && error.status === 404 && error.reason === "NotFound") return null;
      throw error;
    }
  };
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
          await overrides((path) => listAndWatch(path, known, on, signal));
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
    close: () => agent.destroy(),
  };

  async function listAndWatch(path: string, known: Set<string>, on: Parameters<KubePort["follow"]>[0], signal: AbortSignal): Promise<void> {
    const list = listing.parse(await call("GET", path, null, signal));
    const names = new Set(list.items.map(({ name }) => name));
    for (const name of known) if (!names.has(name) && known.delete(name)) on.gone(name);
    const take = (override: PullOverride) => {
      known.add(override.name);
      on.changed(override);
    };
    list.items.forEach(take);
    const query = new URLSearchParams({ watch: "true", resourceVersion: list.metadata.resourceVersion, allowWatchBookmarks: "true" });
    const response = await open("GET", `${path}?${query.toString()}`, null, signal);
    if (response.statusCode !== 200) throw new KubeError(response.statusCode ?? 0, await textOf(response));
    for await (const line of linesOf(response)) {
      const { type, object } = watchEvent.parse(parse(line));
      if (type === "ERROR") return;
      if (type === "ADDED" || type === "MODIFIED") take(pullOverride.parse(object));
      if (type !== "DELETED") continue;
      const { name } = named.parse(object).metadata;
      known.delete(name);
      on.gone(name);
    }
  }
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

async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of response.setEncoding("utf8")) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += String(chunk);
  return text;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
