/** Tokens of an issuer: who is let in, every known way around it, and where the keys come from. */
import { once } from "node:events";
import { createServer } from "node:http";
import { createHmac } from "node:crypto";
import { base64url, exportJWK, exportSPKI, type CryptoKey, generateKeyPair, SignJWT } from "jose";
import { afterEach, beforeAll, describe, expect, it, test } from "vitest";
import type { OidcConfig } from "../src/config.ts";
import { verifyToken, type OidcScheme } from "../src/oidc.ts";
import { providers } from "../src/providers/index.ts";

const now = new Date("2026-11-20T12:04:05.000Z");
const seconds = Math.floor(now.getTime() / 1000);
const ISSUER = "https://gitlab.example.com";
const wanted: OidcConfig = {
  issuer: ISSUER,
  audience: "mpo-relay",
  email: null,
  subject: ["project_path:modules/*"],
  keys: { kind: "file", path: "keys.json" },
};
const genuine = {
  iss: ISSUER,
  aud: "mpo-relay",
  sub: "project_path:modules/echo:ref_type:branch:ref:main",
  exp: seconds + 300,
  iat: seconds,
};

let own: { privateKey: CryptoKey; publicKey: CryptoKey };
let foreign: CryptoKey;
let jwks: string;
beforeAll(async () => {
  own = await generateKeyPair("RS256", { extractable: true });
  ({ privateKey: foreign } = await generateKeyPair("RS256"));
  jwks = JSON.stringify({ keys: [{ ...(await exportJWK(own.publicKey)), kid: "one", use: "sig", alg: "RS256" }] });
});

const sign = (claims: object, { key = own.privateKey, kid = "one", more = {} } = {}) =>
  new SignJWT({ ...claims }).setProtectedHeader({ alg: "RS256", kid, ...more }).sign(key);
const ANY: OidcScheme = { kind: "oidc" };
const encode = (part: object) => base64url.encode(JSON.stringify(part));
const check = (token: string, { config = wanted, scheme = ANY, at = now } = {}) =>
  verifyToken(`Bearer ${token}`, scheme, config, async () => jwks, at);

