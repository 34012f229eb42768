/**
 * Every class of attack that brought down, or opened, another receiver of webhooks, tried on every registry through the whole edge.
 * The advisory beside a class is where it was first seen. What one scheme or one parser alone must refuse is spoiled by the same helpers
 * as in providers.test.ts, auth.test.ts and oidc.test.ts; what needs a cluster is played by the model (model.test.ts, e2e/faults.e2e.ts).
 */
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { handle } from "hono/aws-lambda";
import { generateKeyPair } from "jose";
import { afterEach, beforeAll, describe, expect, it, test, vi } from "vitest";
import * as z from "zod";
import { sameSecret } from "../src/auth.ts";
import { decodeBody } from "../src/body.ts";
import { createCircuit } from "../src/circuit.ts";
import { toClusterError } from "../src/cluster/errors.ts";
import { consume } from "../src/consume.ts";
import { encode, pushEvent } from "../src/event.ts";
import { createMatcher, globMatches } from "../src/match.ts";
import { placeOf, repositoryOf, splitImage, splitReference } from "../src/providers/normalise.ts";
import { type DeliveryContext, pushesOf } from "../src/providers/provider.ts";
import type { NewDeadLetter, QueueRecord } from "../src/queue/queue.ts";
import { understand } from "../src/receive.ts";
import { startRelay } from "../src/relay.ts";
import { prove, spoiled } from "./contracts/deliveries.ts";
import { emptyOf, type Place, placesIn, replaced, without, wrongTypesFor } from "./contracts/spoil.ts";
import { mutated } from "./fuzz/mutate.ts";
import { wrongWith } from "./fuzz/verdict.ts";
import { Random } from "./model/random.ts";
import { play } from "./model/schedule.ts";
import { mpoRelay } from "./support/cli.ts";
import {
  type Answered,
  type Call,
  type EveryRegistry,
  type Hook,
  NOW,
  openEveryRegistry,
  PREVIOUS,
  PREVIOUS_ENDS,
  requestsIn,
  type Saved,
  SECRET,
} from "./support/every-registry.ts";
import { clusterOf, configOf, fakeContext, fakeObserver, requestOf, webhook } from "./support/relay.ts";
import { HEAVY_MS } from "./support/wait.ts";

let e: EveryRegistry;
beforeAll(async () => {
  e = await openEveryRegistry();
});
afterEach(() => {
  e.take();
  e.setNow(NOW);
  e.setDown(false);
  vi.restoreAllMocks();
});

const json = (saved: Saved): unknown => {
  const decoded = decodeBody(saved.delivery.body, saved.delivery.headers["content-type"]);
  return decoded.ok ? decoded.value : null;
};
/** The saved delivery with another value in its body; a form stays one. */
function withBody({ hook, delivery }: Saved, value: unknown): Call {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const isForm = delivery.headers["content-type"]?.includes("form-urlencoded") === true;
  return e.genuine(hook, Buffer.from(isForm ? new URLSearchParams({ payload: text }).toString() : text), delivery.headers);
}
/** The places of a body that its parser looks at: all others may hold what they like. */
function placesRead(saved: Saved): Place[] {
  const body = json(saved);
  const reading = (value: unknown) =>
    JSON.stringify(pushesOf(saved.hook.provider, value, { headers: saved.delivery.headers, host: saved.delivery.host }));
  const genuine = reading(body);
  const places = placesIn(body).filter(({ path }) => [null, "odd"].some((by) => reading(replaced(body, path, by)) !== genuine));
  return places.length > 0 ? places : expect.fail(saved.title);
}
/** One queued push of each registry: what is spoiled below. */
const onePush = () => [
  ...new Map(
    e.saved.filter(({ delivery }) => delivery.events.some(({ tag }) => tag === "main")).map((each) => [each.hook.provider.name, each]),
  ).values(),
];
const genuineOf = ({ hook, delivery }: Saved) => e.genuine(hook, delivery.body, delivery.headers);

/** Sends all, and tells of those whose answer is not one of the wanted. */
async function unlike(statuses: readonly number[], calls: readonly { how: string; call: Call }[]): Promise<string[]> {
  const wrong: string[] = [];
  for (const { how, call } of calls) {
    const { status, text } = await e.send(call);
    if (!statuses.includes(status)) wrong.push(`${call.hook}, ${how}: ${status} ${text.slice(0, 100)}`);
    if ([401, 404, 405].includes(status) && text !== "") wrong.push(`${call.hook}, ${how}: a stranger is told ${text}`);
  }
  return wrong;
}
const hooksBy = (kind: string) => e.hooks.filter(({ scheme }) => scheme.kind === kind);
const bodyFor = ({ provider }: Hook) => e.saved.find(({ hook }) => hook.provider === provider)?.delivery ?? expect.fail(provider.name);

