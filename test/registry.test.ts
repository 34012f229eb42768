import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { forwardFromIpv6, listenOnLoopback, reservePort } from "../src/sandbox/loopback.ts";
import { pushImage, resolveDigest } from "../src/sandbox/registry-client.ts";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from "../src/sandbox/registry-manifest.ts";
import type { Limits } from "../src/sandbox/registry-store.ts";
import { type Registry, startRegistry } from "../src/sandbox/registry.ts";
import { until } from "./support/wait.ts";

/** Long enough for a busy machine; nothing waits this long where it works. */

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function registry(options: { limits?: Partial<Limits>; notify?: { url: string; token: string; backoffMs?: number } } = {}) {
  const started = await startRegistry({ port: 0, notify: options.notify ?? null, log: () => undefined, limits: options.limits ?? {} });
  cleanups.push(() => started.close());
  return started;
}

const sha = (bytes: Buffer | string, algorithm = "sha256") => `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
const errorsSchema = z.object({ errors: z.array(z.object({ code: z.string(), message: z.string() })) });
const code = async (response: Response) => errorsSchema.parse(await response.json()).errors[0]?.code;
const call = (at: Registry, method: string, path: string, body?: Buffer | string, headers: Record<string, string> = {}) =>
  fetch(`${at.url}/v2/${path}`, { method, headers, ...(body === undefined ? {} : { body: new Uint8Array(Buffer.from(body)) }) });

async function putBlob(at: Registry, name: string, content: string, digest = sha(content)) {
  return call(at, "POST", `${name}/blobs/uploads/?digest=${digest}`, content);
}
/** A manifest over blobs that are pushed along. */
async function putImage(at: Registry, name: string, reference: string, { mediaType = OCI_MANIFEST, layer = "layer" } = {}) {
  await putBlob(at, name, "{}");
  await putBlob(at, name, layer);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType,
    config: { mediaType: "c", digest: sha("{}"), size: 2 },
    layers: [{ mediaType: "l", digest: sha(layer), size: layer.length }],
  });
  const response = await call(at, "PUT", `${name}/manifests/${reference}`, manifest, { "content-type": mediaType });
  return { response, manifest, digest: sha(manifest) };
}

describe("blobs", () => {
  it("takes a monolithic upload by one POST and gives the blob back whole, by range and by HEAD", async () => {
    const at = await registry();
    const digest = sha("0123456789");
    const pushed = await putBlob(at, "a/b", "0123456789");
    expect(pushed.status).toBe(201);
    expect(pushed.headers.get("docker-content-digest")).toBe(digest);
    expect(pushed.headers.get("location")).toBe(`/v2/a/b/blobs/${digest}`);

    const whole = await call(at, "GET", `a/b/blobs/${digest}`);
    expect([whole.status, await whole.text()]).toEqual([200, "0123456789"]);
    const head = await call(at, "HEAD", `a/b/blobs/${digest}`);
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "10", ""]);
    for (const [range, status, text, contentRange] of [
      ["bytes=2-4", 206, "234", "bytes 2-4/10"],
      ["bytes=7-", 206, "789", "bytes 7-9/10"],
      ["bytes=-2", 206, "89", "bytes 8-9/10"],
      ["bytes=8-99", 206, "89", "bytes 8-9/10"],
    ] as const) {
      const part = await call(at, "GET", `a/b/blobs/${digest}`, undefined, { range });
      expect([part.status, await part.text(), part.headers.get("content-range")]).toEqual([status, text, contentRange]);
    }
    expect((await call(at, "GET", `a/b/blobs/${digest}`, undefined, { range: "bytes=10-" })).status).toBe(416);
  });

  it("takes an upload in chunks, says how far it is, and refuses a chunk out of order", async () => {
    const at = await registry();
    const started = await call(at, "POST", "a/blobs/uploads/");
    expect(started.status).toBe(202);
    const location = (started.headers.get("location") ?? "").slice("/v2/".length);
    const first = await call(at, "PATCH", location, "hello", { "content-range": "0-4" });
    expect([first.status, first.headers.get("range")]).toEqual([202, "0-4"]);
    const wrong = await call(at, "PATCH", location, "!", { "content-range": "9-9" });
    expect([wrong.status, wrong.headers.get("range"), await code(wrong)]).toEqual([416, "0-4", "RANGE_INVALID"]);
    const status = await call(at, "GET", location);
    expect([status.status, status.headers.get("range")]).toEqual([204, "0-4"]);
    const finished = await call(at, "PUT", `${location}?digest=${sha("hello, world")}`, ", world");
    expect(finished.status).toBe(201);
    expect(await (await call(at, "GET", `a/blobs/${sha("hello, world")}`)).text()).toBe("hello, world");
    expect(await code(await call(at, "PATCH", location, "more"))).toBe("BLOB_UPLOAD_UNKNOWN");
  });

  it("checks the digest of every upload, sha256 and sha512, and forgets what does not match", async () => {
    const at = await registry();
    const wrong = await putBlob(at, "a", "content", sha("other"));
    expect([wrong.status, await code(wrong)]).toEqual([400, "DIGEST_INVALID"]);
    expect((await call(at, "HEAD", `a/blobs/${sha("content")}`)).status).toBe(404);
    expect((await putBlob(at, "a", "content", sha("content", "sha512"))).status).toBe(201);
    expect((await putBlob(at, "a", "content", "md5:abc")).status).toBe(400);
    const missing = await call(at, "POST", "a/blobs/uploads/");
    expect(await code(await call(at, "PUT", (missing.headers.get("location") ?? "").slice(4), "x"))).toBe("DIGEST_INVALID");
  });

  it("mounts a blob from another repository, and starts an upload where there is none to mount", async () => {
    const at = await registry();
    await putBlob(at, "from", "shared");
    const digest = sha("shared");
    expect((await call(at, "HEAD", `to/blobs/${digest}`)).status).toBe(404);
    expect((await call(at, "POST", `to/blobs/uploads/?mount=${digest}&from=from`)).status).toBe(201);
    expect((await call(at, "HEAD", `to/blobs/${digest}`)).status).toBe(200);
    expect((await call(at, "POST", `to/blobs/uploads/?mount=${sha("absent")}&from=from`)).status).toBe(202);
    expect((await call(at, "DELETE", `to/blobs/${digest}`)).status).toBe(202);
    expect((await call(at, "DELETE", `to/blobs/${digest}`)).status).toBe(404);
    expect((await call(at, "HEAD", `from/blobs/${digest}`)).status).toBe(200);
  });

  it("cancels an upload", async () => {
    const at = await registry();
    const location = ((await call(at, "POST", "a/blobs/uploads/")).headers.get("location") ?? "").slice(4);
    expect((await call(at, "DELETE", location)).status).toBe(204);
    expect((await call(at, "GET", location)).status).toBe(404);
  });
});

describe("manifests and tags", () => {
  it.each([OCI_MANIFEST, DOCKER_MANIFEST])("stores %s byte for byte, by tag and by digest", async (mediaType) => {
    const at = await registry();
    const { response, manifest, digest } = await putImage(at, "a/b", "v1", { mediaType });
    expect([response.status, response.headers.get("docker-content-digest")]).toEqual([201, digest]);
    for (const reference of ["v1", digest]) {
      const got = await call(at, "GET", `a/b/manifests/${reference}`);
      expect([got.status, got.headers.get("content-type"), await got.text()]).toEqual([200, mediaType, manifest]);
    }
    const head = await call(at, "HEAD", "a/b/manifests/v1");
    expect([head.headers.get("docker-content-digest"), head.headers.get("content-length")]).toEqual([digest, String(manifest.length)]);
    expect(at.resolve("a/b", "v1")).toBe(digest);
    expect(at.resolve("a/b", "v2")).toBeNull();
  });

  it.each([
    [OCI_INDEX, OCI_MANIFEST],
    [DOCKER_LIST, DOCKER_MANIFEST],
  ])("takes %s once its children are there", async (mediaType, childType) => {
    const at = await registry();
    const list = (digest: string) =>
      JSON.stringify({
        schemaVersion: 2,
        mediaType,
        manifests: [{ mediaType: childType, digest, size: 1, platform: { os: "linux", architecture: "amd64" } }],
      });
    const early = await call(at, "PUT", "a/manifests/multi", list(sha("absent")), { "content-type": mediaType });
    expect([early.status, await code(early)]).toEqual([400, "MANIFEST_BLOB_UNKNOWN"]);
    const child = await putImage(at, "a", "child", { mediaType: childType });
    expect((await call(at, "PUT", "a/manifests/multi", list(child.digest), { "content-type": mediaType })).status).toBe(201);
    expect(at.resolve("a", "multi")).toBe(sha(list(child.digest)));
  });

  it("refuses what is no manifest, of an unknown type, with missing blobs or another digest", async () => {
    const at = await registry();
    const put = (body: string, contentType = OCI_MANIFEST, reference = "v1") =>
      call(at, "PUT", `a/manifests/${reference}`, body, { "content-type": contentType });
    expect(await code(await put("not json"))).toBe("MANIFEST_INVALID");
    expect(await code(await put("null"))).toBe("MANIFEST_INVALID");
    expect(await code(await put('{"config":{},"layers":[]}'))).toBe("MANIFEST_INVALID");
    expect(await code(await put("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws"))).toBe("MANIFEST_INVALID");
    const image = JSON.stringify({ mediaType: OCI_MANIFEST, config: { digest: sha("{}") }, layers: [] });
    expect(await code(await put(image))).toBe("MANIFEST_BLOB_UNKNOWN");
    expect(await code(await put(image, DOCKER_MANIFEST))).toBe("MANIFEST_INVALID");
    await putBlob(at, "a", "{}");
    expect(await code(await put(image, OCI_MANIFEST, sha("other")))).toBe("DIGEST_INVALID");
    expect(await code(await put(image, OCI_MANIFEST, "sha256:12"))).toBe("DIGEST_INVALID");
    expect(await code(await put(image, OCI_MANIFEST, "-tag"))).toBe("TAG_INVALID");
    expect((await put(image)).status).toBe(201);
  });

  it("lists tags in order and in pages, and repositories", async () => {
    const at = await registry();
    for (const tag of ["b", "c", "a"]) await putImage(at, "x/y", tag);
    expect(await (await call(at, "GET", "x/y/tags/list")).json()).toEqual({ name: "x/y", tags: ["a", "b", "c"] });
    const page = await call(at, "GET", "x/y/tags/list?n=2");
    expect(await page.json()).toEqual({ name: "x/y", tags: ["a", "b"] });
    expect(page.headers.get("link")).toBe('</v2/x/y/tags/list?n=2&last=b>; rel="next"');
    const last = await call(at, "GET", "x/y/tags/list?n=2&last=b");
    expect([last.headers.get("link"), await last.json()]).toEqual([null, { name: "x/y", tags: ["c"] }]);
    expect(await code(await call(at, "GET", "nobody/tags/list"))).toBe("NAME_UNKNOWN");
    expect(await (await call(at, "GET", "_catalog")).json()).toEqual({ repositories: ["x/y"] });
  });

  it("deletes a tag alone, and a digest with its tags", async () => {
    const at = await registry();
    const { digest } = await putImage(at, "a", "v1");
    await putImage(at, "a", "v2");
    expect((await call(at, "DELETE", "a/manifests/v1")).status).toBe(202);
    expect([at.resolve("a", "v1"), at.resolve("a", "v2"), at.resolve("a", digest)]).toEqual([null, digest, digest]);
    expect((await call(at, "DELETE", `a/manifests/${digest}`)).status).toBe(202);
    expect([at.resolve("a", "v2"), at.resolve("a", digest)]).toEqual([null, null]);
    expect(await code(await call(at, "DELETE", "a/manifests/v2"))).toBe("MANIFEST_UNKNOWN");
  });

  it("answers the version check, and what it does not know, with the API's errors", async () => {
    const at = await registry();
    const version = await call(at, "GET", "");
    expect([version.status, version.headers.get("docker-distribution-api-version")]).toEqual([200, "registry/2.0"]);
    expect(await code(await call(at, "GET", "UPPER/manifests/v1"))).toBe("NAME_INVALID");
    expect(await code(await call(at, "GET", "a/manifests/%zz"))).toBe("NAME_INVALID");
    expect(await code(await call(at, "GET", "a/manifests/v1"))).toBe("MANIFEST_UNKNOWN");
    expect(await code(await call(at, "GET", `a/blobs/${sha("x")}`))).toBe("BLOB_UNKNOWN");
    expect((await call(at, "GET", `a/referrers/${sha("x")}`)).status).toBe(404);
    const method = await call(at, "POST", "a/manifests/v1", "x");
    expect([method.status, await code(method)]).toEqual([405, "UNSUPPORTED"]);
  });
});

describe("bounds", () => {
  it("refuses a blob that is too large, and reads it to its end so that the client learns why", async () => {
    const at = await registry({ limits: { blob: 1000 } });
    const large = await putBlob(at, "a", "x".repeat(3_000_000));
    expect([large.status, await code(large)]).toEqual([413, "SIZE_INVALID"]);
    expect((await putBlob(at, "a", "x".repeat(1000))).status).toBe(201);
  });

  it("counts the chunks of one upload together", async () => {
    const at = await registry({ limits: { blob: 10 } });
    const location = ((await call(at, "POST", "a/blobs/uploads/")).headers.get("location") ?? "").slice(4);
    expect((await call(at, "PATCH", location, "12345678")).status).toBe(202);
    expect((await call(at, "PATCH", location, "12345678")).status).toBe(413);
    expect((await call(at, "GET", location)).status).toBe(404);
  });

  it("refuses a manifest that is too large", async () => {
    const at = await registry({ limits: { manifest: 100 } });
    expect((await putImage(at, "a", "v1")).response.status).toBe(413);
  });

  it("forgets untagged images first, and refuses only when the tagged ones fill it", async () => {
    const at = await registry({ limits: { total: 2_000 } });
    const [one, two, three] = ["1".repeat(600), "2".repeat(600), "3".repeat(600)];
    await putImage(at, "a", "main", { layer: one });
    await putImage(at, "a", "main", { layer: two }); // the tag moves away from the first
    expect((await putImage(at, "a", "main", { layer: three })).response.status).toBe(201);
    expect((await call(at, "HEAD", `a/blobs/${sha(one)}`)).status).toBe(404);
    expect((await call(at, "HEAD", `a/blobs/${sha(three)}`)).status).toBe(200);
    await putImage(at, "a", "other", { layer: "4".repeat(600) });
    const full = await putBlob(at, "a", "5".repeat(900));
    expect([full.status, await code(full)]).toEqual([413, "SIZE_INVALID"]);
    expect(at.resolve("a", "main")).not.toBeNull();
  });

  it("lets the oldest of too many open uploads go", async () => {
    const at = await registry({ limits: { uploads: 2 } });
    const locations: string[] = [];
    for (let i = 0; i < 3; i++) locations.push(((await call(at, "POST", "a/blobs/uploads/")).headers.get("location") ?? "").slice(4));
    const states = await Promise.all(locations.map(async (location) => (await call(at, "GET", location)).status));
    expect(states).toEqual([404, 204, 204]);
  });

  it("survives a client that goes away in the middle of a blob", async () => {
    const at = await registry();
    const location = (await call(at, "POST", "a/blobs/uploads/")).headers.get("location") ?? "";
    const cut = httpRequest(`${at.url}${location}`, { method: "PATCH", headers: { "content-length": "1000" } });
    cut.on("error", () => undefined);
    await new Promise((resolve) => cut.write("part", resolve));
    cut.destroy();
    expect((await putBlob(at, "a", "next")).status).toBe(201);
  });
});

interface Delivery {
  headers: Record<string, unknown>;
  events: z.infer<typeof envelope>["events"];
}
const target = z.looseObject({ mediaType: z.string(), repository: z.string(), digest: z.string(), tag: z.string().optional() });
const envelope = z.object({ events: z.array(z.looseObject({ id: z.string(), action: z.string(), target })) });

/** A receiver that answers with the next of `answers`, then 202, and keeps all that it was sent. */
async function sink(answers: number[] = []) {
  const deliveries: Delivery[] = [];
  let open = 0;
  let most = 0;
  const server = createServer((request, response) => {
    most = Math.max(most, ++open);
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      deliveries.push({ headers: request.headers, ...envelope.parse(JSON.parse(Buffer.concat(chunks).toString("utf8"))) });
      open -= 1;
      response.writeHead(answers.shift() ?? 202).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => {
    server.closeAllConnections();
    await once(server.close(), "close");
  });
  const { port } = z.object({ port: z.number() }).parse(server.address() satisfies AddressInfo | string | null);
  return {
    url: `http://127.0.0.1:${port}/hooks/sandbox`,
    deliveries,
    mostAtOnce: () => most,
    line: () => deliveries.map(({ events: [event] }) => `${event?.action} ${event?.target.tag ?? event?.target.mediaType}`),
  };
}

