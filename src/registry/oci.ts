/**
 * The registry port over the OCI distribution protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
 * One HEAD for a tag; of an index also the index itself, and one token for a repository as long as it lasts.
 */
import { createHash } from "node:crypto";
import * as z from "zod";
import { DIGEST, INDEX_TYPES } from "../event.ts";
import { jsonOf } from "../json.ts";
import { RelayError } from "../outcome.ts";
import type { Http, HttpAnswer } from "./http.ts";
import type { Resolved } from "./registry.ts";

/** How to get in; null: anonymously. */
export interface Credential {
  readonly username: string;
  readonly password: string;
}
export interface Place {
  /** `host[:port]/path`, without tag. */
  readonly repository: string;
  readonly plainHttp: boolean;
  readonly ca: string | null;
  readonly credential: Credential | null;
}

export const MANIFESTS = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
export const ACCEPT = [...INDEX_TYPES, ...MANIFESTS].join(", ");

const index = z.object({
  manifests: z.array(
    z.object({ digest: z.string().regex(DIGEST), platform: z.object({ os: z.string(), architecture: z.string() }).optional() }),
  ),
});
/** https://distribution.github.io/distribution/spec/auth/token/ */
const token = z.object({ token: z.string().optional(), access_token: z.string().optional(), expires_in: z.number().optional() });

/** Confirmations wait for it, and nudges behind them. */
const AWAY_MS = 60_000;
const TOKEN_SECONDS = 60; // what the specification says where the answer says nothing
const TOKEN_MARGIN_SECONDS = 10;

export class OciRegistry {
  readonly #http: Http;
  readonly #now: () => number;
  /** The `Authorization` that a repository took last, until when. */
  readonly #away = new Map<string, number>();
  readonly #known = new Map<string, { authorization: string; until: number }>();

  constructor(http: Http, now: () => number = Date.now) {
    this.#http = http;
    this.#now = now;
  }

  /** null: no such tag or repository. Throws RelayError REGISTRY_UNAVAILABLE; for a minute after a host did not answer, without asking it again. */
  async resolve(place: Place, tag: string): Promise<Resolved | null> {
    const [host = ""] = place.repository.split("/");
    if ((this.#away.get(host) ?? 0) > this.#now()) throw unavailable(host, "it did not answer a moment ago");
    try {
      return await this.#resolve(place, tag);
    } catch (thrown) {
      this.#away.set(host, this.#now() + AWAY_MS);
      throw thrown;
    }
  }

  async #resolve(place: Place, tag: string): Promise<Resolved | null> {
    const head = await this.#manifest(place, tag, "HEAD");
    if (head.status === 404) return null;
    const given = head.headers["docker-content-digest"] ?? "";
    if (DIGEST.test(given) && !isIndex(head)) return { digest: given, image: given };
    const whole = await this.#manifest(place, DIGEST.test(given) ? given : tag, "GET");
    if (whole.status === 404) return null; // moved in between
    const digest = digestOf(whole.body);
    return { digest, image: isIndex(whole) ? childOf(whole.body, place) : digest };
  }

  async #manifest(place: Place, reference: string, method: "GET" | "HEAD"): Promise<HttpAnswer> {
    const url = urlOf(place, `manifests/${reference}`);
    const answer = await this.authorized(place, (authorization) =>
      this.#http({ url, method, headers: { accept: ACCEPT, ...authorization }, ca: place.ca }),
    );
    if (answer.status === 200 || answer.status === 404) return answer;
    throw refused(url, answer.status);
  }

