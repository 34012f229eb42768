/** What the contract of the table (providers.test.ts) cannot show: schemes that no row uses yet, and the rules of each scheme. */
import { createHmac, timingSafeEqual } from "node:crypto";
import fc from "fast-check";
import { beforeEach, describe, expect, it, test, vi } from "vitest";
import { authenticate, type AuthRequest, sameSecret, type SecretScheme } from "../src/auth.ts";
import type { DeliveryHeaders } from "../src/providers/provider.ts";
import { prove, spoiled } from "./contracts/deliveries.ts";

vi.mock(import("node:crypto"), async (original) => {
  const crypto = await original();
  return { ...crypto, timingSafeEqual: vi.fn(crypto.timingSafeEqual) };
});
const comparisons = vi.mocked(timingSafeEqual);
beforeEach(() => {
  comparisons.mockClear();
});

const SECRET = "correct-horse-battery-staple";
const PREVIOUS = "the-secret-of-last-year";
const now = new Date("2026-11-20T12:04:05.500Z");
const rawBody = Buffer.from('{"a": "ü"}');
const unsigned = { headers: { "content-type": "application/json" }, rawBody, now };
const secrets = { current: SECRET, previous: null };
const request = (headers: DeliveryHeaders, more: Partial<AuthRequest> = {}): AuthRequest => ({
  ...unsigned,
  headers,
  pathSecret: null,
  ...more,
});

const SCHEMES: readonly SecretScheme[] = [
  { kind: "hmac", header: "x-hub-signature-256", hash: "sha256", encoding: "hex", prefix: "sha256=" },
  { kind: "hmac", header: "x-signature", hash: "sha256", encoding: "base64" },
  { kind: "hmac", header: "x-nexus-webhook-signature", hash: "sha1", encoding: "hex" },
  { kind: "hmac", header: "x-gitea-signature", hash: "sha256", encoding: "hex", over: "form:payload" },
  { kind: "token", header: "authorization", scheme: "Bearer" },
  { kind: "token", header: "authorization" },
  { kind: "token", header: "x-registry-token" },
  { kind: "basic" },
  { kind: "standard-webhooks" },
  { kind: "url" },
];
const anyScheme = fc.constantFrom(...SCHEMES);
const anySecret = fc.string({ minLength: 8, maxLength: 80 }).filter((text) => text.trim() === text);

describe.each(SCHEMES)("every scheme: %j", (scheme) => {
  it("knows the current secret, the previous one, and no other", () => {
    const both = { current: SECRET, previous: PREVIOUS };
    expect(authenticate(scheme, prove(scheme, SECRET, unsigned), both)).toBe("current");
    expect(authenticate(scheme, prove(scheme, PREVIOUS, unsigned), both)).toBe("previous");
    const same = { current: SECRET, previous: SECRET }; // before a rotation both may name one
    expect(authenticate(scheme, prove(scheme, SECRET, unsigned), same)).toBe("current");
    expect(authenticate(scheme, prove(scheme, "another", unsigned), both)).toBe("refused");
  });

  it("refuses everything spoiled", () => {
    const attempts = spoiled(scheme, SECRET, prove(scheme, SECRET, unsigned));
    expect(attempts.length).toBeGreaterThan(10);
    expect(attempts.filter((each) => authenticate(scheme, each.request, secrets) !== "refused").map(({ how }) => how)).toEqual([]);
  });

  it("never takes an empty secret, as current or previous", () => {
    const genuine = prove(scheme, "", unsigned);
    expect(authenticate(scheme, genuine, { current: "", previous: "" })).toBe("refused");
    expect(authenticate(scheme, { ...genuine, pathSecret: null }, { current: SECRET, previous: "" })).toBe("refused");
  });

  it("compares as often for the right secret as for a wrong one", () => {
    const both = { current: SECRET, previous: PREVIOUS };
    const counts = [SECRET, PREVIOUS, "another", `${SECRET}-and-a-tail`].map((secret) => {
      comparisons.mockClear();
      authenticate(scheme, prove(scheme, secret, unsigned), both);
      return comparisons.mock.calls.length;
    });
    expect(counts[0]).toBeGreaterThan(1);
    expect(new Set(counts).size).toBe(1);
  });
});

