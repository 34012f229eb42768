/**
 * Every comparison of a secret in the program. Constant time: both sides are hashed first, so that neither their length
 * nor the place of the first difference shows in the time that a refusal takes. Fails closed: what is odd is refused.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { AuthScheme, DeliveryHeaders } from "./providers/provider.ts";

/** All but tokens of an issuer: those need no secret of ours, and are verified in oidc.ts. */
export type SecretScheme = Exclude<AuthScheme, { kind: "oidc" }>;

/** What is looked at. `rawBody` is what the wire brought, before any decoding. */
export interface AuthRequest {
  readonly headers: DeliveryHeaders;
  readonly rawBody: Uint8Array;
  /** What stands behind the webhook's name in the path, for senders that can send no header. */
  readonly pathSecret: string | null;
  readonly now: Date;
}

/** `previous` is valid beside `current` while senders are changed over. `username` is Basic's; null or left out: every name. */
export interface Secrets {
  readonly current: string;
  readonly previous: string | null;
  readonly username?: string | null;
}

export type Verdict = "current" | "previous" | "refused";

/** By which secret the request proves itself. Both are always tried, so the time does not tell which one is in use. */
export function authenticate(scheme: SecretScheme, request: AuthRequest, secrets: Secrets): Verdict {
  const proves = prover(scheme, request, secrets.username ?? null);
  const [byCurrent, byPrevious] = [secrets.current, secrets.previous ?? ""].map((secret) => proves(secret) && secret !== "");
  if (byCurrent) return "current";
  return byPrevious ? "previous" : "refused";
}

/** True where both are the same text. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(sha256(a), sha256(b));
}
const sha256 = (text: string) => createHash("sha256").update(text).digest();

type Proves = (secret: string) => boolean;
const refuse: Proves = () => false;

function prover(scheme: SecretScheme, request: AuthRequest, username: string | null): Proves {
  switch (scheme.kind) {
    case "hmac":
      return hmac(scheme, request);
    case "token":
      return token(scheme, request);
    case "basic":
      return basic(request, username);
    case "standard-webhooks":
      return standardWebhooks(request);
    case "url":
      return (secret) => sameSecret(request.pathSecret ?? "", secret);
  }
}

/** An empty header, as Gitea sends it where no secret is set, is no signature; one that came twice is joined by ", " and matches nothing. */
function hmac(scheme: Extract<SecretScheme, { kind: "hmac" }>, { headers, rawBody }: AuthRequest): Proves {
  const prefix = scheme.prefix ?? "";
  const value = headers[scheme.header] ?? "";
  const signed = scheme.over === "form:payload" ? formPayload(headers, rawBody) : rawBody;
  const isPrefixed = value.startsWith(prefix);
  if ((!isPrefixed && !scheme.prefixOptional) || signed === null) return refuse;
  const given = isPrefixed ? value.slice(prefix.length) : value;
  const signature = scheme.encoding === "hex" ? given.toLowerCase() : given;
  return (secret) => sameSecret(signature, createHmac(scheme.hash, secret).update(signed).digest(scheme.encoding));
}

/** Of a form, where Gitea sends one. A stranger's MiB of nothing but fields would take 25 times as long to read as a signature takes to check. */
const MOST_FIELDS = 16;

/** Gitea signs the JSON text inside a form, and the body itself where it sends JSON. Two payloads: nobody knows which one was signed. */
function formPayload(headers: DeliveryHeaders, rawBody: Uint8Array): Uint8Array | string | null {
  if (!/^application\/x-www-form-urlencoded\b/i.test(headers["content-type"] ?? "")) return rawBody;
  const text = Buffer.from(rawBody).toString("utf8");
  if (text.split("&", MOST_FIELDS + 1).length > MOST_FIELDS) return null;
  const [payload, ...more] = new URLSearchParams(text).getAll("payload");
  return payload === undefined || more.length > 0 ? null : payload;
}

/**
 * With `scheme`: `<scheme> <secret>`. Without, the header is a free field at the registry (Harbor's "auth header"):
 * people paste the secret alone or with `Bearer` before it, here as well as there, so both readings count.
 */
function token(scheme: Extract<SecretScheme, { kind: "token" }>, { headers }: AuthRequest): Proves {
  const value = headers[scheme.header] ?? "";
  const behindWord = after(scheme.scheme ?? "Bearer", value);
  if (scheme.scheme !== undefined) return (secret) => sameSecret(behindWord, secret);
  return (secret) => [value, behindWord].map((given) => sameSecret(given, secret)).includes(true);
}

/** The credentials behind the scheme's word, whose case does not matter (RFC 9110, 11.1); "" where another word stands there. */
function after(word: string, value: string): string {
  const [given, credentials = ""] = splitOnce(value, " ");
  return given.toLowerCase() === word.toLowerCase() ? credentials.trimStart() : "";
}

// Buffer skips what is no base64, so that "x, x", a header that came twice, or a cut-off end would decode to x
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function basic({ headers }: AuthRequest, username: string | null): Proves {
  const encoded = after("Basic", headers["authorization"] ?? "");
  if (!BASE64.test(encoded)) return refuse;
  const [user, password] = splitOnce(Buffer.from(encoded, "base64").toString("utf8"), ":");
  if (password === undefined) return refuse;
  const isUser = username === null || sameSecret(user, username);
  return (secret) => [sameSecret(password, secret), isUser].every(Boolean);
}

const TOLERANCE_SECONDS = 5 * 60;
/** A sender that changes its key signs with both. Without a limit one header of a stranger, 15 KB of blanks, takes a fifth of a second. */
const MOST_SIGNATURES = 16;

/**
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 * A secret `whsec_…` is base64 of the key. Without that prefix it is so for the libraries, and the key itself for openssl and
 * whoever reads no specification: both count. Versions other than v1 are passed over.
 */
function standardWebhooks({ headers, rawBody, now }: AuthRequest): Proves {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  const signatures = headers["webhook-signature"] ?? "";
  const each = signatures.split(" ", MOST_SIGNATURES + 1);
  const age = Math.abs(now.getTime() / 1000 - Number(timestamp));
  if (id === "" || !/^\d{1,12}$/.test(timestamp) || age > TOLERANCE_SECONDS) return refuse;
  if (each.length > MOST_SIGNATURES || /,(?: |$)/.test(signatures)) return refuse; // the latter: the header came twice
  return (secret) => {
    const wanted = signingKeys(secret).map((key) =>
      createHmac("sha256", key).update(`${id}.${timestamp}.`).update(rawBody).digest("base64"),
    );
    return each.flatMap((given) => wanted.map((signature) => sameSecret(given, `v1,${signature}`))).includes(true);
  };
}

/** None of them empty: anybody could sign with that. */
function signingKeys(secret: string): Buffer[] {
  const encoded = secret.replace(/^whsec_/, "");
  const keys = BASE64.test(encoded) ? [Buffer.from(encoded, "base64")] : [];
  if (encoded === secret) keys.push(Buffer.from(secret));
  return keys.filter((key) => key.length > 0);
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