describe("a token", () => {
  it("of a wanted subject is let in", async () => {
    expect(await check(await sign(genuine))).toBe(true);
    expect(await check(await sign({ ...genuine, aud: ["another", "mpo-relay"] }))).toBe(true);
  });

  test.each<[string, object]>([
    ["another audience", { aud: "somebody-else" }],
    ["a list of other audiences", { aud: ["a", "b"] }],
    ["no audience", { aud: undefined }],
    ["another issuer", { iss: "https://gitlab.example.org" }],
    ["the issuer with a slash more", { iss: `${ISSUER}/` }],
    ["no issuer", { iss: undefined }],
    ["another subject", { sub: "project_path:strangers/echo:ref_type:branch:ref:main" }],
    ["a subject that holds the wanted one", { sub: `x project_path:modules/echo` }],
    ["no subject", { sub: undefined }],
    ["a subject that is no text", { sub: ["project_path:modules/echo"] }],
    ["an end that is past", { exp: seconds - 31 }],
    ["no end", { exp: undefined }],
    ["an end that is a text", { exp: String(seconds + 300) }],
    ["an end that is a list", { exp: [seconds + 300] }],
    ["an end that is no number", { exp: Number.NaN }],
    ["a beginning to come", { nbf: seconds + 31 }],
    ["a beginning that is a text", { nbf: String(seconds - 1) }],
  ])("with %s is refused", async (_what, claims) => {
    expect(await check(await forged({ ...genuine, ...claims }))).toBe(false);
  });

  /** Signed by the right key, and with whatever a library would not write. */
  async function forged(claims: object): Promise<string> {
    const head = `${encode({ alg: "RS256", kid: "one" })}.${encode(claims)}`;
    const signature = await crypto.subtle.sign("RSASSA-PKCS1-v1_5", own.privateKey, new TextEncoder().encode(head));
    return `${head}.${base64url.encode(new Uint8Array(signature))}`;
  }

  it("signed by another key is refused, with the right key's name too", async () => {
    expect(await check(await sign(genuine, { key: foreign }))).toBe(false);
    expect(await check(await sign(genuine, { key: foreign, kid: "other" }))).toBe(false);
    expect(await check(await sign(genuine, { kid: "other" }))).toBe(false);
  });

  it("by another algorithm is refused: none, and HMAC with the public key as its secret", async () => {
    const body = encode(genuine);
    for (const alg of ["none", "None", ""]) expect(await check(`${encode({ alg, kid: "one" })}.${body}.`)).toBe(false);
    const head = `${encode({ alg: "HS256", kid: "one" })}.${body}`;
    const secrets = [await exportSPKI(own.publicKey), jwks, JSON.stringify(JSON.parse(jwks).keys[0])];
    for (const secret of secrets)
      expect(await check(`${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`)).toBe(false);
  });

  it("that brings its own key, or names where it lies, is refused", async () => {
    const pair = await generateKeyPair("RS256", { extractable: true });
    const jwk = await exportJWK(pair.publicKey);
    for (const more of [{ jwk }, { jku: "https://evil.example/keys" }, { x5u: "https://evil.example/cert" }, { crit: ["exp"] }])
      expect(await check(await sign(genuine, { key: pair.privateKey, more }).catch(() => "x.y.z"))).toBe(false);
  });

  it("that is cut off, changed, doubled or not there is refused", async () => {
    const token = await sign(genuine);
    const [head, , signature] = token.split(".");
    const changed = `${head}.${encode({ ...genuine, sub: "project_path:modules/other" })}.${signature}`;
    for (const bad of [
      token.slice(0, -1),
      `${token}x`,
      changed,
      `${token}, Bearer ${token}`,
      `${head}..${signature}`,
      "",
      "x.y.z",
      `${token}.a.b`,
    ])
      expect(await check(bad)).toBe(false);
    const scheme: OidcScheme = { kind: "oidc" };
    for (const header of [undefined, "", token, `Basic ${token}`, `Bearer`])
      expect(await verifyToken(header, scheme, wanted, async () => jwks, now)).toBe(false);
  });

  it("bears clocks that differ by half a minute", async () => {
    const token = await sign(genuine);
    expect(await check(token, { at: new Date((genuine.exp + 29) * 1000) })).toBe(true);
    expect(await check(token, { at: new Date((genuine.exp + 31) * 1000) })).toBe(false);
  });

  it("is not enough where nobody is named, or no issuer", async () => {
    expect(await check(await sign(genuine), { config: { ...wanted, subject: [] } })).toBe(false);
    expect(await check(await sign(genuine), { config: { ...wanted, issuer: null } })).toBe(false);
  });
});

describe("of Google", () => {
  const scheme = providers["gar"]?.auth[0];
  const config: OidcConfig = { ...wanted, issuer: null, email: "push@modules-project.iam.gserviceaccount.com", subject: [] };
  const claims = { ...genuine, iss: "https://accounts.google.com", sub: "1067", email: config.email, email_verified: true };
  const checkGoogle = async (more: object) =>
    scheme?.kind === "oidc" ? check(await sign({ ...claims, ...more }), { config, scheme }) : expect.fail("gar has no oidc");

  it("both spellings of the issuer are let in, and no other", async () => {
    expect(await checkGoogle({})).toBe(true);
    expect(await checkGoogle({ iss: "accounts.google.com" })).toBe(true);
    expect(await checkGoogle({ iss: "http://accounts.google.com" })).toBe(false);
    expect(await checkGoogle({ iss: ISSUER })).toBe(false);
  });

  test.each<[string, object]>([
    ["another e-mail", { email: "push@strangers.iam.gserviceaccount.com" }],
    ["no e-mail", { email: undefined }],
    ["an e-mail in a list", { email: ["push@modules-project.iam.gserviceaccount.com"] }],
    ["an e-mail that is not verified", { email_verified: false }],
    ["a text for verified", { email_verified: "true" }],
    ["nothing for verified", { email_verified: undefined }],
    ["another audience", { aud: "https://other.example.com/hooks/google" }],
  ])("%s is refused", async (_what, more) => {
    expect(await checkGoogle(more)).toBe(false);
  });
});

