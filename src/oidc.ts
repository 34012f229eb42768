/**
 * Senders that prove themselves by an OpenID Connect token: Google Pub/Sub, jobs of GitHub Actions and GitLab CI.
 * Everything that a stranger could also get signed by the same issuer is refused: audience, and e-mail or subject, are always asked for.
 */
import type { JWTPayload, JWTVerifyGetKey } from "jose";
import * as z from "zod";
import type { OidcConfig, SecretRef } from "./config.ts";
import { jsonOf } from "./json.ts";
import { globMatches } from "./match.ts";
import { RelayError } from "./outcome.ts";
import type { AuthScheme } from "./providers/provider.ts";

export type OidcScheme = Extract<AuthScheme, { kind: "oidc" }>;
type ReadKeys = (ref: SecretRef) => Promise<string>;

const FETCH_MS = 3000; // senders wait 10 s (Pub/Sub), and a job longer
const KEYS_LAST_MS = 60 * 60 * 1000; // a key id that is not among them is looked for at once, at most every 30 s
const CLOCKS_DIFFER_SECONDS = 30;

/**
 * True where the token in `Authorization: Bearer …` is signed by the issuer, for us, and by whom the configuration names.
 * Throws RelayError KEYS_UNAVAILABLE where the issuer's keys cannot be had: the sender must try again.
 */
export async function verifyToken(
  authorization: string | undefined,
  scheme: OidcScheme,
  wanted: OidcConfig,
  readKeys: ReadKeys,
  now: Date,
): Promise<boolean> {
  const [, token] = /^Bearer +(\S+)$/i.exec(authorization ?? "") ?? [];
  const issuers = scheme.issuers ?? (wanted.issuer === null ? [] : [wanted.issuer]);
  if (token === undefined || issuers.length === 0) return false;
  const jose = await import("jose"); // only where a webhook needs it
  try {
    // before any key is fetched; what the token says counts only after its signature
    if (!issuers.includes(jose.decodeJwt(token).iss ?? "")) return false;
    const { payload } = await jose.jwtVerify(token, await keysOf(scheme, wanted, readKeys), {
      algorithms: ["RS256"],
      issuer: [...issuers],
      audience: wanted.audience,
      requiredClaims: ["exp"],
      clockTolerance: CLOCKS_DIFFER_SECONDS,
      currentDate: now,
    });
    return isWanted(payload, wanted);
  } catch (error) {
    if (error instanceof RelayError) throw error;
    return false; // what is odd is refused, whatever it is
  }
}

function isWanted(claims: JWTPayload, { email, subject }: OidcConfig): boolean {
  if (email === null && subject.length === 0) return false;
  const isEmail = email === null || (claims["email"] === email && claims["email_verified"] === true);
  const sub: unknown = claims.sub; // a text by its type alone: nobody has looked
  return isEmail && (subject.length === 0 || (typeof sub === "string" && subject.some((pattern) => globMatches(pattern, sub))));
}

/** Keys come from where the configuration or the provider says, or from what the issuer says of itself: never from a place that a token names. */
async function keysOf(scheme: OidcScheme, { keys, issuer }: OidcConfig, readKeys: ReadKeys): Promise<JWTVerifyGetKey> {
  try {
    if (keys !== null && keys.kind !== "url") return await localKeys(await readKeys(keys));
    const url = keys?.url ?? scheme.keys;
    return await remembered(url ?? `${issuer} `, async () => remoteKeys(url ?? (await discover(issuer ?? ""))));
  } catch (error) {
    throw unavailable(error);
  }
}

const keySet = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })) });

async function localKeys(text: string): Promise<JWTVerifyGetKey> {
  const { createLocalJWKSet } = await import("jose");
  const read = keySet.safeParse(jsonOf(text));
  if (!read.success) throw new Error("what `oidc.keys` names holds no keys (JWKS)"); // a parser's message would quote it: a secret, maybe
  return createLocalJWKSet(read.data);
}

/** Public keys, so that one memory for the whole process is enough. */
const remotes = new Map<string, Promise<JWTVerifyGetKey>>();

function remembered(name: string, make: () => Promise<JWTVerifyGetKey>): Promise<JWTVerifyGetKey> {
  const known = remotes.get(name);
  if (known) return known;
  const made = make().then((keys): JWTVerifyGetKey => {
    return async (header, token) => {
      const { errors } = await import("jose");
      try {
        return await keys(header, token);
      } catch (error) {
        // signed by a key that the issuer does not have: refused. Everything else is the issuer's failure, or the network's.
        if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error;
        remotes.delete(name);
        throw unavailable(error);
      }
    };
  });
  remotes.set(name, made);
  made.catch(() => remotes.delete(name));
  return made;
}

async function remoteKeys(url: string): Promise<JWTVerifyGetKey> {
  const { createRemoteJWKSet } = await import("jose");
  return createRemoteJWKSet(new URL(url), { timeoutDuration: FETCH_MS, cacheMaxAge: KEYS_LAST_MS });
}

const discovery = z.object({ issuer: z.string(), jwks_uri: z.url({ protocol: /^https?$/ }) });

/** https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationResponse */
async function discover(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(FETCH_MS) });
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  const said = discovery.parse(await response.json());
  if (said.issuer !== issuer) throw new Error(`${url} is of another issuer`);
  if (!said.jwks_uri.startsWith("https:") && new URL(said.jwks_uri).origin !== new URL(issuer).origin)
    throw new Error(`${url} names keys that would come unencrypted`);
  return said.jwks_uri;
}

function unavailable(error: unknown): RelayError {
  const why = error instanceof Error ? `${error.name}: ${error.message}` : "unknown";
  return new RelayError("KEYS_UNAVAILABLE", `the keys of the tokens' issuer cannot be had: ${why.slice(0, 300)}`, { cause: error });
}