describe("notifications", () => {
  it("have the shape and the content type of a captured body of Distribution 3.1.2", async () => {
    const to = await sink();
    const at = await registry({ notify: { url: to.url, token: "hush" } });
    const { digest } = await putImage(at, "demo/app", "v1");
    await until(() => to.deliveries.length).toBe(3);
    const [event] = to.deliveries[2]?.events ?? [];
    const captured = z.object({ body: envelope }).parse({
      body: JSON.parse(await readFile(new URL("fixtures/distribution/push-tagged-manifest-3.1.2.body", import.meta.url), "utf8")),
    });
    expect(keysOf(event)).toEqual(keysOf(captured.body.events[0]));
    expect(event).toMatchObject({ action: "push", target: { mediaType: OCI_MANIFEST, digest, repository: "demo/app", tag: "v1" } });
    expect(event).toMatchObject({ request: { host: `localhost:${at.port}`, method: "PUT" } });
    expect(to.deliveries[2]?.headers).toMatchObject({
      "content-type": "application/vnd.docker.distribution.events.v2+json",
      authorization: "Bearer hush",
    });
  });

  it("tell of pushes, pulls, mounts and deletes, one event a POST, in order, one in flight", async () => {
    const to = await sink();
    const at = await registry({ notify: { url: to.url, token: "t" } });
    const { digest } = await putImage(at, "a", "v1");
    await call(at, "GET", "a/manifests/v1");
    await call(at, "HEAD", `a/manifests/${digest}`);
    await call(at, "POST", `b/blobs/uploads/?mount=${sha("{}")}&from=a`);
    await call(at, "PUT", `a/manifests/${digest}`, await (await call(at, "GET", "a/manifests/v1")).text(), {
      "content-type": OCI_MANIFEST,
    });
    await call(at, "DELETE", "a/manifests/v1");
    const blob = "push application/octet-stream";
    const all = [
      blob,
      blob,
      "push v1",
      "pull v1",
      `pull ${OCI_MANIFEST}`,
      "mount application/octet-stream",
      "pull v1",
      `push ${OCI_MANIFEST}`,
      "delete v1",
    ];
    await until(to.line).toEqual(all);
    expect(to.deliveries.every(({ events }) => events.length === 1)).toBe(true);
    expect(to.mostAtOnce()).toBe(1);
    expect(new Set(to.deliveries.map(({ events }) => events[0]?.id)).size).toBe(all.length);
  });

  it("come again until one is taken, the first before all later ones", async () => {
    const to = await sink([401, 500, 503, 301, 404]);
    const at = await registry({ notify: { url: to.url, token: "t", backoffMs: 1 } });
    await putBlob(at, "a", "blob");
    await call(at, "PUT", "a/manifests/v1", JSON.stringify({ config: { digest: sha("blob") }, layers: [] }), {
      "content-type": OCI_MANIFEST,
    });
    await until(to.line).toEqual([...Array<string>(6).fill("push application/octet-stream"), "push v1"]);
    expect(new Set(to.deliveries.slice(0, 6).map(({ events }) => events[0]?.id)).size).toBe(1);
  });

  it("wait for a receiver that is not there yet, and do not hold the registry's end up", async () => {
    const gone = await reservePort(0);
    await gone.close();
    const at = await registry({ notify: { url: `http://127.0.0.1:${gone.port}/`, token: "t", backoffMs: 60_000 } });
    expect((await putImage(at, "a", "v1")).response.status).toBe(201);
    await at.close();
    await expect(fetch(at.url)).rejects.toThrow();
  });
});

