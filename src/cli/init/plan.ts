/** From what is in a cluster to what a relay would serve of it. Pure. */
import { readRepo } from "../../config/forms.ts";
import { Refusal } from "../../config/problem.ts";
import type { Override } from "../../cluster/overrides.ts";
import type { Survey } from "../../cluster/survey.ts";
import { isModule, isNoise } from "../../match.ts";
import { oddText } from "../../odd.ts";
import { setups } from "../setup/index.ts";

export interface PlannedSource {
  readonly repo: string;
  readonly name: string | null;
  readonly plainHttp: boolean;
  /** Its host is a name within the cluster, which no sender uses. */
  readonly isInCluster: boolean;
  /** Overrides whose tags look like werf's own. */
  readonly noisy: readonly string[];
}
export interface PlannedWebhook {
  readonly name: string;
  readonly provider: string;
  /** Of the configuration, beside `provider` and the secret. */
  readonly sources: readonly string[] | null;
  readonly host: string;
  /** What a person should look at; null: nothing. */
  readonly remark: string | null;
}
export interface Verdict {
  readonly module: string;
  readonly tag: string;
  readonly served: boolean;
  readonly why: string;
}
export interface Plan {
  readonly cluster: string;
  readonly sources: readonly PlannedSource[];
  readonly webhooks: readonly PlannedWebhook[];
  readonly overrides: readonly Verdict[];
  /** ModuleSources that are left out, and why. */
  readonly leftOut: readonly string[];
}
interface Candidate extends PlannedSource {
  readonly modules: readonly string[];
}

/** `repos`: named by the person, in the configuration's own spelling. */
export function planOf(survey: Survey, repos: readonly string[]): Plan {
  const leftOut: string[] = [];
  const candidates = new Map<string, Candidate>();
  for (const { name, repo: written, plainHttp, modules } of survey.sources ?? []) {
    const repo = readRepo(written);
    const same = repo instanceof Refusal ? undefined : candidates.get(repo);
    if (repo instanceof Refusal) leftOut.push(`the ModuleSource ${name}: its spec.registry.repo is ${repo.message}`);
    else if (same) leftOut.push(`the ModuleSource ${name}: the same repository as ${same.name ?? same.repo}, which serves both`);
    else candidates.set(repo, { repo, name, plainHttp, modules, isInCluster: isInCluster(repo), noisy: [] });
  }
  for (const repo of repos)
    if (!candidates.has(repo))
      candidates.set(repo, { repo, name: null, plainHttp: false, modules: [], isInCluster: isInCluster(repo), noisy: [] });
  const known = [...candidates.values()];
  const overrides = survey.overrides ?? [];
  const judged = overrides.map((override) => judge(override, known, survey));
  const sources = known.map(({ modules: _modules, ...source }) => ({
    ...source,
    noisy: judged.flatMap(({ verdict, from }) =>
      verdict.served && isNoise(verdict.tag) && from.some(({ repo }) => repo === source.repo) ? [verdict.module] : [],
    ),
  }));
  return {
    cluster: clusterName(survey.context),
    sources,
    webhooks: webhooksFor(sources),
    overrides: judged.map(({ verdict }) => verdict),
    leftOut,
  };
}

const clusterName = (context: string) =>
  context
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "") || "cluster";

/** `registry.d8-system.svc:5001`, as where Deckhouse's own registry module stands between. */
const isInCluster = (repo: string) => /^[^/]*\.(?:svc|cluster\.local)(?::\d+)?(?:\/|$)|^[^/]*\.svc\./.test(repo);

function judge(override: Override, known: readonly Candidate[], survey: Survey): { verdict: Verdict; from: readonly Candidate[] } {
  const { name: module, imageTag: tag } = override;
  const { from, why } = isModule(module) ? sourceOf(override, known, survey) : { from: [], why: "no module can have this name" };
  const reached = from.filter((source) => !source.isInCluster);
  const told = from.length > 0 && reached.length === 0 ? aliasNeeded(from) : why;
  return { verdict: { module, tag, served: reached.length > 0, why: [told, ...notes(override)].join("; ") }, from };
}

const aliasNeeded = ([source]: readonly Candidate[]) =>
  `${source?.repo ?? ""} is an address within the cluster: the registry tells of pushes under its own. Write that into aliases`;

