/** Does the registry of each source answer, and let us in as the sweep asks it? One HEAD for a tag; nothing is pulled. */
import type { Heard } from "../../cluster/inspect.ts";
import { pathText } from "../../config/problem.ts";
import type { RegistryAccess, SourceConfig } from "../../config.ts";
import { toRelayError } from "../../outcome.ts";
import { placeOf } from "../../registries.ts";
import { type Http, http } from "../../registry/http.ts";
import { OciRegistry } from "../../registry/oci.ts";
import { sourcesOf } from "../../silence.ts";
import { nameOf } from "../../sweeper.ts";
import { adviceOn } from "../source/advice.ts";
import { skewFindings } from "./clock.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

/** Where no override says what to ask for. That there is none of this name is an answer, too. */
const ANY_TAG = "mpo-relay-doctor";

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
  const { below, tag } = await sampleOf(source, around);
  try {
    const place = await placeOf(`${source.repo}${below}`, access, around.readSecret);
    const resolved = await new OciRegistry(listening).resolve(place, tag);
    const as = place.credential ? `as ${place.credential.username}` : "anonymously";
    const first = ok(where, `${source.repo} lets us in ${as}${resolved ? `; ${below.slice(1)}:${tag} is there` : ""}`);
    return [first, ...skews(where, source, heard)];
  } catch (thrown) {
    const error = toRelayError(thrown);
    if (error.code === "INTERNAL") return []; // a secret that cannot be read, which its own check tells
    const isRefused = /refuses the credential|wants a user and a password/.test(error.message);
    const isAnonymous = access.username === null && access.dockerConfig === null;
    const todo = isRefused
      ? refusedTodo(isAnonymous)
      : (adviceOn(error, isAnonymous) ?? "look at the registry, and at `registry` of this source");
    return [failure(isRefused ? "REGISTRY_REFUSED" : "REGISTRY_UNAVAILABLE", where, error.message, todo), ...skews(where, source, heard)];
  }
}

const refusedTodo = (isAnonymous: boolean) =>
  `${isAnonymous ? "it was asked anonymously: write username and password, or dockerConfig, at `registry:` of this source" : "compare user and password with those of the registry, and see that they may pull below this source"}. Many registries answer so, too, where a repository is not there`;

/** Of all answers the last one, which is the registry's own where a token was asked for elsewhere. */
const skews = (where: string, { repo }: SourceConfig, heard: readonly Heard[]) => {
  const last = heard.at(-1);
  return last ? skewFindings(where, `the registry ${repo.split("/", 1)[0]}`, last) : [];
};

/** What an override follows, since a credential may open modules alone; else the source itself. */
async function sampleOf(source: SourceConfig, { sights, config }: Surroundings): Promise<{ below: string; tag: string }> {
  for (const cluster of source.clusters) {
    const overrides =
      (await sights
        .get(cluster)
        ?.overrides()
        .catch(() => null)) ?? [];
    const own = overrides.find((override) => {
      const [first, ...others] = sourcesOf(override, cluster, config.sources);
      return first === source && others.length === 0;
    });
    if (own) return { below: `/${own.name}`, tag: own.imageTag };
  }
  return { below: "", tag: ANY_TAG };
}
