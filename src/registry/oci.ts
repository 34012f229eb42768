/**
 * The registry port over the OCI distribution protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
 * One HEAD for a tag; of an index, and of what it says no type of, also the manifest itself, and one token for a repository as long as it lasts.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { DIGEST, INDEX_TYPES } from "../event.ts";
import { jsonOf } from "../json.ts";
import { RelayError, toRelayError } from "../outcome.ts";
import type { Http, HttpAnswer } from "./http.ts";
import { hostOf, type Place, sourceOf } from "./place.ts";
import type { Resolved } from "./registry.ts";
import { Tokens } from "./tokens.ts";
import { AWAY_SECONDS, statusTrouble, Trouble } from "./trouble.ts";

export const MANIFESTS = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
export const ACCEPT = [...INDEX_TYPES, ...MANIFESTS].join(", ");

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests */
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

const platform = z.object({ os: z.string().default(""), architecture: z.string().default("") });
const index = z.object({ manifests: z.array(z.object({ digest: z.string().regex(DIGEST), platform: platform.nullish() })) });

export class OciRegistry {
  readonly #http: Http;
  readonly #now: () => number;
  readonly #tokens: Tokens;
  /** Hosts and sources that are not asked for a while, and what they said. */
  readonly #away = new Map<string, { readonly error: Trouble | RelayError; readonly until: number }>();

  constructor(http: Http, now: () => number = Date.now) {
    this.#http = http;
    this.#now = now;
    this.#tokens = new Tokens(http, now);
  }

  /**
   * null: no such tag or repository. Throws RelayError REGISTRY_UNAVAILABLE, a Trouble with its status where the registry answered; with `retryAfterSeconds` where the host, or the source with its
   * credential, is not asked again before then: until then the same error comes at once.
   */
  async resolve(place: Place, tag: string): Promise<Resolved | null> {
    if (!TAG.test(tag)) return null; // an override may name anything: feature/new, ../other/manifests/main
    for (const name of [hostOf(place), sourceOf(place)]) {
      const { error, until = 0 } = this.#away.get(name) ?? {};
      const seconds = Math.ceil((until - this.#now()) / 1000);
      if (!error || seconds <= 0) continue;
      throw error instanceof Trouble ? error.again(seconds) : new RelayError(error.code, error.message, { retryAfterSeconds: seconds });
    }
    try {
      return await this.#resolve(place, tag);
    } catch (thrown) {
      if (thrown instanceof Trouble && thrown.of === "image") throw thrown;
      const error = thrown instanceof Trouble ? thrown : away(toRelayError(thrown, "REGISTRY_UNAVAILABLE"));
      const isOfSource = thrown instanceof Trouble && thrown.of === "source";
      this.#away.set(isOfSource ? sourceOf(place) : hostOf(place), { error, until: this.#now() + (error.retryAfterSeconds ?? 0) * 1000 });
      throw error;
    }
  }

  async #resolve(place: Place, tag: string): Promise<Resolved | null> {
    const head = await this.#manifest(place, tag, "HEAD");
    if (head.status === 404) return null;
    const given = head.headers["docker-content-digest"] ?? "";
    // some registries give a HEAD no type: https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/fetcher.go (headManifest)
    if (DIGEST.test(given) && MANIFESTS.includes(typeOf(head))) return { digest: given, image: given };
    const whole = await this.#manifest(place, DIGEST.test(given) ? given : tag, "GET");
    if (whole.status === 404) return null; // moved in between
    const digest = digestOf(whole.body);
    return { digest, image: isIndex(whole) ? childOf(whole.body, place) : digest };
  }

  async #manifest(place: Place, reference: string, method: "GET" | "HEAD"): Promise<HttpAnswer> {
    const url = urlOf(place, `manifests/${reference}`);
    let shown: string | undefined;
    const answer = await this.authorized(place, (headers) => {
      shown = headers["authorization"];
      return this.#http({ url, method, headers: { accept: ACCEPT, ...headers }, ca: place.ca });
    });
    if (answer.status === 200 || answer.status === 404) return answer;
    // whoever was given a token is known: it may be this repository alone that is closed to them
    const whose = answer.status === 401 && shown?.startsWith("Basic ") ? "source" : "image";
    throw statusTrouble(whose, url.host, answer, this.#now());
  }

  /** Asks with what the repository took last; where it answers with a challenge, once more with what that asks for. */
  async authorized<Answer extends Pick<HttpAnswer, "status" | "headers">>(
    place: Place,
    ask: (headers: Readonly<Record<string, string>>) => Promise<Answer>,
  ): Promise<Answer> {
    const known = await this.#tokens.known(place);
    const answer = await ask(known === null ? {} : { authorization: known });
    if (answer.status !== 401) return answer;
    return ask({ authorization: await this.#tokens.answer(place, answer.headers["www-authenticate"] ?? "") });
  }
}

/** Nobody answered: its host is left alone for a while. */
const away = ({ code, message, retryAfterSeconds }: RelayError) =>
  new RelayError(code, message, { retryAfterSeconds: retryAfterSeconds ?? AWAY_SECONDS });

/** https://github.com/moby/moby/blob/master/registry/config.go: the name that images carry is not the one that serves them. */
const apiHost = (host: string) => (host === "docker.io" ? "registry-1.docker.io" : host);

/** Below the repository: `manifests/main`, `tags/list`. */
export function urlOf({ repository, plainHttp }: Place, rest: string): URL {
  const [host = "", ...path] = repository.split("/");
  return new URL(`${plainHttp ? "http" : "https"}://${apiHost(host)}/v2/${path.join("/")}/${rest}`);
}

const typeOf = ({ headers }: Pick<HttpAnswer, "headers">) => (headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";

export const isIndex = (answer: Pick<HttpAnswer, "headers">) => INDEX_TYPES.has(typeOf(answer));

/**
 * As the library does that Deckhouse pulls with: the first that is for linux/amd64, or that says nothing of its platform.
 * https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/index.go (childByPlatform)
 */
export function childOf(body: Buffer, { repository }: Place): string {
  const read = index.safeParse(jsonOf(body));
  const child = read.data?.manifests.find(({ platform: of }) => !of || (of.os === "linux" && of.architecture === "amd64"));
  if (!child) throw new Trouble("image", repository, "its index has no manifest for linux/amd64");
  return child.digest;
}

export const digestOf = (body: Buffer) => `sha256:${createHash("sha256").update(body).digest("hex")}`;