test("whatever the secret, the genuine request comes in and one made with another secret does not", () => {
  fc.assert(
    fc.property(anyScheme, anySecret, anySecret, (scheme, secret, other) => {
      fc.pre(secret !== other);
      expect(authenticate(scheme, prove(scheme, secret, unsigned), { current: secret, previous: null })).toBe("current");
      expect(authenticate(scheme, prove(scheme, secret, unsigned), { current: other, previous: null })).toBe("refused");
    }),
  );
});

test("any header value at all is refused, never an error", () => {
  const names = [
    "authorization",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-hub-signature-256",
    "x-signature",
    "content-type",
  ];
  const headers = fc.dictionary(fc.constantFrom(...names), fc.string({ unit: "binary" }));
  fc.assert(
    fc.property(anyScheme, headers, fc.option(fc.string()), fc.uint8Array(), (scheme, sent, pathSecret, body) => {
      expect(authenticate(scheme, request(sent, { pathSecret, rawBody: body }), secrets)).toBe("refused");
    }),
  );
});

describe("comparison", () => {
  it("compares hashes of one length, whatever the lengths of both sides", () => {
    expect([sameSecret("a", "a"), sameSecret("a", "b"), sameSecret("a", "a".repeat(5000)), sameSecret("", "")]).toEqual([
      true,
      false,
      false,
      true,
    ]);
    for (const [left, right] of comparisons.mock.calls) expect([left.byteLength, right.byteLength]).toEqual([32, 32]);
  });
});

describe("hmac", () => {
  const hex = (over: string | Uint8Array) => createHmac("sha256", SECRET).update(over).digest("hex");
  const scheme: SecretScheme = { kind: "hmac", header: "x-hub-signature-256", hash: "sha256", encoding: "hex", prefix: "sha256=" };
  const check = (value: string) => authenticate(scheme, request({ "x-hub-signature-256": value }), secrets);

  it("takes hex in either case, with its prefix only", () => {
    expect(check(`sha256=${hex(rawBody)}`)).toBe("current");
    expect(check(`sha256=${hex(rawBody).toUpperCase()}`)).toBe("current");
    expect(check(hex(rawBody))).toBe("refused");
    expect(check(`sha1=${hex(rawBody)}`)).toBe("refused");
    expect(check("sha256=")).toBe("refused");
  });

  it("takes hex without its prefix too where the prefix is optional, and no other prefix", () => {
    const optional: SecretScheme = { ...scheme, prefixOptional: true };
    const check = (value: string) => authenticate(optional, request({ "x-hub-signature-256": value }), secrets);
    expect(check(`sha256=${hex(rawBody)}`)).toBe("current");
    expect(check(hex(rawBody))).toBe("current");
    expect(check(`sha1=${hex(rawBody)}`)).toBe("refused");
    expect(check(`sha256=sha256=${hex(rawBody)}`)).toBe("refused");
    expect(check("sha256=")).toBe("refused");
    expect(check("")).toBe("refused");
  });

  it("takes base64 in its own case only", () => {
    const base64: SecretScheme = { kind: "hmac", header: "x-signature", hash: "sha256", encoding: "base64" };
    const signature = createHmac("sha256", SECRET).update(rawBody).digest("base64");
    expect(authenticate(base64, request({ "x-signature": signature }), secrets)).toBe("current");
    expect(authenticate(base64, request({ "x-signature": signature.toLowerCase() }), secrets)).toBe("refused");
  });

  it("knows the answer of GitHub's documentation", () => {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    const value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const hello = request({ "x-hub-signature-256": value }, { rawBody: Buffer.from("Hello, World!") });
    expect(authenticate(scheme, hello, { current: "It's a Secret to Everybody", previous: null })).toBe("current");
  });

  describe("over the JSON inside a form", () => {
    const form: SecretScheme = { kind: "hmac", header: "x-gitea-signature", hash: "sha256", encoding: "hex", over: "form:payload" };
    const json = '{"a": "b & ü"}';
    const encoded = new URLSearchParams({ payload: json }).toString();
    const check = (body: string, signature: string, type = "application/x-www-form-urlencoded; charset=utf-8") =>
      authenticate(form, request({ "content-type": type, "x-gitea-signature": signature }, { rawBody: Buffer.from(body) }), secrets);

    it("takes the decoded text's signature, and the body's where the body is JSON", () => {
      expect(check(encoded, hex(json))).toBe("current");
      expect(check(encoded, hex(encoded))).toBe("refused");
      expect(check(json, hex(json), "application/json")).toBe("current");
    });

    it("reads no form of more fields than a sender can have: who has no secret must not make it read for long", () => {
      expect(check(`${"a&".repeat(15)}${encoded}`, hex(json))).toBe("current");
      expect(check(`${encoded}${"&a".repeat(16)}`, hex(json))).toBe("refused");
    });

    it("refuses a form with no payload or with two", () => {
      expect(check("other=1", hex(""))).toBe("refused");
      expect(check(`${encoded}&payload=%7B%7D`, hex(json))).toBe("refused");
      expect(check(`payload=%7B%7D&${encoded}`, hex(json))).toBe("refused");
    });
  });
});

