/** The registry look-up: against the sandbox's registry, and a server with a token service that answers as registries do. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import type { RegistryAccess, SourceConfig } from "../src/config.ts";
import { RelayError } from "../src/outcome.ts";
import { createRegistry } from "../src/registries.ts";
import type { HttpAnswer } from "../src/registry/http.ts";
import { OciRegistry } from "../src/registry/oci.ts";
import type { Place } from "../src/registry/place.ts";
import { source } from "./support/relay.ts";

const digestOf = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;
const manifest = JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json" });
const child = digestOf("the child");
const index = JSON.stringify({
  manifests: [
    { digest: digestOf("arm"), platform: { os: "linux", architecture: "arm64" } },
    { digest: child, platform: { os: "linux", architecture: "amd64" } },
  ],
});
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";

const servers: Server[] = [];
afterEach(() => servers.splice(0).forEach((server) => server.close()));

async function listen(answer: (request: IncomingMessage, response: ServerResponse, host: string) => void) {
  const server = createServer((request, response) => answer(request, response, host));
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  const host = `127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  return host;
}

interface Options {
  readonly tags?: Readonly<Record<string, { type: string; body: string; nameless?: true; silentHead?: true }>>;
  readonly challenge?: (host: string) => string;
  /** What Authorization the registry takes. */
  readonly takes?: string;
  readonly status?: number;
}

/** Keeps what it was asked. */
async function registryWith({ tags = { main: { type: OCI_MANIFEST, body: manifest } }, challenge, takes, status }: Options = {}) {
  const asked: string[] = [];
  const host = await listen((request, response, own) => {
    const url = new URL(request.url ?? "", `http://${own}`);
    asked.push(`${request.method} ${url.pathname}${url.search} ${request.headers.authorization ?? "-"}`);
    if (status !== undefined) return response.writeHead(status).end();
    if (url.pathname === "/token") {
      const isKnown = request.headers.authorization === undefined || request.headers.authorization === `Basic ${btoa("robot:pass:word")}`;
      return isKnown ? response.end(JSON.stringify({ token: "t1", expires_in: 300 })) : response.writeHead(401).end();
    }
    if (takes !== undefined && request.headers.authorization !== takes) {
      return response.writeHead(401, { "www-authenticate": challenge?.(own) ?? `Basic realm="r"` }).end();
    }
    const reference = decodeURIComponent(url.pathname.split("/manifests/")[1] ?? "");
    const found = tags[reference] ?? Object.values(tags).find(({ body }) => digestOf(body) === reference);
    if (!found) return response.writeHead(404).end();
    const named = found.nameless ? {} : { "docker-content-digest": digestOf(found.body) };
    const typed = found.silentHead && request.method === "HEAD" ? {} : { "content-type": found.type };
    response.writeHead(200, { ...typed, ...named });
    return response.end(request.method === "HEAD" ? undefined : found.body);
  });
  return { host, asked };
}

const anonymous: RegistryAccess = { username: null, password: null, dockerConfig: null, ca: null, plainHttp: true };
function lookUp(host: string, access: Partial<RegistryAccess> | null = {}, part: Partial<SourceConfig> = {}, secret = "pass:word") {
  const own = { ...source, repo: `${host}/modules`, registry: access && { ...anonymous, ...access }, ...part };
  const registry = createRegistry([own], async () => secret);
  return (tag = "main", place = own.repo) => registry.resolve({ image: `${place}/echo:${tag}`, module: "echo", tag });
}
const bearer = (host: string) => `Bearer realm="http://${host}/token",service="registry.example",scope="repository:modules/echo:pull"`;

