/** The registry look-up: against the sandbox's registry, and a server with a token service that answers as registries do. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { createRegistry } from "../src/registries.ts";
import type { RegistryAccess, SourceConfig } from "../src/config.ts";
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
  readonly tags?: Readonly<Record<string, { type: string; body: string; nameless?: true }>>;
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
    response.writeHead(200, { "content-type": found.type, ...named });
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

  it("is the manifest for linux/amd64 where it is an index, as Deckhouse shows it", async () => {
    const { host } = await registryWith({ tags: { main: { type: `${OCI_INDEX}; charset=utf-8`, body: index } } });
    expect(await lookUp(host)()).toEqual({ digest: digestOf(index), image: child });
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
