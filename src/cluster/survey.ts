/**
 * What is in a cluster that a relay could serve, for `mpo-relay init`: read once, by a person's own rights.
 * A ModuleSource holds its registry's credentials inline: of it the names and addresses are taken, and the rest is dropped where it is read.
 */
import * as z from "zod";
import type { KubernetesConfig } from "../config.ts";
import { jsonOf } from "../json.ts";
import { RelayError } from "../outcome.ts";
import { Connection, CORE } from "./connection.ts";
import { Credentials, type ReadSecret } from "./credentials.ts";
import { toClusterError } from "./errors.ts";
import { openKubernetes } from "./kubernetes.ts";
import type { Override } from "./overrides.ts";
import { GROUP } from "./read.ts";

export interface SurveyedSource {
  readonly name: string;
  /** As it stands there. */
  readonly repo: string;
  readonly plainHttp: boolean;
  /** The modules that Deckhouse found there. */
  readonly modules: readonly string[];
}
export interface Survey {
  readonly context: string;
  readonly server: string;
  /** Whether the kubeconfig names the authority of the API server's certificate. */
  readonly hasCa: boolean;
  readonly uid: string | null;
  /** Deckhouse's own; null: it does not say, or not to us. */
  readonly version: string | null;
  /** null: we may not list them. The same below. */
  readonly sources: readonly SurveyedSource[] | null;
  readonly overrides: readonly Override[] | null;
  /** The active source of each module; `Embedded` for what is part of Deckhouse. */
  readonly sourceOf: ReadonlyMap<string, string> | null;
  /** What RBAC kept from us: `list on modulesources.deckhouse.io`. */
  readonly missing: readonly string[];
}

const TIMEOUT_MS = 15_000;

/** Throws RelayError where the cluster cannot be asked at all, or serves no ModulePullOverrides. */
export async function survey(options: { kubernetes: KubernetesConfig; readSecret: ReadSecret }): Promise<Survey> {
  const client = await import("./client-node.ts");
  const credentials = new Credentials(() => new client.KubeConfig(), options.kubernetes, options.readSecret);
  const config = await credentials.current();
  const overrides = await openKubernetes({ ...options, cluster: config.currentContext, timeoutMs: TIMEOUT_MS });
  const connection = new Connection(client, credentials, TIMEOUT_MS);
  const call = async (work: Parameters<Connection["call"]>[0]): Promise<unknown> => {
    try {
      return await connection.call(work);
    } catch (thrown) {
      throw toClusterError(thrown);
    }
  };
  const missing: string[] = [];
  const permitted = async <T>(right: string, reading: Promise<T>): Promise<T | null> => {
    try {
      return await reading;
    } catch (thrown) {
      const error = toClusterError(thrown);
      if (error.code !== "FORBIDDEN") throw error;
      missing.push(right);
      return null;
    }
  };
  const list = (plural: string) => call((api) => api.listClusterCustomObject({ group: GROUP, version: "v1alpha1", plural }));
  const info = { group: CORE, version: "v1", namespace: "d8-system", plural: "configmaps", name: "d8-deckhouse-version-info" };
  const cluster = config.getCurrentCluster();
  try {
    return {
      context: config.currentContext,
      server: cluster?.server ?? "",
      hasCa: cluster?.caData !== undefined || cluster?.caFile !== undefined,
      overrides: await permitted("list on modulepulloverrides.deckhouse.io", overrides.list()),
      sources: await permitted("list on modulesources.deckhouse.io", list("modulesources").then(sourcesIn)),
      sourceOf: await permitted("list on modules.deckhouse.io", list("modules").then(activeSources)),
      uid: await permitted("get on the namespace kube-system", overrides.uid()),
      version: await call((api) => api.getNamespacedCustomObject(info)).then(versionIn, () => null),
      missing,
    };
  } finally {
    connection.close();
    overrides.close();
  }
}

/** Parsing takes only what is named here. */
const sources = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      spec: z.object({ registry: z.object({ repo: z.string(), scheme: z.string().nullish() }) }),
      status: z.object({ modules: z.array(z.object({ name: z.string() })).nullish() }).nullish(),
    }),
  ),
});

function sourcesIn(answer: unknown): SurveyedSource[] {
  return read(sources, answer, "ModuleSources").items.map(({ metadata, spec, status }) => ({
    name: metadata.name,
    repo: spec.registry.repo,
    plainHttp: spec.registry.scheme?.toUpperCase() === "HTTP",
    modules: status?.modules?.map(({ name }) => name) ?? [],
  }));
}

const modules = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string() }),
      properties: z.object({ source: z.string().nullish() }).nullish(),
      spec: z.object({ packageRepositoryName: z.string().nullish() }).nullish(),
    }),
  ),
});

function activeSources(answer: unknown): Map<string, string> {
  const pairs = read(modules, answer, "Modules").items.map(({ metadata, properties, spec }) => {
    const repository = spec?.packageRepositoryName;
    return [metadata.name, properties?.source || (repository && (SOURCE_OF_REPOSITORY[repository] ?? repository)) || null] as const;
  });
  return new Map(pairs.flatMap(([name, source]) => (source === null ? [] : [[name, source]])));
}
/** Newer versions go by the package's repository, which has the source's name but for these. */
const SOURCE_OF_REPOSITORY: Readonly<Record<string, string>> = { "deckhouse-modules": "deckhouse", embedded: "Embedded" };

/** https://deckhouse.io/products/kubernetes-platform/documentation/: the ConfigMap by which people look up edition and version. */
const info = z.object({ data: z.object({ "data.json": z.string() }) });
const versionOf = z.object({ version: z.string() });
const versionIn = (answer: unknown): string | null =>
  versionOf.safeParse(jsonOf(info.safeParse(answer).data?.data["data.json"] ?? "")).data?.version ?? null;

/** Its error says nothing of what was read: that holds credentials. */
function read<T>(schema: z.ZodType<T>, answer: unknown, what: string): T {
  const result = schema.safeParse(answer);
  if (!result.success) throw new RelayError("CLUSTER_ERROR", `the answer is no list of ${what}`);
  return result.data;
}