describe("what a tag names", () => {
  it("is one HEAD where the registry names the digest", async () => {
    const { host, asked } = await registryWith();
    expect(await lookUp(host)()).toEqual({ digest: digestOf(manifest), image: digestOf(manifest) });
    expect(asked).toEqual(["HEAD /v2/modules/echo/manifests/main -"]);
  });

  it("is what the bytes say where the registry does not", async () => {
    const { host } = await registryWith({ tags: { main: { type: OCI_MANIFEST, body: manifest, nameless: true } } });
    expect(await lookUp(host)()).toEqual({ digest: digestOf(manifest), image: digestOf(manifest) });
  });

  it("is looked at where a HEAD does not say of what kind it is: it may be an index", async () => {
    const { host, asked } = await registryWith({ tags: { main: { type: OCI_INDEX, body: index, silentHead: true } } });
    expect(await lookUp(host)()).toEqual({ digest: digestOf(index), image: child });
    expect(asked.map((each) => each.split(" ")[0])).toEqual(["HEAD", "GET"]);
  });

  it("is the manifest for linux/amd64 where it is an index, as Deckhouse shows it", async () => {
    const { host } = await registryWith({ tags: { main: { type: `${OCI_INDEX}; charset=utf-8`, body: index } } });
    expect(await lookUp(host)()).toEqual({ digest: digestOf(index), image: child });
    for (const platform of [{}, { platform: null }]) {
      const bare = JSON.stringify({ manifests: [{ digest: digestOf("any"), ...platform }, ...JSON.parse(index).manifests] });
      const unsaid = await registryWith({ tags: { main: { type: OCI_INDEX, body: bare } } });
      expect(await lookUp(unsaid.host)()).toEqual({ digest: digestOf(bare), image: digestOf("any") }); // what says nothing counts as that
    }
    const without = await registryWith({ tags: { main: { type: OCI_INDEX, body: JSON.stringify({ manifests: [] }) } } });
    await expect(lookUp(without.host)()).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining("linux/amd64"),
    });
  });

  it("is nothing where the tag is not there, the image is no source's, or its source names no registry", async () => {
    const { host, asked } = await registryWith();
    expect(await lookUp(host)("gone")).toBeNull();
    expect(await lookUp(host)("main", "elsewhere.example.com/modules")).toBeNull();
    expect(await lookUp(host, null)()).toBeNull();
    expect(asked).toHaveLength(1);
  });

  it("is asked at the source's own repository, whichever name the push had", async () => {
    const { host, asked } = await registryWith();
    const resolve = lookUp(host, {}, { aliases: ["alias.example.com/m"] });
    expect(await resolve("main", "alias.example.com/m")).not.toBeNull();
    expect(asked).toHaveLength(1);
  });
});

describe("a registry that wants to know who asks", () => {
  it("gets a token, anonymously or for the user, which is kept", async () => {
    for (const access of [{}, { username: "robot", password: { kind: "env", name: "P" } as const }]) {
      const { host, asked } = await registryWith({ challenge: bearer, takes: "Bearer t1" });
      const resolve = lookUp(host, access);
      await resolve();
      await resolve();
      const proof = access.username === undefined ? "-" : `Basic ${btoa("robot:pass:word")}`;
      expect(asked).toEqual([
        "HEAD /v2/modules/echo/manifests/main -",
        `GET /token?service=registry.example&scope=repository%3Amodules%2Fecho%3Apull ${proof}`,
        "HEAD /v2/modules/echo/manifests/main Bearer t1",
        "HEAD /v2/modules/echo/manifests/main Bearer t1",
      ]);
    }
  });

  it("gets user and password, from the configuration or a docker config", async () => {
    const takes = `Basic ${btoa("robot:pass:word")}`;
    const { host } = await registryWith({ takes });
    expect(await lookUp(host, { username: "robot", password: { kind: "env", name: "P" } })()).not.toBeNull();
    const dockerConfig = { kind: "env", name: "D" } as const;
    const auths = (name: string, entry: object) => JSON.stringify({ auths: { "other.example.com": {}, [name]: entry } });
    for (const text of [
      auths(host, { auth: btoa("robot:pass:word") }),
      auths(`https://${host}/v2/`, { username: "robot", password: "pass:word" }),
      auths(`${host}/modules`, { auth: btoa("robot:pass:word") }),
    ]) {
      expect(await lookUp(host, { dockerConfig }, {}, text)()).not.toBeNull();
    }
    const other = lookUp(host, { dockerConfig }, {}, auths(`${host}/mod`, { auth: btoa("robot:pass:word") }));
    await expect(other()).rejects.toMatchObject({ message: expect.stringContaining("the configuration has none") });
  });

  it.each([
    ["a wrong password", { challenge: bearer, takes: "Bearer t1" }, { username: "robot", password: { kind: "env", name: "P" } }, "wrong"],
    ["a token that is not taken", { challenge: bearer, takes: "Bearer another" }, {}, "x"],
    ["a token service in the clear", { challenge: () => 'Bearer realm="ftp://x/token"', takes: "Bearer t1" }, {}, "x"],
    ["a server error", { status: 502 }, {}, "x"],
    ["a redirect, which is not followed", { status: 307 }, {}, "x"],
    ["too many requests", { status: 429 }, {}, "x"],
  ] as const)("is told of %s, and no secret is in it", async (_what, options, access, secret) => {
    const { host } = await registryWith(options);
    const error: unknown = await lookUp(host, access, {}, secret)().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "REGISTRY_UNAVAILABLE", message: expect.stringMatching(/./) });
    expect(String(error)).not.toContain(secret === "x" ? "t1" : secret);
  });

  it("is told where nobody answers, and an answer without end is cut off", async () => {
    const gone = await registryWith();
    servers.splice(0).forEach((server) => server.close());
    await expect(lookUp(gone.host)()).rejects.toMatchObject({
      code: "REGISTRY_UNAVAILABLE",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    const endless = await listen((request, response) => {
      response.writeHead(200, { "content-type": OCI_INDEX });
      if (request.method === "HEAD") return void response.end();
      const more = (): void => void (response.write(Buffer.alloc(1024 * 1024)) ? setImmediate(more) : response.once("drain", more));
      response.on("close", () => response.destroy());
      more();
    });
    await expect(lookUp(endless)()).rejects.toMatchObject({ code: "REGISTRY_UNAVAILABLE", message: expect.stringContaining("too large") });
  });
});