/** Every path of an object, so that two shapes can be compared; `references` is an option of the real one. */
function keysOf(value: unknown, path = ""): string[] {
  const object = z.record(z.string(), z.unknown()).safeParse(value);
  if (!object.success) return [path];
  return Object.entries(object.data)
    .filter(([key]) => key !== "references")
    .flatMap(([key, inner]) => (key === "actor" ? [`${path}.actor`] : keysOf(inner, `${path}.${key}`)))
    .toSorted();
}

describe("the client", () => {
  it("pushes an image that is new each time, and resolves tags as Deckhouse does", async () => {
    const at = await registry();
    const first = await pushImage(at.url, "deckhouse/modules/echo", "main");
    const second = await pushImage(at.url, "deckhouse/modules/echo", "main");
    expect(second).not.toBe(first);
    expect(at.resolve("deckhouse/modules/echo", "main")).toBe(second);
    expect(await resolveDigest(`localhost:${at.port}/deckhouse/modules/echo`, "main", "http")).toBe(second);
  });

  it("follows an index to its linux/amd64 child", async () => {
    const at = await registry();
    const index = await pushImage(at.url, "a/b", "multi", { index: true });
    const child = await resolveDigest(`localhost:${at.port}/a/b`, "multi", "http");
    expect(child).not.toBe(index);
    expect(at.resolve("a/b", child)).toBe(child);
  });

  it("rejects in the registry's words, and where nobody listens", async () => {
    const at = await registry();
    const repo = `localhost:${at.port}/a/b`;
    await expect(resolveDigest(repo, "none", "http")).rejects.toThrow(
      `GET http://${repo.replace("/", "/v2/")}/manifests/none: MANIFEST_UNKNOWN: manifest unknown`,
    );
    await at.close();
    await expect(resolveDigest(repo, "none", "http")).rejects.toThrow(/^Get "http:.*": .*ECONNREFUSED/);
  });
});

