/** Does the registry of each source answer, let us in as the sweep asks it, and hold what overrides follow? A HEAD for a tag or three; nothing is pulled. */
import type { Heard } from "../../cluster/inspect.ts";
import { pathText } from "../../config/problem.ts";
import type { RegistryAccess, SourceConfig } from "../../config.ts";
import { toRelayError } from "../../outcome.ts";
import { placeOf } from "../../registries.ts";
import { type Http, http } from "../../registry/http.ts";
import { OciRegistry } from "../../registry/oci.ts";
import { Trouble } from "../../registry/trouble.ts";
import { sourcesOf } from "../../silence.ts";
import { nameOf } from "../../sweeper.ts";
import { adviceOn } from "../source/advice.ts";
import { skewFindings } from "./clock.ts";
import { type Check, failure, type Finding, listed, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

/** Where no override says what to ask for. That there is none of this name is an answer, too. */
const ANY_TAG = "mpo-relay-doctor";
/** One tag may have been deleted. */
const SAMPLES = 3;
/** Modules, for which source they come from. */
const MOST_ASKED = 20;

export const registryChecks = (around: Surroundings): Check[] =>
  around.config.sources.map((source, index) => ({
    name: `registry of ${nameOf(source)}`,
    run: () => lookAtRegistry(source, pathText(["sources", index]), around),
  }));

async function lookAtRegistry(source: SourceConfig, path: string, around: Surroundings): Promise<Finding[]> {
  const { registry } = source;
  if (registry) return ask(source, registry, `${path}.registry`, around);
  const isSwept = around.config.tuning.sweepMs > 0 && source.clusters.some((name) => around.sights.has(name));
  if (!isSwept) return [];
  const what = `${nameOf(source)} has no \`registry\`: nobody notices where a push came and no webhook told of it`;
  return [
    warning(
      "NOT_SWEPT",
      path,
      what,
      "write `registry: { username: …, password: file:… }`, or `registry: {}` where it is open (infra/sweep.md)",
    ),
  ];
}

async function ask(source: SourceConfig, access: RegistryAccess, where: string, around: Surroundings): Promise<Finding[]> {
  const heard: Heard[] = [];
  const listening: Http = async (request) => {
    const sentAt = around.now().getTime();
    const answer = await http(request);
    heard.push({ date: answer.headers["date"] ?? null, sentAt, answeredAt: around.now().getTime() });
    return answer;
  };
  try {
    const samples = await samplesOf(source, around);
    const registry = new OciRegistry(listening);
    const lookFor = async ({ below, tag }: Sample) => {
      const place = await placeOf(`${source.repo}${below}`, access, around.readSecret);
      return { place, isThere: (await registry.resolve(place, tag)) !== null };
    };
    const looks = await Promise.all((samples.length > 0 ? samples : [{ below: "", tag: ANY_TAG }]).map(lookFor));
    const { username } = looks[0]?.place.credential ?? {};
    const as = username === undefined ? "anonymously" : `as ${username}`;
    const there = samples.find((_, index) => looks[index]?.isThere);
    const first = ok(where, `${source.repo} lets us in ${as}${there ? `; ${nameIn(there)} is there` : ""}`);
    const missing = samples.length > 0 && !there ? [missingFrom(source, where, samples)] : [];
    return [first, ...missing, ...skews(where, source, heard)];
  } catch (thrown) {
    const error = toRelayError(thrown);
    if (error.code === "INTERNAL") return []; // a secret that cannot be read, which its own check tells
    const status = error instanceof Trouble ? error.status : null;
    const isRefused = status === 401 || status === 403;
    const isAnonymous = access.username === null && access.dockerConfig === null;
    const todo = isRefused
      ? refusedTodo(isAnonymous)
      : (adviceOn(error, isAnonymous) ?? "look at the registry, and at `registry` of this source");
    return [failure(isRefused ? "REGISTRY_REFUSED" : "REGISTRY_UNAVAILABLE", where, error.message, todo), ...skews(where, source, heard)];
  }
}

function missingFrom({ name, repo }: SourceConfig, where: string, samples: readonly Sample[]): Finding {
  const of = name === null ? "" : `: kubectl get modulesource ${name} -o jsonpath={.spec.registry.repo}`;
  return warning(
    "IMAGE_MISSING",
    where,
    `below ${repo} there is no ${listed(samples.map(nameIn))}, which overrides follow`,
    `is this the \`repo\` that the cluster pulls from${of}? Else the tag was deleted there`,
  );
}

const refusedTodo = (isAnonymous: boolean) =>
  `${isAnonymous ? "it was asked anonymously: write username and password, or dockerConfig, at `registry:` of this source" : "compare user and password with those of the registry, and see that they may pull below this source"}. Many registries answer so, too, where a repository is not there`;

/** Of all answers the last one, which is the registry's own where a token was asked for elsewhere. */
const skews = (where: string, { repo }: SourceConfig, heard: readonly Heard[]) => {
  const last = heard.at(-1);
  return last ? skewFindings(where, `the registry ${repo.split("/", 1)[0]}`, last) : [];
};

interface Sample {
  readonly below: string;
  readonly tag: string;
}
const nameIn = ({ below, tag }: Sample) => `${below.slice(1)}:${tag}`;

/** What overrides follow, since a credential may open modules alone; nothing: there is none that surely comes from this source. */
async function samplesOf(source: SourceConfig, { sights, config }: Surroundings): Promise<Sample[]> {
  const found: Sample[] = [];
  let left = MOST_ASKED;
  for (const cluster of source.clusters) {
    const sight = sights.get(cluster);
    const overrides = (await sight?.overrides().catch(() => null)) ?? [];
    for (const override of overrides) {
      if (found.length === SAMPLES) return found;
      const own = sourcesOf(override, cluster, config.sources);
      if (override.odd !== null || !own.includes(source)) continue;
      const state = left-- > 0 ? await sight?.state(override.name).catch(() => void (left = 0)) : null; // one that hangs is enough
      const active = state?.source ?? null;
      const isOurs = active === null || source.name === null ? own.length === 1 : active === source.name;
      if (isOurs) found.push({ below: `/${override.name}`, tag: override.imageTag });
    }
  }
  return found;
}
