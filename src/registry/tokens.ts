/**
 * How a registry wants to be told who asks, remembered for each repository: user and password, or a token while it lasts.
 * https://distribution.github.io/distribution/spec/auth/token/
 */
import * as z from "zod";
import { jsonOf } from "../json.ts";
import type { Http } from "./http.ts";
import { hostOf, type Place, sourceOf } from "./place.ts";
import { statusTrouble, Trouble } from "./trouble.ts";

const token = z.object({ token: z.string().optional(), access_token: z.string().optional(), expires_in: z.number().optional() });

const TOKEN_SECONDS = 60; // what the specification says where the answer says nothing
const TOKEN_MARGIN_SECONDS = 10;
/** Repositories to a token: each is some 60 bytes of a URL. */
const SCOPES = 20;

interface Service {
  readonly realm: URL;
  readonly service: string;
}
interface Known {
  readonly authorization: string;
  readonly until: number;
  /** Whose token it is; null: user and password. */
  readonly service: Service | null;
  /** The source, whose repositories share a credential. */
  readonly source: string;
  /** A token for several was not taken here. */
  readonly isAlone: boolean;
}

export class Tokens {
  readonly #http: Http;
  readonly #now: () => number;
  readonly #known = new Map<string, Known>();
  readonly #asking = new Map<string, Promise<unknown>>();

  constructor(http: Http, now: () => number) {
    this.#http = http;
    this.#now = now;
  }

  /** The `Authorization` to ask with; null: without one, and see. A token that is over is asked for anew, for others of the source in one go. */
  async known(place: Place): Promise<string | null> {
    const asked = this.#asking.get(place.repository);
    if (asked) await asked;
    const known = this.#known.get(place.repository);
    if (!known || known.until > this.#now()) return known?.authorization ?? null;
    if (known.service === null) return null;
    const together = known.isAlone ? [place.repository] : this.#overWith(place.repository, known);
    // where it fails, the registry's own challenge says what is wrong
    const asking = this.#ask(place, known.service, together).catch(() => this.#known.delete(place.repository));
    for (const repository of together) this.#asking.set(repository, asking);
    await asking;
    for (const repository of together) this.#asking.delete(repository);
    return this.#known.get(place.repository)?.authorization ?? null;
  }

  /** What a challenge asks for. */
  async answer(place: Place, challenge: string): Promise<string> {
    const basic = basicOf(place);
    const [scheme = ""] = challenge.split(" ", 1);
    if (scheme.toLowerCase() !== "bearer") {
      if (basic === null)
        throw new Trouble("source", place.repository, "it wants a user and a password (401), and the configuration has none", {
          status: 401,
        });
      const source = sourceOf(place);
      this.#known.set(place.repository, { authorization: basic, until: Number.POSITIVE_INFINITY, service: null, source, isAlone: true });
      return basic;
    }
    const parameter = (name: string) => new RegExp(`\\b${name}="([^"]*)"`).exec(challenge)?.[1] ?? "";
    const service = { realm: realmOf(parameter("realm"), place), service: parameter("service") };
    const isAlone = this.#known.has(place.repository); // what was known was not taken
    return this.#ask(place, service, [place.repository], isAlone);
  }

  /** This repository and others whose tokens are over too. */
  #overWith(repository: string, { source, service }: Known): string[] {
    const alike = [...this.#known].filter(
      ([name, known]) =>
        name !== repository &&
        known.source === source &&
        !known.isAlone &&
        known.until <= this.#now() &&
        known.service?.realm.href === service?.realm.href &&
        !this.#asking.has(name),
    );
    return [repository, ...alike.map(([name]) => name)].slice(0, SCOPES);
  }

  async #ask(place: Place, service: Service, repositories: readonly string[], isAlone = false): Promise<string> {
    const url = new URL(service.realm);
    if (service.service !== "") url.searchParams.set("service", service.service);
    for (const repository of repositories)
      url.searchParams.append("scope", `repository:${repository.slice(hostOf(place).length + 1)}:pull`);
    const basic = basicOf(place);
    const answer = await this.#http({ url, method: "GET", headers: basic === null ? {} : { authorization: basic }, ca: place.ca });
    const read = token.safeParse(jsonOf(answer.body));
    const text = read.success ? (read.data.token ?? read.data.access_token) : undefined;
    if (answer.status !== 200) throw statusTrouble("source", url.host, answer, this.#now(), "its token service");
    if (text === undefined) throw new Trouble("host", url.host, "its token service answers with no token");
    const seconds = Math.max(0, (read.data?.expires_in ?? TOKEN_SECONDS) - TOKEN_MARGIN_SECONDS);
    const authorization = `Bearer ${text}`;
    const known = { authorization, until: this.#now() + seconds * 1000, service, source: sourceOf(place), isAlone };
    for (const repository of repositories) this.#known.set(repository, known);
    return authorization;
  }
}

const basicOf = ({ credential }: Place) =>
  credential && `Basic ${Buffer.from(`${credential.username}:${credential.password}`).toString("base64")}`;

/** A password goes nowhere in the clear that the configuration did not allow. */
function realmOf(realm: string, { repository, plainHttp }: Place): URL {
  const url = URL.canParse(realm) ? new URL(realm) : null;
  if (url && (url.protocol === "https:" || (plainHttp && url.protocol === "http:"))) return url;
  throw new Trouble("source", repository, "its challenge names no token service over https");
}
