/** Who lives from a module source: the webhooks that tell of its pushes, and the overrides of the clusters that can be reached. */
import type { Override, Overrides } from "../../cluster/overrides.ts";
import type { RelayConfig, SourceConfig } from "../../config.ts";
import { globMatches } from "../../match.ts";
import { RelayError, toRelayError } from "../../outcome.ts";
import type { NamedSource } from "./named.ts";

export interface UsedBy {
  readonly cluster: string;
  readonly module: string;
  readonly tag: string;
  readonly digest: string | null;
  readonly message: string;
}
export interface Users {
  readonly webhooks: readonly { readonly name: string; readonly provider: string }[];
  readonly overrides: readonly UsedBy[];
  /** Clusters that could not be looked at, and why. */
  readonly unseen: readonly { readonly cluster: string; readonly why: string }[];
}

const AT_ONCE = 8;
const MOST_ASKED_SINGLY = 500;

/** Of the source's modules (of one alone where one was named). A bare repository has no users that are known. */
export async function usersOf({ source, config }: NamedSource, modules: readonly string[]): Promise<Users> {
  if (source === null || config === null) return { webhooks: [], overrides: [], unseen: [] };
  const served = modules.filter((module) => source.modules.some((glob) => globMatches(glob, module)));
  const looks = await Promise.all(source.clusters.map((cluster) => inCluster(config, cluster, source, served)));
  const webhooks = Object.entries(config.webhooks)
    .filter(
      ([, { sources }]) => sources === null || sources.includes(source.repo) || (source.name !== null && sources.includes(source.name)),
    )
    .map(([name, { provider }]) => ({ name, provider }));
  return { webhooks, overrides: looks.flatMap((look) => look.overrides), unseen: looks.flatMap((look) => look.unseen) };
}

async function inCluster(
  config: RelayConfig,
  cluster: string,
  source: SourceConfig,
  modules: readonly string[],
): Promise<Pick<Users, "overrides" | "unseen">> {
  if (!config.clusters[cluster]?.kubernetes) return unseen(cluster, "it has no `kubernetes` in this configuration");
  const { openCluster } = await import("../../consumer.ts");
  const api = openCluster(config, cluster);
  try {
    const found = await overridesOf(api, modules);
    const used = found.filter(
      (each) => modules.includes(each.name) && (each.source === null || source.name === null || each.source === source.name),
    );
    return {
      overrides: used.map(({ name, imageTag, status }) => ({
        cluster,
        module: name,
        tag: imageTag,
        digest: status.imageDigest,
        message: status.message,
      })),
      unseen: [],
    };
  } catch (error) {
    return unseen(cluster, toRelayError(error).message);
  } finally {
    api.close();
  }
}

const unseen = (cluster: string, why: string) => ({ overrides: [], unseen: [{ cluster, why }] });

/** Where the rights have no `list` each module is asked for by its name. */
async function overridesOf(api: Overrides, modules: readonly string[]): Promise<Override[]> {
  if (modules.length <= 1) return oneByOne(api, modules);
  try {
    return await api.list();
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== "FORBIDDEN") throw error;
    if (modules.length > MOST_ASKED_SINGLY)
      throw new RelayError("FORBIDDEN", `${error.message}; and there are too many modules to ask for each`);
    return oneByOne(api, modules);
  }
}

async function oneByOne(api: Overrides, modules: readonly string[]): Promise<Override[]> {
  const found: Override[] = [];
  for (let from = 0; from < modules.length; from += AT_ONCE) {
    const some = await Promise.all(modules.slice(from, from + AT_ONCE).map((module) => api.get(module)));
    found.push(...some.filter((each) => each !== null));
  }
  return found;
}
