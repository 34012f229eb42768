import * as fc from "fast-check";
import { createHash } from "node:crypto";
import { brotliCompressSync, brotliDecompressSync, constants, deflateSync, gunzipSync, gzipSync, inflateSync } from "node:zlib";
import { handle } from "hono/aws-lambda";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createApp } from "../src/app.ts";
import { decode } from "../src/event.ts";
import { createLimiter } from "../src/limiter.ts";
import { logTo, toAll } from "../src/observe.ts";
import { RelayError } from "../src/outcome.ts";
import type { NewEntry, Wanted } from "../src/journal/journal.ts";
import { tellPush } from "../src/pushes.ts";
import type { NewDeadLetter, NewRecord } from "../src/queue/queue.ts";
import { receive } from "../src/receive.ts";
import { storedDelivery } from "../src/unparsed.ts";
import { configOf, digestOf, fakeObserver, source, start, webhook } from "./support/relay.ts";

const SECRETS: Record<string, string> = { SECRET: "correct-horse-battery", OLD: "former-horse-battery" };
const AUTH = { authorization: `Bearer ${SECRETS["SECRET"]}` };

/** An edge over fakes of its ports, and everything that it stored and said. */
const hash = (text: string) => createHash("sha256").update(text).digest("hex");

function edge(options: { down?: boolean; noUnparsed?: boolean; now?: () => Date; rescan?: boolean } = {}) {
  const stored: { cluster: string; record: NewRecord }[] = [];
  const letters: NewDeadLetter[] = [];
  const text: string[] = [];
  const observed = fakeObserver();
  const config = configOf({
    webhooks: {
      registry: webhook,
      rotating: { ...webhook, previousSecret: { kind: "env", name: "OLD" }, previousSecretUntil: "2026-12-31T00:00:00.000Z" },
      harbor: { ...webhook, provider: "harbor" },
      nexus: { ...webhook, provider: "nexus", host: "registry.example.com", secret: null, insecure: true },
      small: { ...webhook, maxBody: 100 },
      open: { ...webhook, secret: null, insecure: true },
      "needs-host": { ...webhook, provider: "generic", auth: "token" },
    },
    sources: [{ ...source, clusters: ["dev", "stage"], rescan: options.rescan ?? false }],
  });
  const notes: NewEntry[] = [];
  const journal = {
    read: async ({ key }: Wanted) => notes.filter((each) => each.key === key).map((each) => ({ ...each, last: each.at, times: 1 })),
  };
  const context = {
    config,
    readSecret: async (ref: { kind: string; name?: string }) => SECRETS[ref.name ?? ""] ?? "",
    async store(records: ReadonlyMap<string, readonly NewRecord[]>) {
      if (options.down) throw new RelayError("QUEUE_UNAVAILABLE", "connection refused");
      for (const [cluster, batch] of records) stored.push(...batch.map((record) => ({ cluster, record })));
    },
    async storeUnparsed(letter: NewDeadLetter) {
      if (options.down || options.noUnparsed) throw new RelayError("QUEUE_UNAVAILABLE", "disk full");
      return letters.push(letter) > 0;
    },
    async note(entries: readonly NewEntry[]) {
      notes.push(...entries);
    },
    observer: toAll(observed.observer, logTo({ write: (line) => void text.push(line) })),
    now: options.now ?? (() => start),
  };
  const isTooMany = createLimiter(3);
  const app = createApp({
    config,
    observer: context.observer,
    receive: (delivery) => receive(delivery, context),
    tellPush: (question) => tellPush(question, { ...context, journal }),
    async ready() {
      if (options.down) throw new RelayError("QUEUE_UNAVAILABLE", "connection refused");
    },
    tooMany: () => isTooMany("127.0.0.1"),
  });
  const post = async (body: unknown, headers: Record<string, string> = AUTH, path = "/hooks/registry") => {
    const sent = Buffer.isBuffer(body) ? new Uint8Array(body) : typeof body === "string" ? body : JSON.stringify(body);
    const response = await app.request(path, { method: "POST", body: sent, headers });
    const answer = await response.text();
    return { status: response.status, headers: response.headers, text: answer, json: answer === "" ? null : JSON.parse(answer) };
  };
  return { app, config, post, notes, stored, letters, text, ...observed };
}