  /** Asks with what the repository took last; where it answers with a challenge, once more with what that asks for. */
  async authorized<Answer extends Pick<HttpAnswer, "status" | "headers">>(
    place: Place,
    ask: (headers: Readonly<Record<string, string>>) => Promise<Answer>,
  ): Promise<Answer> {
    const known = this.#known.get(place.repository);
    const answer = await ask(known && known.until > this.#now() ? { authorization: known.authorization } : {});
    if (answer.status !== 401) return answer;
    const [, ...path] = place.repository.split("/");
    return ask({ authorization: await this.#authorize(place, path.join("/"), answer.headers["www-authenticate"] ?? "") });
  }

  /** What a challenge asks for; remembered for the repository. */
  async #authorize(place: Place, path: string, challenge: string): Promise<string> {
    const { repository, credential, ca } = place;
    const basic = credential && `Basic ${Buffer.from(`${credential.username}:${credential.password}`).toString("base64")}`;
    const [scheme = ""] = challenge.split(" ", 1);
    if (scheme.toLowerCase() !== "bearer") {
      if (basic === null) throw new RegistryRefusal(401, `${repository}: it wants a user and a password, and the configuration has none`);
      this.#known.set(repository, { authorization: basic, until: Number.POSITIVE_INFINITY });
      return basic;
    }
    const parameter = (name: string) => new RegExp(`\\b${name}="([^"]*)"`).exec(challenge)?.[1] ?? "";
    const url = realmOf(parameter("realm"), place);
    if (parameter("service") !== "") url.searchParams.set("service", parameter("service"));
    url.searchParams.set("scope", `repository:${path}:pull`);
    const answer = await this.#http({ url, method: "GET", headers: basic === null ? {} : { authorization: basic }, ca });
    const read = token.safeParse(jsonOf(answer.body));
    const text = read.success ? (read.data.token ?? read.data.access_token) : undefined;
    if (answer.status !== 200 || text === undefined) throw refused(url, answer.status, "its token service");
    const seconds = Math.max(0, (read.data?.expires_in ?? TOKEN_SECONDS) - TOKEN_MARGIN_SECONDS);
    const authorization = `Bearer ${text}`;
    this.#known.set(repository, { authorization, until: this.#now() + seconds * 1000 });
    return authorization;
  }
}

/** A password goes nowhere in the clear that the configuration did not allow. */
function realmOf(realm: string, { repository, plainHttp }: Place): URL {
  const url = URL.canParse(realm) ? new URL(realm) : null;
  if (url && (url.protocol === "https:" || (plainHttp && url.protocol === "http:"))) return url;
  throw unavailable(repository, "its challenge names no token service over https");
}

/** https://github.com/moby/moby/blob/master/registry/config.go: the name that images carry is not the one that serves them. */
const apiHost = (host: string) => (host === "docker.io" ? "registry-1.docker.io" : host);

/** Below the repository: `manifests/main`, `tags/list`. */
export function urlOf({ repository, plainHttp }: Place, rest: string): URL {
  const [host = "", ...path] = repository.split("/");
  return new URL(`${plainHttp ? "http" : "https"}://${apiHost(host)}/v2/${path.join("/")}/${rest}`);
}

export const isIndex = ({ headers }: Pick<HttpAnswer, "headers">) =>
  INDEX_TYPES.has((headers["content-type"] ?? "").split(";")[0]?.trim() ?? "");

/** As the library does that Deckhouse pulls with: https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/options.go (defaultPlatform) */
export function childOf(body: Buffer, { repository }: Place): string {
  const read = index.safeParse(jsonOf(body));
  const child = read.data?.manifests.find(({ platform }) => platform?.os === "linux" && platform.architecture === "amd64");
  if (!child) throw unavailable(repository, "its index has no manifest for linux/amd64");
  return child.digest;
}

export const digestOf = (body: Buffer) => `sha256:${createHash("sha256").update(body).digest("hex")}`;

const STATUSES: Readonly<Record<number, string>> = {
  401: "refuses the credential",
  403: "refuses the credential the right to pull",
  429: "answers 429, too many requests",
};

/** A registry that answered, and not with what it was asked for. */
export class RegistryRefusal extends RelayError {
  readonly status: number;

  constructor(status: number, message: string) {
    super("REGISTRY_UNAVAILABLE", message);
    this.status = status;
  }
}

export function refused(url: URL, status: number, who = "it"): RegistryRefusal {
  return new RegistryRefusal(status, `${url.host}: ${who} ${STATUSES[status] ?? `answers ${status}`}`);
}

export function unavailable(where: URL | string, what: string): RelayError {
  return new RelayError("REGISTRY_UNAVAILABLE", `${typeof where === "string" ? where : where.host}: ${what}`);
}