describe("keys", () => {
  const closing: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });

  /** An issuer on loopback, which counts its calls. */
  async function issuer(answer: (path: string, url: string) => { status?: number; body?: unknown; location?: string }) {
    const calls: string[] = [];
    const server = createServer((request, response) => {
      const path = request.url ?? "";
      calls.push(path);
      const { status = 200, body = {}, location } = answer(path, url());
      response.writeHead(status, { "content-type": "application/json", ...(location !== undefined && { location }) });
      response.end(JSON.stringify(body));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    closing.push(async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    });
    const url = () => {
      const address = server.address();
      return typeof address === "object" && address ? `http://127.0.0.1:${address.port}` : expect.fail("no port");
    };
    return { url: url(), calls };
  }
  const honest = (path: string, url: string) =>
    path === "/keys" ? { body: JSON.parse(jwks) } : { body: { issuer: url, jwks_uri: `${url}/keys` } };
  const configFor = (url: string): OidcConfig => ({ ...wanted, issuer: url, keys: null });
  const unavailable = expect.objectContaining({ name: "RelayError", code: "KEYS_UNAVAILABLE" });

  it.each(["correct-horse", "-----BEGIN PRIVATE KEY-----", "[]", '{"keys":[{}]}'])("quote nothing of another file: %s", async (text) => {
    const verifying = verifyToken(`Bearer ${await sign(genuine)}`, ANY, wanted, async () => text, now);
    await expect(verifying).rejects.toThrow("the keys of the tokens' issuer cannot be had: Error: what is there is no key set (JWKS)");
  });

  it("are found by discovery, and kept", async () => {
    const { url, calls } = await issuer(honest);
    const token = await sign({ ...genuine, iss: url });
    for (let n = 0; n < 5; n++) expect(await check(token, { config: configFor(url) })).toBe(true);
    expect(calls).toEqual(["/.well-known/openid-configuration", "/keys"]);
  });

  it("are not asked for on behalf of who only makes noise", async () => {
    const { url, calls } = await issuer(honest);
    for (const token of ["x", "x.y.z", await sign(genuine)]) expect(await check(token, { config: configFor(url) })).toBe(false);
    expect(calls).toEqual([]);
    for (let n = 0; n < 20; n++)
      expect(await check(await sign({ ...genuine, iss: url }, { kid: `kid-${n}` }), { config: configFor(url) })).toBe(false);
    expect(calls).toHaveLength(2);
  });

  it("come from the URL that the configuration names", async () => {
    const { url, calls } = await issuer(honest);
    expect(await check(await sign(genuine), { config: { ...wanted, keys: { kind: "url", url: `${url}/keys` } } })).toBe(true);
    expect(calls).toEqual(["/keys"]);
  });

  test.each<[string, (path: string, url: string) => { status?: number; body?: unknown; location?: string }]>([
    ["the issuer fails", () => ({ status: 500 })],
    ["the keys fail", (path, url) => (path === "/keys" ? { status: 503 } : honest(path, url))],
    ["the keys are none", (path, url) => (path === "/keys" ? { body: { hello: 1 } } : honest(path, url))],
    ["the issuer is another", (_path, url) => ({ body: { issuer: "https://other.example.com", jwks_uri: `${url}/keys` } })],
    ["the keys would come unencrypted from elsewhere", (_path, url) => ({ body: { issuer: url, jwks_uri: "http://keys.example.com/" } })],
    ["the issuer sends us elsewhere", (_path, url) => ({ status: 302, location: `${url}/other` })],
  ])("cannot be had where %s, and the sender is told to try again", async (_what, answer) => {
    const { url } = await issuer(answer);
    await expect(check(await sign({ ...genuine, iss: url }), { config: configFor(url) })).rejects.toEqual(unavailable);
  });

  it("are asked for again once the issuer is back", async () => {
    let isDown = true;
    const { url } = await issuer((path, at) => (isDown ? { status: 503 } : honest(path, at)));
    const token = await sign({ ...genuine, iss: url });
    await expect(check(token, { config: configFor(url) })).rejects.toEqual(unavailable);
    isDown = false;
    expect(await check(token, { config: configFor(url) })).toBe(true);
  });

  it("in a file that is none cannot be had either", async () => {
    for (const text of ["", "hush", "{}", '{"keys": 5}', '{"keys": [5]}'])
      await expect(verifyToken(`Bearer ${await sign(genuine)}`, { kind: "oidc" }, wanted, async () => text, now)).rejects.toEqual(
        unavailable,
      );
  });
});