const event = (part: Record<string, unknown> = {}, target: Record<string, unknown> = {}) => ({
  id: "e1",
  timestamp: "2026-11-24T11:59:59.5Z",
  action: "push",
  target: {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: digestOf("a"),
    repository: "deckhouse/modules/echo",
    tag: "main",
    url: `https://registry.example.com/v2/deckhouse/modules/echo/manifests/${digestOf("a")}`,
    ...target,
  },
  request: { host: "registry.example.com" },
  actor: { name: "ci" },
  ...part,
});

describe("a push", () => {
  it("is written down only once it is stored, and its story is at the place that the answer names", async () => {
    const e = edge();
    const answer = await e.post({ events: [event()] });
    expect(answer.headers.get("location")).toBe(`/pushes/${answer.json.key}`);
    expect(e.notes.map(({ stage, cluster }) => `${stage} ${cluster}`)).toEqual(["QUEUED dev", "QUEUED stage"]);
    const down = edge({ down: true });
    await down.post({ events: [event()] });
    expect(down.notes).toEqual([]);

    const ask = (path: string, headers: Record<string, string> = AUTH) => e.app.request(path, { headers });
    const told = await ask(`/pushes/${answer.json.key}`);
    expect({ status: told.status, cache: told.headers.get("cache-control") }).toEqual({ status: 200, cache: "no-store" });
    expect(await told.json()).toMatchObject({ key: answer.json.key, applied: null, clusters: [{ cluster: "dev", outcome: "QUEUED" }, {}] });
    for (const [path, headers, status] of [
      [`/pushes/${answer.json.key}`, {}, 401],
      ["/pushes/0000000000000000", AUTH, 404],
      ["/pushes/", AUTH, 404],
    ] as const) {
      const refused = await ask(path, headers);
      expect({ status: refused.status, body: await refused.text() }).toEqual({ status, body: "" });
    }
    expect((await ask(`/pushes/${answer.json.key}`, {})).status).toBe(401);
    expect((await ask(`/pushes/${answer.json.key}`, {})).status).toBe(401);
    expect((await ask(`/pushes/${answer.json.key}`, {})).status).toBe(429);
    expect((await ask(`/pushes/${answer.json.key}`)).status).toBe(200);
  });

  it("to a release channel waits a moment for others like it; without rescans it is not for us", async () => {
    const channel = event({}, { repository: "deckhouse/modules/echo/release", tag: "alpha" });
    const e = edge({ rescan: true });
    expect(await e.post({ events: [channel] })).toMatchObject({ status: 202 });
    expect(e.stored).toMatchObject([
      { cluster: "dev", record: { delaySeconds: 5 } },
      { cluster: "stage", record: { delaySeconds: 5 } },
    ]);
    const [first] = e.stored.map(({ record }) => decode(record.body));
    expect(first).toMatchObject({ request: { kind: "rescan", module: "echo", source: "test", tag: "alpha" } });
    const off = edge();
    expect(await off.post({ events: [channel] })).toMatchObject({ status: 200, json: { decision: "skipped", reason: "RESCAN_OFF" } });
    expect(off.stored).toEqual([]);
  });

  it("waits a second for its tag, where the registry tells of it first", async () => {
    const e = edge();
    expect(await e.post({ events: [event()] })).toMatchObject({ status: 202 });
    expect(e.stored.map(({ record }) => record.delaySeconds)).toEqual([1, 1]);
    const nexus = edge();
    const component = { format: "docker", name: "deckhouse/modules/echo", version: "main" };
    expect(await nexus.post({ action: "CREATED", component }, {}, "/hooks/nexus")).toMatchObject({ status: 202 });
    expect(nexus.stored.map(({ record }) => record.delaySeconds)).toEqual([1, 1]);
    const after = edge();
    const resources = [{ digest: digestOf("a"), tag: "main", resource_url: "registry.example.com/deckhouse/modules/echo:main" }];
    const body = { type: "PUSH_ARTIFACT", event_data: { resources, repository: { repo_full_name: "deckhouse/modules/echo" } } };
    expect(await after.post(body, AUTH, "/hooks/harbor")).toMatchObject({ status: 202 });
    expect(after.stored.map(({ record }) => record.delaySeconds)).toEqual([undefined, undefined]);
  });

  it("is stored for every cluster that wants it, then answered 202 with its key", async () => {
    const e = edge();
    const answer = await e.post({ events: [event()] });
    expect(answer).toMatchObject({ status: 202, json: { decision: "queued", reason: null, key: expect.stringMatching(/^[0-9a-f]{32}$/) } });
    expect(e.stored.map(({ cluster }) => cluster)).toEqual(["dev", "stage"]);
    expect(e.stored.map(({ record }) => decode(record.body))).toMatchObject([
      {
        request: {
          cluster: "dev",
          module: "echo",
          tag: "main",
          digest: digestOf("a"),
          key: answer.json.key,
          pushedAt: "2026-11-24T11:59:59.500Z",
        },
      },
      { request: { cluster: "stage" } },
    ]);
    expect(e.outcomes()).toEqual(["QUEUED", "QUEUED"]);
  });

  it("has the same key when it is delivered again", async () => {
    const e = edge();
    const [first, again] = [await e.post({ events: [event()] }), await e.post({ events: [event()] })];
    expect(again.json.key).toBe(first.json.key);
  });

  it("lets good pushes through beside a bad one, which is kept raw", async () => {
    const e = edge();
    const answer = await e.post({ events: [event(), event({ id: "e2" }, { digest: 7 }), event({ id: "e3" }, { tag: "dev" })] });
    expect(answer.status).toBe(202);
    expect(e.stored).toHaveLength(4);
    expect(e.letters).toMatchObject([{ code: "UNPARSED", text: expect.stringContaining("[1]") }]);
  });

  it("is refused with 503 when its queue does not take it, and nothing is claimed", async () => {
    const e = edge({ down: true });
    const answer = await e.post({ events: [event()] });
    expect(answer).toMatchObject({ status: 503, json: { decision: "failed", key: null } });
    expect(answer.headers.get("retry-after")).toBe("5");
    expect(e.codes()).toEqual(["QUEUE_UNAVAILABLE"]);
    expect((await e.app.request("/readyz")).status).toBe(503);
  });

  it("is refused when only its bad sibling could not be kept", async () => {
    const e = edge({ noUnparsed: true });
    expect((await e.post({ events: [event(), event({ id: "e2" }, { digest: 7 })] })).status).toBe(503);
  });
});