describe("token", () => {
  const bearer: SecretScheme = { kind: "token", header: "authorization", scheme: "Bearer" };
  const free: SecretScheme = { kind: "token", header: "authorization" };
  const check = (scheme: SecretScheme, authorization: string, current = SECRET) =>
    authenticate(scheme, request({ authorization }), { current, previous: null });

  it("takes the scheme's word in any case, and needs it", () => {
    for (const word of ["Bearer", "bearer", "BEARER", "Bearer "]) expect(check(bearer, `${word} ${SECRET}`)).toBe("current");
    for (const word of ["Basic", "Token", "Bearer:", "Bearer Bearer"]) expect(check(bearer, `${word} ${SECRET}`)).toBe("refused");
    expect(check(bearer, SECRET)).toBe("refused");
    expect(check(bearer, `Bearer${SECRET}`)).toBe("refused");
    expect(check(bearer, "Bearer")).toBe("refused");
  });

  it("of a free field takes the whole value, or what follows Bearer", () => {
    expect(check(free, SECRET)).toBe("current");
    expect(check(free, `Bearer ${SECRET}`)).toBe("current");
    expect(check(free, `Bearer ${SECRET}`, `Bearer ${SECRET}`)).toBe("current");
    expect(check(free, "Basic cmVsYXk6aHVzaA==", "Basic cmVsYXk6aHVzaA==")).toBe("current");
    expect(check(free, `Token ${SECRET}`)).toBe("refused");
    expect(check(free, SECRET, `Bearer ${SECRET}`)).toBe("refused");
    expect(check(free, "Bearer ")).toBe("refused");
  });
});

describe("basic", () => {
  const encode = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
  const check = (authorization: string, username: string | null = null) =>
    authenticate({ kind: "basic" }, request({ authorization }), { ...secrets, username });

  it("asks for the user only where one is configured", () => {
    expect(check(encode(`anyone:${SECRET}`))).toBe("current");
    expect(check(encode(`:${SECRET}`))).toBe("current");
    expect(check(encode(`relay:${SECRET}`), "relay")).toBe("current");
    expect(check(encode(`anyone:${SECRET}`), "relay")).toBe("refused");
    expect(check(encode("relay:wrong"), "relay")).toBe("refused");
  });

  it("lets a password hold colons, and refuses what is no base64 or has no colon", () => {
    const colons = { current: "a:b:c", previous: null };
    expect(authenticate({ kind: "basic" }, request({ authorization: encode("relay:a:b:c") }), colons)).toBe("current");
    expect(check(encode(SECRET))).toBe("refused");
    expect(check(`${encode(`relay:${SECRET}`)}, `)).toBe("refused");
    expect(check(`Basic relay:${SECRET}`)).toBe("refused");
  });
});