/** Which sources a push of this module counts from. When unsure, more: a nudge too many costs one look. */
function sourceOf(override: Override, known: readonly Candidate[], survey: Survey): { from: readonly Candidate[]; why: string } {
  const { name: module } = override;
  const named = override.source ?? survey.sourceOf?.get(module) ?? null;
  if (named === "Embedded") return { from: [], why: "the module is part of Deckhouse, which takes no override of it" };
  const byName = known.filter(({ name }) => name === named);
  if (named !== null && byName.length > 0) return { from: byName, why: below(byName) };
  const unnamed = known.filter(({ name }) => name === null);
  if (named !== null) {
    if (unnamed.length > 0) return { from: unnamed, why: `if its source ${named} is ${orList(unnamed)}` };
    return { from: [], why: `the repository of its source ${named} is not known: name it by --repo` };
  }
  const holders = known.filter(({ modules }) => modules.includes(module));
  if (holders.length > 0)
    return { from: holders, why: holders.length === 1 ? below(holders) : `which source it comes from is not known; ${below(holders)}` };
  if (known.length === 1) return { from: known, why: `${below(known)}, the only source` };
  return { from: known, why: known.length === 0 ? "no source is known" : `which source it comes from is not known; ${below(known)}` };
}

const below = (sources: readonly Candidate[]) => `pushes below ${orList(sources)}`;
const orList = (sources: readonly Candidate[]) => sources.map(({ repo }) => repo).join(" or ");

function notes(override: Override): string[] {
  const { imageTag, scanInterval, status, odd } = override;
  return [
    ...(odd === null ? [] : [`${oddText(override)}. Mend it: kubectl edit mpo ${override.name}`]),
    ...(isNoise(imageTag) ? ["its tag looks like werf's own: noise: keep"] : []),
    ...(/^v\d+\.\d+\.\d+$/.test(imageTag) ? ["a release's tag, which hardly ever moves"] : []),
    ...(/^(?:0[hms])+$/.test(scanInterval ?? "") ? ["its scanInterval is 0: nothing but pushes renews it, write 24h"] : []),
    ...(status.message === "" || status.message === "Ready" ? [] : [`Deckhouse says: ${status.message.slice(0, 200)}`]),
  ];
}

/** One for each registry host; narrowed to its sources where there are several. */
function webhooksFor(sources: readonly PlannedSource[]): PlannedWebhook[] {
  const hosts = new Map<string, PlannedSource[]>();
  for (const source of sources) {
    const [host = ""] = source.repo.split("/");
    hosts.set(host, [...(hosts.get(host) ?? []), source]);
  }
  const taken = new Map<string, number>();
  return [...hosts].map(([host, own]) => {
    const { provider, remark } = providerAt(
      host,
      own.some(({ isInCluster: inside }) => inside),
    );
    const count = (taken.get(provider) ?? 0) + 1;
    taken.set(provider, count);
    return {
      name: count === 1 ? provider : `${provider}-${count}`,
      provider,
      sources: hosts.size === 1 ? null : own.map(({ name, repo }) => name ?? repo),
      host,
      remark,
    };
  });
}

/** By hosts that are a service's own; any other may be anything. */
function providerAt(host: string, inside: boolean): { provider: string; remark: string | null } {
  const row = Object.entries(setups).find(([, setup]) => setup.hosts?.test(host));
  if (row) return { provider: row[0], remark: ALSO[row[0]] ?? null };
  if (host === "quay.io") return { provider: "quay", remark: null };
  if (host === "registry.gitlab.com")
    return {
      provider: "generic",
      remark: "gitlab.com tells nobody of pushes: its pipelines do, by mpo-relay announce (infra/ci/gitlab.yml)",
    };
  const guess = "the host does not say what it is: put the right provider here (table in the README); as it stands it is CNCF Distribution";
  return { provider: "distribution", remark: inside ? `the registry behind ${host} is meant, not the cluster's own; ${guess}` : guess };
}

const ALSO: Readonly<Record<string, string>> = {
  acr: "or eventgrid, where Event Grid tells of pushes",
  gar: "put the service account of your Pub/Sub subscription into email",
  ecr: "or a queue that EventBridge fills (infra/registries/ecr.md)",
};