describe("what is not for us is answered 200 with its reason", () => {
  it.each([
    ["an empty list", { events: [] }, "NOT_A_PUSH"],
    ["a pull", { events: [event({ action: "pull" })] }, "NOT_A_PUSH"],
    ["a delete", { events: [event({ action: "delete" })] }, "NOT_A_PUSH"],
    ["a mount", { events: [event({ action: "mount" })] }, "NOT_A_PUSH"],
    ["a blob", { events: [event({}, { mediaType: "application/octet-stream", tag: undefined })] }, "NOT_A_PUSH"],
    ["a push by digest alone", { events: [event({}, { tag: undefined })] }, "NO_TAG"],
    ["another repository", { events: [event({}, { repository: "library/nginx" })] }, "OTHER_REPOSITORY"],
    ["werf's bookkeeping", { events: [event({}, { tag: "0".repeat(56) })] }, "NOISE_TAG"],
  ])("%s", async (_, body, reason) => {
    const e = edge();
    expect(await e.post(body)).toMatchObject({ status: 200, json: { decision: "skipped", reason, key: null } });
    expect([e.stored, e.letters, e.alarms]).toEqual([[], [], []]);
    expect(e.outcomes()).toEqual([reason]);
  });

  it("an unknown host, with the source it looks like", async () => {
    const e = edge();
    const answer = await e.post({ events: [event({}, { url: "https://mirror.example/v2/x" })] });
    expect(answer).toMatchObject({ status: 200, json: { reason: "UNKNOWN_HOST", hint: expect.stringContaining(source.repo) } });
  });
});