describe("listening", () => {
  it("takes another port for both addresses where one of them is taken", async () => {
    const taken = createTcpServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = z.object({ port: z.number() }).parse(taken.address());
    cleanups.push(async () => void (await once(taken.close(), "close")));
    const started = await startRegistry({ port, notify: null, log: () => undefined });
    cleanups.push(() => started.close());
    expect([started.moved, started.port !== port]).toEqual([true, true]);
    expect((await fetch(`http://127.0.0.1:${started.port}/v2/`)).status).toBe(200);
    const reserved = await reservePort(port);
    cleanups.push(reserved.close);
    expect(reserved.moved).toBe(true);
  });

  it("answers IPv6 clients for a server that has IPv4 alone, and ends with connections open", async () => {
    const probe = await listenOnLoopback(() => createTcpServer(), 0);
    await probe.close();
    const server = createTcpServer((socket) => void socket.pipe(socket)).listen(probe.port, "127.0.0.1");
    await once(server, "listening");
    const stop = await forwardFromIpv6(probe.port);
    const client = connect(probe.port, "localhost");
    await once(client, "connect");
    client.write("echo");
    const [answer] = z.tuple([z.instanceof(Buffer)]).parse(await once(client, "data"));
    expect(answer.toString()).toBe("echo");
    await stop();
    client.destroy();
    await once(server.close(), "close");
  });
});