describe("a registry is left alone", () => {
  const place = (repository: string): Place => ({ repository, plainHttp: true, ca: null, credential: { username: "u", password: "p" } });
  /** Answers by a table of `METHOD path` and keeps what it was asked; time stands still until it is moved. */
  function scripted(answerTo: (path: string, authorization: string | undefined, url: URL) => Partial<HttpAnswer> & { status: number }) {
    const asked: string[] = [];
    let now = Date.UTC(2026, 10, 24);
    const registry = new OciRegistry(
      async ({ url, headers }) => {
        asked.push(`${url.host}${url.pathname}`);
        return { headers: {}, body: Buffer.alloc(0), ...answerTo(url.pathname, headers["authorization"], url) };
      },
      () => now,
    );
    const why = (repository: string) =>
      registry.resolve(place(repository), "main").then(
        () => null,
        (error: unknown) => (error instanceof RelayError ? { message: error.message, seconds: error.retryAfterSeconds } : error),
      );
    return { registry, asked, why, pass: (seconds: number) => (now += seconds * 1000) };
  }
  const found = { status: 200, headers: { "content-type": OCI_MANIFEST, "docker-content-digest": digestOf("x") } };

  it.each([
    ["seconds", "120", 120],
    ["a date", new Date(Date.UTC(2026, 10, 24, 0, 5)).toUTCString(), 300],
    ["nothing that can be read", "soon", 60],
    ["weeks, which are an hour", "9999999", 3600],
  ])("as long as its Retry-After says: %s", async (_what, retryAfter, seconds) => {
    const { asked, why, pass } = scripted(() => ({ status: 429, headers: { "retry-after": retryAfter } }));
    expect(await why("r.example/m/a")).toEqual({ message: "r.example: it answers 429, too many requests", seconds });
    pass(seconds - 1);
    expect(await why("r.example/other/b")).toEqual({ message: "r.example: it answers 429, too many requests", seconds: 1 });
    expect(asked).toHaveLength(1);
    pass(1);
    await why("r.example/m/a");
    expect(asked).toHaveLength(2);
  });

  it("where it refuses a credential: by this source alone, and other sources go on", async () => {
    const { asked, why } = scripted((path) =>
      path.startsWith("/v2/m/") ? { status: 401, headers: { "www-authenticate": "Basic" } } : found,
    );
    expect(await why("r.example/m/a")).toEqual({ message: "r.example: it refuses the credential (401)", seconds: 60 });
    expect(await why("r.example/m/b")).toMatchObject({ seconds: 60 });
    expect(await why("r.example/other/b")).toBeNull();
    expect(asked.filter((each) => each.includes("/m/"))).toEqual(Array(2).fill("r.example/v2/m/a/manifests/main"));
  });

  it("but not where it refuses one repository, or one image is not for linux/amd64", async () => {
    const { why } = scripted((path) => {
      if (path.includes("/closed/")) return { status: 403 };
      return path.includes("/arm/")
        ? { status: 200, headers: { "content-type": OCI_INDEX }, body: Buffer.from('{"manifests":[]}') }
        : found;
    });
    expect(await why("r.example/m/closed")).toMatchObject({ seconds: null });
    expect(await why("r.example/m/arm")).toMatchObject({ seconds: null });
    expect(await why("r.example/m/a")).toBeNull();
  });

  it.each([400, 404, 405, 406, 410, 500])("nor where it answers %d to one image", async (status) => {
    const { why } = scripted((path) => (path.includes("/odd/") ? { status } : found));
    await why("r.example/m/odd");
    expect(await why("r.example/m/a")).toBeNull();
  });

  it.each(["feature/new", "../../other/manifests/main", "main?x=1", "main#1", "-main", "m".repeat(129)])(
    "nor is it asked for what no tag can be: %s",
    async (tag) => {
      const { registry, asked } = scripted(() => ({ status: 400 }));
      expect(await registry.resolve(place("r.example/m/a"), tag)).toBeNull();
      expect(asked).toEqual([]);
    },
  );

  it.each([
    [401, "it refuses the credential (401)"],
    [429, "it answers 429, too many requests"],
    [503, "it answers 503"],
  ])("and still knows that it answered %d while it does not ask", async (status, what) => {
    const { registry, asked } = scripted(() => ({ status, headers: { "www-authenticate": "Basic" } }));
    const failed = () => registry.resolve(place("r.example/m/a"), "main").catch((thrown: unknown) => thrown);
    const first = await failed();
    expect(first).toMatchObject({ code: "REGISTRY_UNAVAILABLE", status, message: `r.example: ${what}`, retryAfterSeconds: 60 });
    const count = asked.length;
    expect(await failed()).toEqual(first);
    expect(asked).toHaveLength(count);
  });

  it.each([301, 408, 421, 429, 502, 503])("while it answers %d", async (status) => {
    const { why } = scripted(() => ({ status }));
    expect(await why("r.example/m/a")).toMatchObject({ seconds: 60 });
  });

  it("with tokens that are over: one question for many repositories, and one by one where such a token is not taken", async () => {
    for (const takesShared of [true, false]) {
      const { registry, asked, pass } = scripted((path, authorization, url) => {
        if (path === "/token") {
          const scopes = url.searchParams.getAll("scope");
          return { status: 200, body: Buffer.from(JSON.stringify({ token: scopes.join("+"), expires_in: 100 })) };
        }
        const scope = `repository:${path.slice("/v2/".length).replace(/\/manifests.*/, "")}:pull`;
        const isTaken = takesShared ? authorization?.includes(scope) : authorization === `Bearer ${scope}`;
        return isTaken ? found : { status: 401, headers: { "www-authenticate": 'Bearer realm="http://r.example/token",service="s"' } };
      });
      const all = Array.from({ length: 50 }, (_, n) => `r.example/m/module-${n}`);
      const sweep = () => Promise.all(all.map((repository) => registry.resolve(place(repository), "main")));
      const rounds: number[] = [];
      for (let round = 0; round < 3; round++) {
        expect(await sweep()).toEqual(all.map(() => ({ digest: digestOf("x"), image: digestOf("x") })));
        rounds.push(asked.splice(0).length);
        pass(300);
      }
      // HEAD, token, HEAD at first; then a HEAD each, and a token for twenty of them at a time
      expect(rounds).toEqual(takesShared ? [150, 53, 53] : [150, 153, 100]);
    }
  });
});