describe("who is not authenticated learns nothing", () => {
  it.each([
    ["no header", {}],
    ["an empty one", { authorization: "" }],
    ["another secret", { authorization: "Bearer wrong-horse-battery" }],
    ["a truncated one", { authorization: `Bearer ${SECRETS["SECRET"]?.slice(0, -1)}` }],
    ["a longer one", { authorization: `Bearer ${SECRETS["SECRET"]}x` }],
    ["one sent twice", { authorization: `Bearer ${SECRETS["SECRET"]}, Bearer ${SECRETS["SECRET"]}` }],
    ["another scheme", { authorization: `Basic ${Buffer.from(`x:${SECRETS["SECRET"]}`).toString("base64")}` }],
    ["the previous secret of another webhook", { authorization: `Bearer ${SECRETS["OLD"]}` }],
  ])("%s", async (_, headers) => {
    const e = edge();
    expect(await e.post("{ this is not parsed", headers)).toMatchObject({ status: 401, text: "" });
    expect([e.stored, e.letters]).toEqual([[], []]);
  });

  it("nor from 404, 405 and what lies beside the hooks", async () => {
    const e = edge();
    expect(await e.post({}, AUTH, "/hooks/nobody")).toMatchObject({ status: 404, text: "" });
    expect(await e.post({}, AUTH, "/hooks/__proto__")).toMatchObject({ status: 404, text: "" });
    expect(await e.post({}, AUTH, "/elsewhere")).toMatchObject({ status: 404, text: "" });
    const get = await e.app.request("/hooks/registry");
    expect([get.status, get.headers.get("allow"), await get.text()]).toEqual([405, "POST", ""]);
  });

  it("and gets 429 after too many tries, while a good secret still gets in", async () => {
    const e = edge();
    const statuses: number[] = [];
    for (let n = 0; n < 5; n++) statuses.push((await e.post({}, {})).status);
    expect(statuses).toEqual([401, 401, 401, 429, 429]);
    expect((await e.post({ events: [event()] })).status).toBe(202);
  });

  it("is let in without a secret only where the configuration says so", async () => {
    expect((await edge().post({ events: [event()] }, {}, "/hooks/open")).status).toBe(202);
  });
});

describe("rotation", () => {
  const old = { authorization: `Bearer ${SECRETS["OLD"]}` };
  it("takes the previous secret too, and tells that it is still in use", async () => {
    const e = edge();
    expect((await e.post({ events: [event()] }, old, "/hooks/rotating")).status).toBe(202);
    expect(e.codes()).toEqual(["OLD_SECRET"]);
  });
  it("until its end", async () => {
    const e = edge({ now: () => new Date("2027-01-01T00:00:00Z") });
    expect((await e.post({ events: [event()] }, old, "/hooks/rotating")).status).toBe(401);
  });
});

describe("size", () => {
  const large = "x".repeat(1024 * 1024 + 1);
  it("is counted in bytes that came, whatever Content-Length says", async () => {
    const e = edge();
    expect((await e.post(large)).status).toBe(413);
    expect((await e.post(large, { ...AUTH, "content-length": "5" })).status).toBe(413);
    expect((await e.post("é".repeat(51), AUTH, "/hooks/small")).status).toBe(413);
    expect((await e.post("x".repeat(100), AUTH, "/hooks/small")).status).toBe(202); // not JSON: kept raw
  });

  it("is counted in a stream without a length", async () => {
    const e = edge();
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024)), // without end
    });
    const request = new Request("http://relay/hooks/registry", { method: "POST", body, headers: AUTH, duplex: "half" });
    expect((await e.app.fetch(request)).status).toBe(413);
  });

  it("is counted after base64 in Lambda", async () => {
    const e = edge();
    const send = async (text: string) =>
      handle(e.app)({
        version: "2.0",
        routeKey: "$default",
        rawPath: "/hooks/registry",
        rawQueryString: "",
        headers: AUTH,
        body: Buffer.from(text).toString("base64"),
        isBase64Encoded: true,
        requestContext: lambdaRequest,
      });
    expect(await send(large)).toMatchObject({ statusCode: 413 });
    expect(await send(JSON.stringify({ events: [event()] }))).toMatchObject({ statusCode: 202 });
  });
});
const lambdaRequest = {
  accountId: "anonymous",
  apiId: "u",
  authentication: null,
  authorizer: {},
  domainName: "relay.example.com",
  domainPrefix: "relay",
  http: { method: "POST", path: "/hooks/registry", protocol: "HTTP/1.1", sourceIp: "127.0.0.1", userAgent: "test" },
  requestId: "r",
  routeKey: "$default",
  stage: "$default",
  time: "24/Nov/2026:12:00:00 +0000",
  timeEpoch: 0,
};

