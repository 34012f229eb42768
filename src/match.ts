/**
 * Pure rules: push × sources → which module in which clusters, or why not.
 * A nudge too many costs Deckhouse one manifest request, a nudge too few costs a day: when unsure, match.
 */
import type { SourceConfig } from "./config.ts";
import type { PushEvent } from "./event.ts";
import type { SkipReason } from "./outcome.ts";

export type Match =
  | { kind: "match"; does: "renew" | "rescan"; source: SourceConfig; module: string; clusters: readonly string[] }
  | { kind: "skip"; reason: SkipReason; hint: string | null };

interface Place {
  readonly source: SourceConfig;
  readonly host: string;
  readonly path: string;
}

/**
 * Which module a push concerns, and whether its override is renewed or its source scanned. The image of a module is `<source repo>/<module>:<tag>`
 * (Deckhouse: path.Join of ModuleSource.spec.registry.repo and the module's name, which is one segment).
 * `allowed`: names or repos of the sources that the webhook may nudge; null: all. Made once for all pushes of a delivery.
 */
export function createMatcher(sources: readonly SourceConfig[], allowed: readonly string[] | null = null): (push: PushEvent) => Match {
  const places = sources.flatMap((source) => [source.repo, ...source.aliases].map((repo): Place => ({ source, ...splitRepo(repo) })));
  // one source can sit inside another: the longest prefix under which the rest is a module
  const longestFirst = places.toSorted((a, b) => b.path.length - a.path.length);
  return (push) => {
    if (push.tag === null) return skip("NO_TAG");
    const host = sameHost(push.host);
    for (const place of longestFirst) {
      const module = place.host === host ? moduleAt(place, push.repository) : null;
      if (module !== null) return matchAt(place.source, module, push.tag, "renew", allowed);
    }
    for (const place of longestFirst) {
      const module = place.host === host ? releasedAt(place, push.repository, push.tag) : null;
      if (module !== null) return matchAt(place.source, module, push.tag, "rescan", allowed);
    }
    if (places.some((place) => place.host === host && isBelow(place, push.repository))) return skip("OTHER_REPOSITORY");
    const elsewhere = places.find((place) => moduleAt(place, push.repository) !== null);
    return elsewhere
      ? skip("UNKNOWN_HOST", `unknown host ${push.host}, looks like an alias of ${elsewhere.source.repo}`)
      : skip("OTHER_REPOSITORY");
  };
}

function matchAt(source: SourceConfig, module: string, tag: string, does: "renew" | "rescan", allowed: readonly string[] | null): Match {
  if (allowed && !allowed.includes(source.repo) && !(source.name !== null && allowed.includes(source.name))) {
    return skip("OTHER_MODULE", `this webhook is not for the source ${source.name ?? source.repo}`);
  }
  if (!source.modules.some((glob) => globMatches(glob, module))) return skip("OTHER_MODULE", `left out by the source's modules`);
  if (does === "rescan" && !source.rescan) return skip("RESCAN_OFF", `rescan: true at the source ${source.repo} would scan it now`);
  if (does === "renew" && source.noise === "drop" && isNoise(tag)) return skip("NOISE_TAG");
  if (source.clusters.length === 0) return skip("NO_CLUSTER");
  return { kind: "match", does, source, module, clusters: source.clusters };
}

const skip = (reason: SkipReason, hint: string | null = null): Match => ({ kind: "skip", reason, hint });

/** By one character first: this is asked of every place for every push. */
const isBelow = ({ path }: Place, repository: string) => path === "" || (repository[path.length] === "/" && repository.startsWith(path));

/** The module's name where the repository is one right below the place. */
function moduleAt(place: Place, repository: string): string | null {
  if (!isBelow(place, repository)) return null;
  const rest = place.path === "" ? repository : repository.slice(place.path.length + 1);
  return isModule(rest) ? rest : null;
}

const CHANNELS: ReadonlySet<string> = new Set(["alpha", "beta", "early-access", "stable", "rock-solid", "lts"]);
const RELEASE = "/release";

/**
 * The module whose channel moved, by `<source repo>/<module>/release:<channel>`; or which was registered, by `<source repo>:<module>`, whose
 * content is always the same. Only asked where no module's own image is meant: a source inside another one's place is named like its module.
 */
function releasedAt(place: Place, repository: string, tag: string): string | null {
  if (repository.endsWith(RELEASE)) return CHANNELS.has(tag) ? moduleAt(place, repository.slice(0, -RELEASE.length)) : null;
  return repository === place.path && isModule(tag) ? tag : null;
}

/** A module's name is one segment of an object's name, at most 64 characters, and never `modules`. */
export function isModule(text: string): boolean {
  return text.length <= 64 && text !== "modules" && /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/.test(text);
}

/** Docker Hub answers to three names, and a default port says nothing. */
function sameHost(host: string): string {
  const plain = host.toLowerCase().replace(/:(?:443|80)$/, "");
  return plain === "index.docker.io" || plain === "registry-1.docker.io" ? "docker.io" : plain;
}

function splitRepo(repo: string): { host: string; path: string } {
  const slash = repo.indexOf("/");
  return slash < 0 ? { host: sameHost(repo), path: "" } : { host: sameHost(repo.slice(0, slash)), path: repo.slice(slash + 1) };
}

/**
 * `*` is any run of characters, `?` one; everything else is itself. By hand, since a regular expression with several `.*` takes time by a
 * power of the text's length; here only the last `*` ever takes more, as those before have found the earliest place for what follows them.
 */
export function globMatches(glob: string, text: string): boolean {
  let [at, star, resume] = [0, -1, 0];
  for (let i = 0; i < text.length;) {
    if (glob[at] === "*") {
      star = at++;
      resume = i;
    } else if (at < glob.length && (glob[at] === "?" || glob[at] === text[i])) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++resume;
    } else return false;
  }
  return /^\**$/.test(glob.slice(at));
}

/**
 * Tags that werf and cosign keep for themselves, by their full exact shapes: a branch called `meta-labels` is no noise.
 * werf: https://github.com/werf/werf/blob/main/pkg/storage/repo_stages_storage.go; what it names freely
 * (`managed-image-…`, `custom-tag-meta-…`) could be a branch too and goes through.
 * cosign and the OCI referrers fallback: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
 */
export function isNoise(tag: string): boolean {
  return NOISE.some((shape) => shape.test(tag));
}
const NOISE: readonly RegExp[] = [
  /^[0-9a-f]{56}(?:-\d{13})?(?:-rejected)?$/, // a stage: sha3-224, perhaps with its time in ms
  /^meta-.+_[0-9a-f]{40}_[0-9a-f]{56}(?:-\d{13})?$/, // image, commit, stage
  /^import-metadata-[0-9a-f]{56,64}$/,
  /^client-id-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{13}$/,
  /^sha256-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?$/,
  /^[0-9a-f]{64}$/, // d8 mirror pushes by-digest images under their digest
];