describe("standard-webhooks", () => {
  const scheme: SecretScheme = { kind: "standard-webhooks" };
  // from the specification's public test suite
  const vector = {
    headers: {
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    rawBody: Buffer.from('{"test": 2432232314}'),
    pathSecret: null,
    now: new Date(1614265330_000),
  };
  const KEY = { current: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", previous: null };
  const check = (headers: DeliveryHeaders, more: Partial<AuthRequest> = {}) =>
    authenticate(scheme, { ...vector, ...more, headers: { ...vector.headers, ...headers } }, KEY);

  it("verifies the specification's own example", () => {
    expect(check({})).toBe("current");
    expect(authenticate(scheme, vector, { current: SECRET, previous: KEY.current })).toBe("previous");
  });

  it("takes any one of several signatures and passes over other versions", () => {
    const right = vector.headers["webhook-signature"];
    expect(check({ "webhook-signature": `v1,AAAA ${right} v2,BBBB` })).toBe("current");
    expect(check({ "webhook-signature": `v1a,AAAA ${right}` })).toBe("current");
    expect(check({ "webhook-signature": right.replace("v1,", "v2,") })).toBe("refused");
    expect(check({ "webhook-signature": right.replace("v1,", "") })).toBe("refused");
  });

  it("looks at no more signatures than a sender can have: who has no secret must not make it hash for long", () => {
    const right = vector.headers["webhook-signature"];
    expect(check({ "webhook-signature": `${"v1,AAAA ".repeat(15)}${right}` })).toBe("current");
    expect(check({ "webhook-signature": `${right}${" v1,AAAA".repeat(16)}` })).toBe("refused");
    expect(check({ "webhook-signature": `${" ".repeat(15_000)}${right}` })).toBe("refused");
  });

  it("refuses a header that came twice", () => {
    for (const [name, value] of Object.entries(vector.headers)) expect(check({ [name]: `${value}, ${value}` })).toBe("refused");
    expect(check({ "webhook-signature": `v1,AAAA, ${vector.headers["webhook-signature"]}` })).toBe("refused");
  });

  it("bears five minutes of difference, either way", () => {
    const at = (seconds: number) => check({}, { now: new Date((1614265330 + seconds) * 1000) });
    expect([at(-300), at(300)]).toEqual(["current", "current"]);
    expect([at(-301), at(301)]).toEqual(["refused", "refused"]);
  });

  it.each(["", "1614265330.0", "0x60379432", "-1", "Infinity", "2021-02-25T15:02:10Z"])("refuses the timestamp %j", (timestamp) => {
    expect(check({ "webhook-timestamp": timestamp })).toBe("refused");
  });

  it("signs id, timestamp and body together", () => {
    expect(check({ "webhook-id": "msg_other" })).toBe("refused");
    expect(check({ "webhook-id": "" })).toBe("refused");
    expect(check({ "webhook-timestamp": "1614265331" })).toBe("refused");
  });

  it("takes a secret without its prefix as the libraries do, and as openssl does", () => {
    const plain = { current: KEY.current.slice("whsec_".length), previous: null };
    expect(authenticate(scheme, vector, plain)).toBe("current");
    const byText = createHmac("sha256", plain.current).update("msg_1.1614265330.").update(vector.rawBody).digest("base64");
    const headers = { ...vector.headers, "webhook-id": "msg_1", "webhook-signature": `v1,${byText}` };
    expect(authenticate(scheme, { ...vector, headers }, plain)).toBe("current");
    expect(authenticate(scheme, { ...vector, headers }, KEY)).toBe("refused");
  });

  it("refuses a whsec_ secret that holds no key", () => {
    const empty = createHmac("sha256", "").update("msg_1.1614265330.").update(vector.rawBody).digest("base64");
    const headers = { ...vector.headers, "webhook-id": "msg_1", "webhook-signature": `v1,${empty}` };
    expect(authenticate(scheme, { ...vector, headers }, { current: "whsec_", previous: null })).toBe("refused");
  });
});

test("the secret of the path counts for the url scheme only", () => {
  const inPath = request({}, { pathSecret: SECRET });
  for (const scheme of SCHEMES) expect(authenticate(scheme, inPath, secrets)).toBe(scheme.kind === "url" ? "current" : "refused");
});