describe("authenticated, and not readable: kept raw and answered 202", () => {
  const deep = `${"[".repeat(10_000)}${"]".repeat(10_000)}`;
  it.each([
    ["no JSON", "{"],
    ["no UTF-8", Buffer.from([0xff, 0xfe, 0x00]).toString("latin1")],
    ["a list", "[]"],
    ["null", "null"],
    ["an object without its list", "{}"],
    ["depth 10,000", deep],
    ["depth 10,000 inside", `{"events":[${deep}]}`],
    ["a prototype for events", `{"events":[{"__proto__":{"action":"push"}}]}`],
    ["U+FFFE in a name", JSON.stringify({ events: [event({}, { repository: "deckhouse/modules/e\ufffe" })] })],
    ["a lone surrogate in a tag", JSON.stringify({ events: [event({}, { tag: "a\ud800" })] })],
  ])("%s", async (_, body) => {
    const e = edge();
    expect(await e.post(body)).toMatchObject({ status: 202, json: { decision: "unparsed", reason: "UNPARSED", key: null } });
    expect(e.codes()).toEqual(["UNPARSED"]);
    expect(e.letters).toHaveLength(1);
    expect(e.letters[0]?.body).toMatch(/^[\x20-\x7e]*$/);
    expect(storedDelivery(e.letters[0]?.body ?? "")).toMatchObject({ webhook: "registry", body: Buffer.from(body) });
  });

  it("null or a wrong type in any field is never an error of ours", async () => {
    const paths = (value: unknown): string[][] =>
      typeof value === "object" && value !== null
        ? Object.entries(value).flatMap(([key, inner]) => [[key], ...paths(inner).map((rest) => [key, ...rest])])
        : [];
    const spoil = (value: unknown, [head, ...rest]: string[], by: unknown): unknown => {
      if (head === undefined || typeof value !== "object" || value === null) return by;
      const copy = Array.isArray(value) ? [...value] : { ...value };
      Reflect.set(copy, head, spoil(Reflect.get(value, head), rest, by));
      return copy;
    };
    const e = edge();
    for (const path of paths({ events: [event()] })) {
      for (const by of [null, 7, true, [], {}, "", "x".repeat(5000)]) {
        const { status } = await e.post(spoil({ events: [event()] }, path, by));
        expect([200, 202], `${path.join(".")} = ${JSON.stringify(by).slice(0, 20)}`).toContain(status);
      }
    }
  });

  it("any JSON at all to any webhook is 200 or 202", async () => {
    const e = edge();
    await fc.assert(
      fc.asyncProperty(fc.json(), fc.constantFrom("/hooks/registry", "/hooks/harbor", "/hooks/needs-host"), async (json, path) => {
        expect([200, 202]).toContain((await e.post(json, AUTH, path)).status);
      }),
    );
  });

  it("keeps headers that tell the format, and never authentication", async () => {
    const e = edge();
    await e.post("{", { ...AUTH, "content-type": "text/x", "x-gitea-event": "package", cookie: "c", "x-hub-signature-256": "sha256=abc" });
    expect(storedDelivery(e.letters[0]?.body ?? "")?.headers).toEqual({ "content-type": "text/x", "x-gitea-event": "package" });
  });

  describe("a token in a packed body", () => {
    const token = `eyJhbGciOiJSUzI1NiJ9.${hash("claims")}.${hash("signature")}`;
    const plain = Buffer.from(JSON.stringify({ events: [{ ...event(), actor: { user: token } }] }));
    const gzip = gzipSync(plain);
    const name = Buffer.concat([gzip.subarray(0, 3), Buffer.from([8]), gzip.subarray(4, 10), Buffer.from(`${token}\0`), gzip.subarray(10)]);
    const ALL = { finishFlush: constants.Z_SYNC_FLUSH }; // what is there of a packing that is cut off
    /** Whatever anybody can make of a letter, by all means at hand. */
    const readings = (bytes: Buffer) =>
      [
        (each: Buffer) => each,
        (each: Buffer) => gunzipSync(each, ALL),
        (each: Buffer) => inflateSync(each, ALL),
        brotliDecompressSync,
      ].flatMap((unpack) => {
        try {
          return [unpack(bytes).toString("latin1").replaceAll("\0", "")];
        } catch {
          return [];
        }
      });

    it.each([
      ["gzip", gzip, { "content-encoding": "gzip" }],
      ["gzip that no header names", gzip, {}],
      ["gzip with the token as its file's name", name, {}],
      ["deflate", deflateSync(plain), { "content-encoding": "deflate" }],
      ["br", brotliCompressSync(plain), { "content-encoding": "BR" }],
      ["UTF-16", Buffer.from(plain.toString(), "utf16le"), {}],
      ["UTF-16 of the other order, in gzip", gzipSync(Buffer.from(plain.toString(), "utf16le").swap16()), {}],
    ])("%s: it is taken out, and the rest kept in the same packing", async (_, body, headers) => {
      expect(readings(body).join()).toContain(token);
      const e = edge();
      expect(await e.post(body, { ...AUTH, ...headers })).toMatchObject({ status: 202, json: { decision: "unparsed" } });
      const kept = Buffer.from(storedDelivery(e.letters[0]?.body ?? "")?.body ?? "");
      expect(readings(kept).join()).not.toContain(token);
      expect(readings(kept).join()).toMatch(/\{.*\}/);
      expect(body.equals(kept)).toBe(false);
    });

    it.each([
      ["cut off", gzip.subarray(0, -20), {}],
      ["with more behind it", Buffer.concat([gzipSync("{}"), Buffer.from(token)]), {}],
      ["packed twice", gzipSync(gzip), {}],
      ["of an unknown coding", deflateSync(plain), { "content-encoding": "zstd" }],
      ["unpacked, larger than anybody sends", gzipSync(Buffer.concat([plain, Buffer.alloc(17 * 1024 ** 2)])), {}],
    ])("%s: it is not kept, and the sender is told", async (_, body, headers) => {
      const e = edge();
      expect(await e.post(body, { ...AUTH, ...headers })).toMatchObject({ status: 413, json: { reason: "TOO_LARGE" } });
      expect(e.letters).toEqual([]);
      expect(e.codes()).toEqual(["TOO_LARGE"]);
    });

    it("text stays what it is, whatever its header says", async () => {
      const e = edge();
      expect(await e.post("{", { ...AUTH, "content-encoding": "utf-8" })).toMatchObject({ status: 202 });
      expect(storedDelivery(e.letters[0]?.body ?? "")?.body).toEqual(Buffer.from("{"));
    });
  });

  it("keeps a large body whole, packed: a thousand pushes, of which those behind the 500th are not read", async () => {
    const e = edge();
    const events = Array.from({ length: 1000 }, (_, n) => event({ id: `e${n}` }, { digest: `sha256:${hash(String(n))}`, size: n }));
    const body = JSON.stringify({ events, padding: "x".repeat(500_000) });
    expect(await e.post(body)).toMatchObject({ status: 202, json: { decision: "queued" } });
    expect(e.stored).toHaveLength(2 * 500);
    const letter = e.letters[0]?.body ?? "";
    expect(letter.length).toBeLessThan(200 * 1024);
    expect(Buffer.from(body).equals(storedDelivery(letter)?.body ?? Buffer.alloc(0))).toBe(true);
  });

  it("refuses with 413 and an alarm what it cannot keep whole, and queues the pushes in it that it can read", async () => {
    const noise = Array.from({ length: 5000 }, (_, n) => hash(`noise ${n}`)).join("");
    const e = edge();
    expect(await e.post(noise)).toMatchObject({ status: 413, json: { decision: "refused", reason: "TOO_LARGE", key: null } });
    expect(await e.post({ events: [event(), event({ id: "e2" }, { digest: 7 })], noise })).toMatchObject({ status: 413 });
    expect(e.letters).toEqual([]);
    expect(e.stored).toHaveLength(2);
    expect(e.alarms.map(({ code }) => code)).toEqual(["TOO_LARGE", "TOO_LARGE"]);
  });
});