describe("size", () => {
  const LIMIT = 1024 * 1024;
  it.each([
    [LIMIT - 1, 202],
    [LIMIT, 202],
    [LIMIT + 1, 413],
    [6 * LIMIT, 413],
  ])(
    "a body of %i bytes is %i at every registry, of any content type (CVE-2024-40634; a form that skips the limit)",
    async (bytes, status) => {
      const body = Buffer.alloc(bytes, "x");
      for (const type of ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]) {
        const calls = onePush()
          .filter(({ hook }) => hook.scheme.kind !== "hmac" || hook.scheme.over === undefined)
          .map(({ hook }) => ({ how: type, call: e.genuine(hook, body, { "content-type": type }) }));
        expect(await unlike([status], bytes > LIMIT ? calls : calls.slice(0, 3))).toEqual([]);
        e.take();
      }
    },
  );

  it("gzip is no way around it: it is never read, and unpacked with a good proof alone, to be kept without its secrets", async () => {
    const bomb = gzipSync(Buffer.alloc(10 * LIMIT, "["));
    const headers = { "content-encoding": "gzip", "content-type": "application/json" };
    const calls = onePush().map(({ hook }) => ({ how: "gzip", call: e.genuine(hook, bomb, headers) }));
    expect(await unlike([202], calls)).toEqual([]);
    expect(e.take().letters).toHaveLength(calls.length);
    const far = gzipSync(Buffer.alloc(100 * LIMIT, "["));
    const refused = onePush().map(({ hook }) => ({ how: "far larger", call: e.genuine(hook, far, headers) }));
    expect(await unlike([413], refused)).toEqual([]);
    expect(e.take().letters).toEqual([]);
  });

  it("in Lambda the decoded bytes count, whatever Content-Length says (CVE-2026-54288)", async () => {
    const [one] = onePush();
    const { headers, hook } = e.genuine(one?.hook ?? expect.fail(), Buffer.alloc(LIMIT + 1, "x"), {});
    for (const length of ["5", "0", undefined, "-1", "x"]) {
      const event = lambdaEvent(
        `/hooks/${hook}`,
        { ...headers, ...(length !== undefined && { "content-length": length }) },
        "x".repeat(LIMIT + 1),
      );
      expect(await handle(e.app)(event)).toMatchObject({ statusCode: 413 });
    }
  });

  it("over a socket: in chunks without end, and with both kinds of length (CVE-2026-44456, CVE-2025-59139)", async () => {
    await withRelay(async (port) => {
      const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`;
      const head = "POST /hooks/open HTTP/1.1\r\nhost: relay\r\n";
      expect(await raw(port, `${head}transfer-encoding: chunked\r\n\r\n${chunk.repeat(17)}`)).toMatch(/^HTTP\/1\.1 413 /);
      expect(await raw(port, `${head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n${chunk.repeat(17)}`)).toMatch(
        /^HTTP\/1\.1 4\d\d /,
      );
      expect(await raw(port, `${head}content-length: 5\r\ncontent-length: 6\r\n\r\nxxxxx`)).toMatch(/^HTTP\/1\.1 400 /);
      expect(await raw(port, `${head}content-length: 13\r\nconnection: close\r\n\r\n{"events":[]}`)).toMatch(/^HTTP\/1\.1 200 /);
    });
  });
});

describe("fields", () => {
  it("null, absent, of a wrong type and empty, in every place (CVE-2025-59537, CVE-2025-59538, CVE-2025-59531)", async () => {
    for (const saved of onePush()) {
      const body = json(saved);
      const bodies = placesRead(saved).flatMap(({ path, value }) => {
        const values = [...wrongTypesFor(value), ...(emptyOf(value) === undefined ? [] : [emptyOf(value)])];
        return [
          { how: `${path.join(".")} absent`, value: without(body, path) },
          ...values.map((by) => ({ how: `${path.join(".")} = ${JSON.stringify(by)}`, value: replaced(body, path, by) })),
        ];
      });
      expect(
        await unlike(
          [200, 202],
          bodies.map(({ how, value }) => ({ how, call: withBody(saved, value) })),
        ),
      ).toEqual([]);
      requestsIn(e.take());
    }
  });

  it.each([
    ["JSON that is none, or no object", ["", "{", "null", "[]", '"x"', "1", "tru", "[1e400]", "\ufeff{}", "\u0000"]],
    ["depth 10,000", ["[".repeat(10_000) + "]".repeat(10_000), '{"a":'.repeat(10_000) + "1" + "}".repeat(10_000)]],
    ["half a MiB of brackets", ["[".repeat(512 * 1024), '{"":'.repeat(128 * 1024)]],
    [
      "keys that objects inherit",
      ['{"__proto__":{"events":[]},"constructor":{"prototype":{"tag":"x"}}}', '[{"__proto__":null}]', '{"toString":1,"hasOwnProperty":0}'],
    ],
  ])("%s", async (_what, bodies) => {
    const calls = onePush().flatMap((saved) => bodies.map((body) => ({ how: body.slice(0, 30), call: withBody(saved, body) })));
    expect(await unlike([200, 202], calls)).toEqual([]);
    expect(e.take().records).toEqual([]);
    expect("tag" in {}).toBe(false);
  });

  it("UTF-16, broken UTF-8 and duplicate keys", async () => {
    for (const saved of onePush()) {
      const text = JSON.stringify(json(saved));
      const bodies = { "UTF-16": Buffer.from(text, "utf16le"), "no UTF-8": Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) };
      const { hook, delivery } = saved;
      for (const [how, body] of Object.entries(bodies))
        expect(await unlike([202, 401], [{ how, call: e.genuine(hook, body, delivery.headers) }])).toEqual([]);
      expect(requestsIn(e.take())).toEqual([]);
      expect(
        await unlike([200, 202], [{ how: "duplicate keys", call: withBody(saved, text.replace(/^\{("[^"]+":)/, '{$1"first",$1')) }]),
      ).toEqual([]);
      requestsIn(e.take());
    }
  });

  it("lists of 1,000 in every list: mixed, doubled, and bad ones among them", async () => {
    for (const saved of onePush()) {
      const body = json(saved);
      const lists = placesIn(body).filter(({ value }) => Array.isArray(value));
      for (const { path, value } of lists) {
        const [first = null] = Array.isArray(value) ? value : [];
        const many = Array.from({ length: 1000 }, (_, n) => (n % 10 === 0 ? n : first));
        expect(await unlike([200, 202], [{ how: path.join("."), call: withBody(saved, replaced(body, path, many)) }])).toEqual([]);
        requestsIn(e.take());
      }
    }
  });
});

describe("texts", () => {
  const ODD = [
    "..",
    "../../etc/passwd",
    "a/%2e%2e/b",
    "a%2fb",
    "UPPER/Case",
    "a:",
    "a/",
    "//",
    "registry.example.com:5000/a/b:c@d",
    "[::1]:5000/a",
    "https://registry.example.com/a",
    "javascript:alert(1)",
    "modules/есhо",
    'a\r\n{"level":"error","alarm":"FORGED"}',
    "a\u0000b",
    "a\ufffe",
    "\udc00",
    "$(id)",
    "{{7*7}}",
    "' OR 1=1 --",
    "a".repeat(10_000),
    "A.B-c_d".repeat(30),
    "sha256:short",
    `sha256:${"0".repeat(40)}`,
    `sha512:${"0".repeat(128)}`,
    `SHA256:${"A".repeat(64)}`,
    "latest:latest",
    "t".repeat(129),
    "",
  ];
  it("of every odd kind in every place: names for log injection, paths, hosts, digests, tags", async () => {
    for (const saved of onePush()) {
      const body = json(saved);
      const texts = placesRead(saved).filter(({ value }) => typeof value === "string");
      // every third at each place, and each of them at some: what is left out comes in the fuzz run
      const calls = texts.flatMap(({ path }, nth) =>
        ODD.filter((_, index) => index % 3 === nth % 3).map((by) => ({
          how: `${path.join(".")} = ${by.slice(0, 20)}`,
          call: withBody(saved, replaced(body, path, by)),
        })),
      );
      expect(await unlike([200, 202], calls)).toEqual([]);
      const left = e.take();
      for (const line of left.log) {
        expect(line.trimEnd()).not.toContain("\n");
        expect(JSON.parse(line)).not.toHaveProperty("alarm", "FORGED");
      }
      for (const { module, tag, image } of requestsIn(left)) {
        expect(module).toMatch(/^[a-z0-9](?:[-a-z0-9.]{0,62}[a-z0-9])?$/); // the name of an object, and one segment of its path
        expect(tag + image).toMatch(/^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$/u);
      }
    }
  });

  it("cost no more time than their length: regular expressions of parsers, and of patterns in the configuration", () => {
    const long = ["/", ".:", "@\n", "a@", ":", "-", "a.", "a/", "%2f", "eyJ.", "v2/manifests/"].map(
      (piece) => `a${piece.repeat(100_000 / piece.length)}x`,
    );
    for (const saved of onePush()) {
      const body = json(saved);
      const delivery: DeliveryContext = { headers: saved.delivery.headers, host: saved.delivery.host };
      for (const { path, value } of placesIn(body))
        if (typeof value === "string") for (const by of long) pushesOf(saved.hook.provider, replaced(body, path, by), delivery);
    }
    for (const by of long) {
      for (const glob of ["*a*a*a*b", "*-*-*-*!", "**/**/**/b"]) expect(globMatches(glob, by.slice(0, 10_000))).toBe(false);
      createMatcher(e.config.sources)({
        host: "h",
        repository: by,
        tag: "t",
        digest: null,
        mediaType: null,
        actor: null,
        time: null,
        id: null,
      });
    }
  });
});

describe("proof", () => {
  it("absent, empty, blank, doubled, truncated, longer, of another scheme, secret or body (CVE-2024-21491, CVE-2023-50728, CVE-2026-47673)", async () => {
    for (const hook of e.hooks) {
      const { scheme } = hook;
      if (scheme.kind === "oidc") continue;
      const { body, headers } = bodyFor(hook);
      const unsigned = { headers, rawBody: body, now: NOW };
      const calls = [SECRET, PREVIOUS].flatMap((secret) =>
        spoiled(scheme, secret, prove(scheme, secret, unsigned)).map(({ how, request }) => ({
          how,
          call: { hook: hook.name, pathSecret: request.pathSecret || null, headers: request.headers, body: request.rawBody },
        })),
      );
      expect(await unlike([401], calls)).toEqual([]);
    }
    const { records, letters } = e.take();
    expect([records, letters]).toEqual([[], []]);
  });

  it("of any valid token by the same issuer, and tokens that a library would not write (CVE-2026-40109, CVE-2026-22817, CVE-2026-44459)", async () => {
    const { privateKey: foreign } = await generateKeyPair("RS256");
    for (const hook of hooksBy("oidc")) {
      const claims = e.claimsFor(hook.provider.name);
      const { body, headers } = bodyFor(hook);
      const call = (token: string, scheme = "Bearer"): Call => ({
        hook: hook.name,
        pathSecret: null,
        headers: { ...headers, authorization: `${scheme} ${token}` },
        body,
      });
      const good = await e.sign(claims);
      const none = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
      const tokens = {
        "another audience": await e.sign({ ...claims, aud: "another" }),
        "another issuer": await e.sign({ ...claims, iss: "https://evil.example" }),
        "another e-mail and subject": await e.sign({ ...claims, email: "evil@example.com", sub: "project_path:evil/modules:ref:main" }),
        "an end that is a text": await e.sign({ ...claims, exp: "9999999999" }).catch(() => "x.y.z"),
        "an end that is past": await e.sign({ ...claims, exp: NOW.getTime() / 1000 - 600 }),
        "another key": await e.sign(claims, foreign),
        "algorithm none": `${none({ alg: "none" })}.${none(claims)}.`,
        "its signature cut off": good.slice(0, -4),
        "our secret": SECRET,
      };
      expect(
        await unlike(
          [401],
          Object.entries(tokens).map(([how, token]) => ({ how, call: call(token) })),
        ),
      ).toEqual([]);
      expect(
        await unlike(
          [401],
          ["Basic", "Token", ""].map((how) => ({ how, call: call(good, how) })),
        ),
      ).toEqual([]);
      expect(await unlike([200, 202], [{ how: "genuine", call: call(good) }])).toEqual([]);
    }
  });

  it("comes before parsing: a stranger's body is never read as JSON, nor kept (CVE-2026-42294)", async () => {
    const parse = vi.spyOn(JSON, "parse");
    for (const { name } of e.hooks.filter(({ scheme }) => scheme.kind !== "oidc")) {
      const { status } = await e.send({
        hook: name,
        pathSecret: "wrong",
        headers: { authorization: "Bearer wrong" },
        body: Buffer.from('{"a":'.repeat(1000)),
      });
      expect(status).toBe(401);
    }
    expect(parse).not.toHaveBeenCalled();
    expect(e.take().letters).toEqual([]);
  });

  it("is asked for everywhere: there is no other door (Keel's open route, Kargo's CVE-2026-27111)", async () => {
    const routes = e.app.routes.map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(routes)].toSorted()).toEqual([
      "ALL /hooks/*",
      "GET /healthz",
      "GET /pushes/:key",
      "GET /pushes/:key/:secret",
      "GET /readyz",
      "OPTIONS /hooks/:webhook",
      "OPTIONS /hooks/:webhook/:secret",
      "POST /hooks/:webhook",
      "POST /hooks/:webhook/:secret",
    ]);
    const nothing = e.hooks.map(({ name }) => ({
      how: "without proof",
      call: { hook: name, pathSecret: null, headers: {}, body: Buffer.from("{}") },
    }));
    expect(await unlike([401], nothing)).toEqual([]);
    for (const path of ["/metrics", "/admin", "/dlq", "/api/dlq", "/events", "/hooks", "/hooks/", "/debug/pprof", "/.env"]) {
      const response = await e.app.request(path);
      expect([path, response.status, await response.text()]).toEqual([path, path.startsWith("/hooks") ? 405 : 404, ""]);
    }
  });

  it("holds until its end: the previous secret and a signed time (replay)", async () => {
    const secretHooks = e.hooks.filter(({ scheme }) => scheme.kind !== "oidc");
    const old = secretHooks.map((hook) => ({
      how: "previous secret",
      call: e.genuine(hook, bodyFor(hook).body, bodyFor(hook).headers, PREVIOUS),
    }));
    expect(await unlike([200, 202], old)).toEqual([]);
    e.setNow(PREVIOUS_ENDS);
    expect(await unlike([401], old)).toEqual([]);
    for (const minutes of [-10, 10]) {
      e.setNow(new Date(NOW.getTime() + minutes * 60_000));
      const signed = hooksBy("standard-webhooks").map((hook) => ({
        how: `${minutes} min`,
        call: e.genuine(hook, bodyFor(hook).body, bodyFor(hook).headers),
      }));
      expect(signed).not.toEqual([]);
      expect(await unlike([401], signed)).toEqual([]);
    }
  });
});

describe("comparison", () => {
  it("of a secret takes the same time for every guess: both sides are hashed, in auth.ts and nowhere else (CVE-2022-43411, CVE-2022-43412)", async () => {
    // timingSafeEqual throws for texts of two lengths; hashes have one
    for (const [a, b] of [
      ["secret", "secret"],
      ["secret", "secreT"],
      ["secret", "s"],
      ["secret", ""],
      ["", "x".repeat(100_000)],
    ] as const)
      expect(sameSecret(a, b)).toBe(a === b);
    const src = join(import.meta.dirname, "../src");
    const files = (await readdir(src, { recursive: true })).filter((name) => name.endsWith(".ts"));
    const texts = await Promise.all(files.map(async (name) => ({ name, text: await readFile(join(src, name), "utf8") })));
    const comparing = texts.filter(({ text }) => text.includes("timingSafeEqual")).map(({ name }) => name);
    expect(comparing).toEqual(["auth.ts"]);
    // of what is secret, or proves it, only whether it is there may be asked by a plain comparison
    const plain = /\b(?:secret|given|signature|password|token|credentials|pathSecret)\s*[!=]==?(?!=|\s*(?:undefined\b|null\b|""))/i;
    const odd = texts.flatMap(({ name, text }) =>
      text.split("\n").flatMap((line) => (plain.test(line) ? [`${name}: ${line.trim()}`] : [])),
    );
    expect(odd).toEqual([]);
    expect(['if (secret === "") x', "given === wanted"].map((line) => plain.test(line))).toEqual([false, true]);
  });
});

describe("the consumer's API", () => {
  const status = (code: number, reason: string, message = "no") => ({
    code,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ kind: "Status", status: "Failure", reason, message, code }),
  });
  const network = (text: string) => Object.assign(new Error(`request to https://api failed, reason: ${text}`), { name: "FetchError" });
  const policy = `modulepulloverrides "echo" is forbidden: admission webhook "x.example" denied the request: no`;
  it.each<[string, unknown, string, "waits" | "is buried"]>([
    ["401", { code: 401, headers: {}, body: undefined }, "CLUSTER_UNAUTHORIZED", "waits"],
    ["403 of RBAC", status(403, "Forbidden"), "FORBIDDEN", "waits"],
    ["403 of a policy", status(403, "Forbidden", policy), "FORBIDDEN_BY_POLICY", "is buried"],
    ["404 that names no override", { code: 404, headers: {}, body: "404 page not found" }, "API_VERSION_GONE", "waits"],
    ["409, again and again", status(409, "Conflict"), "CONFLICT", "waits"],
    ["422", status(422, "Invalid"), "INVALID", "is buried"],
    ["429 in plain text", { code: 429, headers: { "retry-after": "7" }, body: "Too many requests" }, "CLUSTER_BUSY", "waits"],
    ["500", status(500, "InternalError"), "CLUSTER_ERROR", "waits"],
    ["a proxy's page", { code: 502, headers: {}, body: "<html>" }, "CLUSTER_ERROR", "waits"],
    ["a success that is no JSON", new SyntaxError("Unexpected token < in JSON"), "CLUSTER_ERROR", "waits"],
    ["a connection reset", network("read ECONNRESET"), "CLUSTER_UNREACHABLE", "waits"],
    ["a connection refused", network("connect ECONNREFUSED 127.0.0.1:6443"), "CLUSTER_UNREACHABLE", "waits"],
    ["no answer in time", Object.assign(new Error("aborted"), { name: "AbortError" }), "CLUSTER_UNREACHABLE", "waits"],
  ])("answers %s: the record is not lost, on a look and on a patch", async (_what, thrown, code, end) => {
    const failed = () => Promise.reject(toClusterError(thrown));
    for (const broken of [{ get: failed }, { annotate: failed }]) {
      const base = fakeContext();
      const { observer, codes } = fakeObserver();
      const settled: string[] = [];
      const queue = {
        acknowledge: async (records: readonly QueueRecord[]) => void settled.push(...records.map(() => "acknowledged")),
        defer: async (moves: readonly unknown[]) => void settled.push(...moves.map(() => "waits")),
        bury: async (_record: QueueRecord, letter: NewDeadLetter) => void settled.push(`is buried ${letter.code}`),
      };
      const overrides = { ...base.cluster.overrides, ...broken, probe: failed };
      const circuit = createCircuit("dev", overrides.probe, observer, toClusterError);
      const refusedSince = new Date().toISOString(); // the first refusal by RBAC is no alarm: a server that has just started refuses everybody
      const record = { id: "1", receipt: "1", body: encode(requestOf({ refusedSince })), receiveCount: 1, sentAt: requestOf().receivedAt };
      await consume([record], { ...base.context, overrides, cluster: "dev", queue, observer, circuit, random: () => 0 });
      expect(settled).toEqual([end === "waits" ? "waits" : `is buried ${code}`]);
      if (code !== "CONFLICT") expect(codes()).toContain(code);
      expect([base.cluster.patches, base.take()]).toEqual([[], []]);
    }
  });
});

describe("storms", () => {
  it("thousands of pushes that are not for us are told in a few lines", async () => {
    const hook = e.hooks.find(({ name }) => name.startsWith("generic-token")) ?? expect.fail();
    const others = Array.from({ length: 400 }, (_, n) => ({
      repository: "elsewhere.example/a/b/c",
      ...(n < 200 ? { digest: `sha256:${"a".repeat(64)}` } : { tag: `t${n}` }),
    }));
    expect((await e.send(e.genuine(hook, Buffer.from(JSON.stringify(others)), {}))).status).toBe(200);
    const lines = e.take().log.map((line) => z.looseObject({ outcome: z.string(), more: z.int().optional() }).parse(JSON.parse(line)));
    expect(lines.map(({ outcome, more }) => [outcome, more])).toEqual([
      ...Array.from({ length: 10 }, () => ["NO_TAG", undefined]),
      ["NO_TAG", 190],
      ["OTHER_REPOSITORY", 200],
    ]);
  });

  it("a delivery many times at once is the same push each time (CVE-2025-55191)", async () => {
    const [single] = onePush();
    for (const saved of onePush()) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => e.send(genuineOf(saved))));
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
      const requests = requestsIn(e.take());
      expect(new Set(requests.map(({ cluster, key }) => `${cluster} ${key}`)).size).toBe(requests.length / 20);
    }
    const all = await Promise.all(e.saved.map((each) => e.send(genuineOf(each))));
    expect(all.every(({ status }) => status === 200 || status === 202)).toBe(true);
    expect(single).toBeDefined();
  });

  it("digests that come out of order, and a worker that dies anywhere, end with the last push (CVE-2026-40886)", async () => {
    for (let seed = 50_000; seed < 50_030; seed++) expect((await play(seed)).findings).toEqual([]);
  });

  it("where no queue takes it nobody is told so: 503, and a stranger still learns nothing", async () => {
    e.setDown(true);
    expect(
      await unlike(
        [503],
        onePush().map((each) => ({ how: "down", call: genuineOf(each) })),
      ),
    ).toEqual([]);
    expect(
      await unlike(
        [401],
        e.hooks.map(({ name }) => ({ how: "down", call: { hook: name, pathSecret: null, headers: {}, body: Buffer.from("{}") } })),
      ),
    ).toEqual([]);
  });
});

describe("what is told", () => {
  it("no URL of a payload is ever called: every delivery with all ways out closed", async () => {
    const refuse = () => {
      throw new Error("no network here");
    };
    const connecting = vi.spyOn(net.Socket.prototype, "connect").mockImplementation(refuse);
    const fetching = vi.spyOn(globalThis, "fetch").mockImplementation(refuse);
    for (const saved of e.saved) {
      const evil = JSON.stringify(json(saved)).replaceAll(/https?:\/\/[^/"\\]+/g, "http://127.0.0.1:9");
      expect(
        await unlike(
          [200, 202],
          [
            { how: saved.title, call: genuineOf(saved) },
            { how: `${saved.title}, other URLs`, call: withBody(saved, evil) },
          ],
        ),
      ).toEqual([]);
    }
    await new Promise((resolve) => setTimeout(resolve, 20)); // nor behind the answer's back
    expect([connecting.mock.calls, fetching.mock.calls]).toEqual([[], []]);
    expect(() => net.connect(9, "127.0.0.1")).toThrow("no network here"); // it would have been seen
  });

  it("no secret, no token and no stack, in any answer, log line, record or letter", async () => {
    const answers: Answered[] = [];
    for (const hook of e.hooks) {
      const { body, headers } = bodyFor(hook);
      const bodies = [
        body,
        Buffer.from("{"),
        Buffer.from('{"events":[{"action":"push","actor":{"user":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.sig"}}]}'),
      ];
      for (const each of bodies) {
        answers.push(await e.send(e.genuine(hook, each, headers)), await e.send(e.genuine(hook, each, headers, PREVIOUS)));
        for (const secret of e.secrets) {
          const misplaced = { authorization: secret, "x-secret": secret, "x-gitea-event": "package", cookie: secret };
          answers.push(await e.send({ hook: hook.name, pathSecret: `${secret}x`, headers: misplaced, body: each }));
          answers.push(await e.send({ hook: secret.slice(0, 60), pathSecret: null, headers: misplaced, body: each }));
        }
      }
    }
    const { log, letters, records } = e.take();
    const said = [
      ...answers.map(({ text }) => text),
      ...log,
      ...letters.map(({ body, text }) => body + text),
      ...records.map(({ body }) => body),
    ];
    expect(said.length).toBeGreaterThan(1000);
    for (const secret of [...e.secrets, "eyJhbGciOiJIUzI1NiJ9"]) expect(said.filter((text) => text.includes(secret))).toEqual([]);
    expect(answers.filter(({ text }) => /\bat .*\.[tj]s:\d|node_modules|Error:/.test(text))).toEqual([]);
  });

  it("a stranger hears nothing of modules, webhooks or versions, and metric labels cannot be made up (Keel)", async () => {
    for (const hook of ["nobody", "__proto__", "constructor", "%2e%2e", "a".repeat(300)]) {
      const answer = await e.send({ hook, pathSecret: null, headers: {}, body: Buffer.from("{}") });
      expect([hook, answer]).toEqual([hook, { status: 404, text: "" }]);
    }
    const lines = e.take().log.map((line) => JSON.parse(line));
    expect(new Set(lines.map(({ webhook: name }) => name))).toEqual(new Set([null]));
  });
});

describe("properties", () => {
  const anySaved = () => fc.constantFrom(...e.saved);
  const anyText = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: fc.constantFrom("a", "B", "/", ":", ".", "@", "%", "://", "443", "é", " ") }),
  );

  test("no parser throws, and no event has an empty repository, whatever JSON and headers come in", () => {
    const headers = fc.dictionary(
      fc.constantFrom("content-type", "ce-type", "ce-id", "x-github-event", "x-gitea-event", "x-nexus-webhook-id"),
      fc.string(),
    );
    fc.assert(
      fc.property(anySaved(), fc.jsonValue({ maxDepth: 4 }), headers, fc.nat(), (saved, value, sent, nth) => {
        const places = placesIn(json(saved));
        const body = places.length === 0 ? value : replaced(json(saved), places[nth % places.length]?.path ?? [], value);
        const { pushes } = pushesOf(saved.hook.provider, body, {
          headers: { ...saved.delivery.headers, ...sent },
          host: saved.delivery.host,
        });
        for (const push of pushes) {
          expect(push.repository).not.toBe("");
          expect(pushEvent.parse(push)).toEqual(push);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("no body makes the decoder throw, of any content type", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.option(anyText, { nil: undefined }), (bytes, type) => {
        expect(typeof decodeBody(bytes, type).ok).toBe("boolean");
      }),
    );
  });

  test("host and repository are normalised once: a second time changes nothing", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const { host, path } = splitReference(text);
        if (host !== null) expect(splitReference(`${host}/${path}`)).toEqual({ host, path });
        const repository = repositoryOf(text);
        expect(repositoryOf(repository)).toBe(repository);
        const place = placeOf(text);
        if (place.host !== null) expect(placeOf(`https://${place.host}/${place.path}`)).toEqual(place);
        const image = splitImage(text);
        if (image.host !== null) expect(splitImage(`${image.host}/${image.path}`).host).toBe(image.host);
      }),
      { numRuns: 2000 },
    );
    for (const { delivery } of e.saved)
      for (const { host, repository } of delivery.events)
        expect([host, repository]).toEqual([splitReference(host).host, repositoryOf(repository)]);
  });

  test(
    "`explain` and the edge agree: of every saved delivery, of the first mutations, and of every proof, good and bad",
    { timeout: HEAVY_MS },
    async () => {
      const folder = await mkdtemp(join(tmpdir(), "mpo-relay-attacks-"));
      const file = join(folder, "body");
      const mutations = Array.from({ length: 60 }, (_, n) => mutated(new Random(n), e).call).filter(
        ({ method, body }) => method === "POST" && body.byteLength < 100_000,
      );
      const proofs = e.hooks.flatMap((hook) => {
        const { body, headers } = bodyFor(hook);
        const good = [SECRET, PREVIOUS].map((secret) => e.genuine(hook, body, headers, secret));
        const bad = e.genuine(hook, body, headers, "another-secret-than-the-webhook's");
        const bearer = { ...good[0], hook: hook.name, pathSecret: null, body, headers: { ...headers, authorization: "Bearer x" } };
        return [...good, hook.scheme.kind === "oidc" ? bearer : bad, { ...bad, headers, pathSecret: null }];
      });
      const written = z.looseObject({ webhooks: z.record(z.string(), z.unknown()) }).parse(JSON.parse(e.env.MPO_RELAY_CONFIG));
      /** With one webhook alone: the whole file is read anew for each. */
      const env = ({ hook, pathSecret }: Call) => ({
        ...e.env,
        MPO_RELAY_CONFIG: JSON.stringify({ ...written, webhooks: { [hook]: written.webhooks[hook] } }),
        PATH_SECRET: pathSecret ?? "",
      });
      const seen = new Map<number, number>();
      try {
        for (const call of [...e.saved.map(genuineOf), ...mutations, ...proofs]) {
          const { hook, headers, body, pathSecret } = call;
          const { status, text } = await e.send({ hook, headers, body, pathSecret });
          const requests = requestsIn(e.take()).map(({ kind, cluster, module, tag, digest, key }) => ({
            kind,
            cluster,
            module,
            tag,
            digest,
            key,
          }));
          if (status === 404) continue;
          seen.set(status, (seen.get(status) ?? 0) + 1);
          await writeFile(file, body);
          const flags = Object.entries(headers).flatMap(([name, value]) => ["--header", `${name}: ${value}`]);
          const path = pathSecret === null ? [] : ["--path-secret", "env:PATH_SECRET"];
          const said = await mpoRelay(["explain", "--webhook", hook, "--body", file, "--json", ...path, ...flags], env(call), NOW);
          expect([said.exitCode, said.err.includes("not authenticated: ")]).toEqual([0, status === 401]);
          expect(e.secrets.filter((secret) => said.err.includes(secret) || said.out.includes(secret))).toEqual([]);
          const explained = JSON.parse(said.out);
          expect([explained.answer.status, JSON.stringify(explained.answer.body) ?? ""]).toEqual([status, text]);
          expect(explained.requests).toEqual(expect.arrayContaining(requests));
          expect(explained.requests).toHaveLength(requests.length);
        }
      } finally {
        await rm(folder, { recursive: true });
      }
      expect(seen.get(401)).toBeGreaterThanOrEqual(2 * e.hooks.length);
      expect(seen.get(202)).toBeGreaterThanOrEqual(e.hooks.length);
    },
  );

  test("the first 300 executions of the fuzz run (`npm run fuzz` for more)", async () => {
    const wrong: string[] = [];
    for (let execution = 0; execution < 300; execution++) {
      const mutation = mutated(new Random(execution), e);
      const answered = await e.send(mutation.call);
      wrong.push(...wrongWith(mutation, answered, e.take(), e).map((what) => `${execution}, ${mutation.title}: ${what}`));
    }
    expect(wrong).toEqual([]);
  });

  test("understanding is pure: the same delivery at the same time comes to the same", () => {
    for (const { hook, delivery } of e.saved) {
      const configured = e.config.webhooks[hook.name] ?? expect.fail();
      const [first, again] = [0, 1].map(() =>
        understand({ webhook: hook.name, headers: delivery.headers, body: delivery.body }, configured, e.config, NOW),
      );
      expect(again).toEqual(first);
    }
  });
});