describe("a body that is not taken", () => {
  it("over its webhook's limit is told with the webhook and the limit", async () => {
    const e = edge();
    expect(await e.post({ events: [event()] }, AUTH, "/hooks/small")).toMatchObject({ status: 413, json: { reason: "TOO_LARGE" } });
    expect(e.outcomes()).toEqual(["TOO_LARGE"]);
    expect(JSON.parse(e.text[0] ?? "")).toMatchObject({ event: "delivery", webhook: "small", why: expect.stringContaining("100 bytes") });
    expect(e.codes()).toEqual(["TOO_LARGE"]);
  });

  it("over the limit of a webhook that nobody configured is told without its name, which may be a secret", async () => {
    const e = edge();
    expect((await e.post("x".repeat(2 * 1024 ** 2), AUTH, `/hooks/${SECRETS["SECRET"]}`)).status).toBe(413);
    expect(e.outcomes()).toEqual(["TOO_LARGE"]);
    expect(JSON.parse(e.text[0] ?? "")).toMatchObject({ webhook: null });
    expect(e.text.join()).not.toContain(SECRETS["SECRET"]);
  });
});

describe("what gets into the log", () => {
  it("is never a secret, whoever calls with what", async () => {
    const e = edge();
    const all = Object.values(SECRETS);
    const bodies = [{ events: [event()] }, "{", { events: [] }, { events: [event({}, { tag: 3 })] }];
    const paths = ["/hooks/registry", "/hooks/rotating", "/hooks/harbor", `/hooks/registry/${all[0]}`, `/hooks/${all[0]}`, `/${all[0]}`];
    const headers = all.flatMap((secret) => [{ authorization: `Bearer ${secret}` }, { authorization: secret }, { "x-secret": secret }]);
    for (const path of paths) for (const body of bodies) for (const header of headers) await e.post(body, header, path);
    expect(e.text.length).toBeGreaterThan(50);
    for (const line of e.text) for (const secret of all) expect(line).not.toContain(secret);
    for (const letter of e.letters) for (const secret of all) expect(letter.body).not.toContain(secret);
  });

  it("is one JSON line per outcome, with the key", async () => {
    const e = edge();
    const { json } = await e.post({ events: [event()] });
    expect(e.text.map((line) => JSON.parse(line))).toMatchObject([
      { level: "info", event: "delivery", outcome: "QUEUED", key: json.key, webhook: "registry", cluster: "dev" },
      { outcome: "QUEUED", key: json.key, cluster: "stage" },
    ]);
  });
});