function lambdaEvent(path: string, headers: Record<string, string>, body: string) {
  const http = { method: "POST", path, protocol: "HTTP/1.1", sourceIp: "127.0.0.1", userAgent: "test" };
  const place = {
    accountId: "anonymous",
    apiId: "u",
    domainName: "relay.example.com",
    domainPrefix: "relay",
    routeKey: "$default",
    stage: "$default",
  };
  const requestContext = {
    ...place,
    authentication: null,
    authorizer: {},
    http,
    requestId: "r",
    time: "24/Nov/2026:12:00:00 +0000",
    timeEpoch: 0,
  };
  const base = { version: "2.0", routeKey: "$default", rawPath: path, rawQueryString: "", headers, requestContext };
  return { ...base, body: Buffer.from(body).toString("base64"), isBase64Encoded: true };
}

/** A whole Node edge with an open webhook, on a port of its own. */
async function withRelay(use: (port: number) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "mpo-relay-attacks-"));
  const queue = { kind: "embedded", folder } as const;
  const config = configOf({
    webhooks: { open: { ...webhook, secret: null, insecure: true } },
    clusters: { dev: clusterOf(queue) },
    unparsed: queue,
  });
  const relay = await startRelay({ config, observer: fakeObserver().observer, roles: ["edge"] });
  try {
    await use(relay.port ?? 0);
  } finally {
    await relay.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What comes back for these bytes, up to the first line's end and whatever else comes with it. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => undefined); // closed while we still write
  socket.write(bytes);
  const [first] = await once(socket, "data");
  socket.destroy();
  return String(first);
}