it("readyz makes the queues work once a second, however many strangers ask", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const looks: string[] = [];
  const { config } = edge();
  const app = createApp({
    config,
    observer: fakeObserver().observer,
    receive: async () => expect.unreachable("nobody delivers"),
    ready: async () => {
      if (looks.push("look") > 1) throw new RelayError("QUEUE_UNAVAILABLE", "disk full");
    },
  });
  const ask = async () => (await app.request("/readyz")).status;
  expect([await ask(), await ask(), ...(await Promise.all([ask(), ask()]))]).toEqual([200, 200, 200, 200]);
  expect(looks).toHaveLength(1);
  vi.advanceTimersByTime(1000);
  expect([await ask(), await ask()]).toEqual([503, 503]);
  expect(looks).toHaveLength(2);
});

it("healthz is up as long as the process is", async () => {
  expect((await edge({ down: true }).app.request("/healthz")).status).toBe(200);
});

it("what nobody foresaw is a 503 that the log tells and the metrics count, and not in silence", async () => {
  const { observer, lines, alarms } = fakeObserver();
  const config = configOf();
  const receiving = () => Promise.reject(new TypeError("cannot read properties of undefined"));
  const app = createApp({ config, observer, receive: receiving, ready: async () => {} });
  const response = await app.request("/hooks/registry", { method: "POST", body: "{}" });
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(lines).toEqual([
    { event: "delivery", outcome: "INTERNAL", webhook: "registry", why: "TypeError: cannot read properties of undefined" },
  ]);
  expect(alarms).toMatchObject([{ code: "INTERNAL", webhook: "registry" }]);
});
