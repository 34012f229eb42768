/** Reading a registry: pages of tags, images, layers as streams, and what is made to harm whoever reads it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { BOUNDS, type Bounds, listFiles, readFiles } from "../src/registry/layers.ts";
import type { Place } from "../src/registry/place.ts";
import { RegistryReader } from "../src/registry/reader.ts";
import { imageOf, imageOfLayers, listen, OCI_INDEX, OCI_MANIFEST, sha256, tarOf } from "./support/image.ts";

const placeAt = (host: string, part: Partial<Place> = {}): Place => ({
  repository: `${host}/modules/echo`,
  plainHttp: true,
  ca: null,
  credential: null,
  ...part,
});
type Made = Awaited<ReturnType<typeof imageOf>>;

/** Serves one image under any tag; keeps what it was asked. */
async function registryOf(image: Made, blob?: (digest: string, request: IncomingMessage, response: ServerResponse) => boolean) {
  const asked: string[] = [];
  const host = await listen((request, response) => {
    const [, kind = "", reference = ""] = /\/(manifests|blobs)\/(.+)$/.exec(request.url ?? "") ?? [];
    asked.push(`${kind} ${reference}`);
    if (kind === "manifests") return response.writeHead(200, { "content-type": OCI_MANIFEST }).end(image.manifest);
    if (blob?.(reference, request, response)) return response;
    const bytes = image.blobs.get(reference);
    return bytes ? response.end(bytes) : response.writeHead(404).end();
  });
  return { host, asked, layersAsked: () => asked.filter((line) => line.startsWith("blobs")).length };
}

async function open(host: string, part: Partial<Place> = {}) {
  const reader = new RegistryReader();
  const place = placeAt(host, part);
  const image = await reader.image(place, "main");
  if (image === null) throw new Error("no image");
  const layer = (each: Parameters<RegistryReader["layer"]>[1]) => reader.layer(place, each);
  return {
    image,
    list: async (wanted: readonly string[] = [], bounds: Partial<Bounds> = {}) => listFiles(image, layer, wanted, { ...BOUNDS, ...bounds }),
    read: (...wanted: readonly string[]) => readFiles(image, layer, wanted),
  };
}

const pathsOf = ({ files }: { files: readonly { path: string }[] }) => files.map(({ path }) => path);

describe("the tags of a repository", () => {
  async function all(host: string, part: Partial<Place> = {}) {
    const pages: (readonly string[] | null)[] = [];
    for await (const page of new RegistryReader().tags(placeAt(host, part))) pages.push(page);
    return pages;
  }

  it("come page by page, each where the one before says", async () => {
    const asked: string[] = [];
    const host = await listen((request, response, own) => {
      asked.push(request.url ?? "");
      const isFirst = !request.url?.includes("last=");
      // Behind a proxy that ends TLS, registries name their own address with the wrong scheme.
      if (isFirst) response.setHeader("link", `<https://${own}/v2/modules/echo/tags/list?n=1000&last=b>; rel="next"`);
      response.end(JSON.stringify({ name: "echo", tags: isFirst ? ["a", "b"] : ["c"] }));
    });
    expect(await all(host)).toEqual([["a", "b"], ["c"]]);
    expect(asked).toEqual(["/v2/modules/echo/tags/list?n=1000", "/v2/modules/echo/tags/list?n=1000&last=b"]);
  });

  it("are none of a repository that is not there, and none where the list is null", async () => {
    const gone = await listen((_request, response) => response.writeHead(404).end());
    expect(await all(gone)).toEqual([null]);
    const empty = await listen((_request, response) => response.end('{"tags":null}'));
    expect(await all(empty)).toEqual([[]]);
  });

  it.each([
    ["another host", () => '<https://evil.example.com/v2/x/tags/list>; rel="next"', "evil.example.com"],
    ["itself, for ever", () => '</v2/modules/echo/tags/list?n=1000>; rel="next"', "does not end"],
  ])("are not asked for where the next page is %s", async (_what, link, message) => {
    const host = await listen((_request, response) => {
      response.setHeader("link", link());
      response.end(JSON.stringify({ tags: Array.from({ length: 20_000 }, (_, index) => `t${index}`) }));
    });
    await expect(all(host)).rejects.toMatchObject({ code: "REGISTRY_UNAVAILABLE", message: expect.stringContaining(message) });
  });

  it.each([
    [401, "user and a password"],
    [403, "the right to pull"],
    [429, "too many requests"],
    [500, "answers 500"],
  ])("are told of in words where the registry answers %i", async (status, message) => {
    const host = await listen((_request, response) => response.writeHead(status).end());
    await expect(all(host)).rejects.toMatchObject({ status, message: expect.stringContaining(message) });
  });
});

describe("an image", () => {
  it("is the manifest for linux/amd64 of an index", async () => {
    const made = await imageOf({ "version.json": "{}" });
    const index = (os: string) => JSON.stringify({ manifests: [{ digest: made.digest, platform: { os, architecture: "amd64" } }] });
    const serve = (text: string) =>
      listen((request, response) => {
        const isChild = request.url?.endsWith(made.digest);
        response.writeHead(200, { "content-type": isChild ? OCI_MANIFEST : OCI_INDEX }).end(isChild ? made.manifest : text);
      });
    const { image } = await open(await serve(index("linux")));
    expect(image).toMatchObject({ digest: made.digest, index: sha256(index("linux")) });
    await expect(open(await serve(index("windows")))).rejects.toThrow("linux/amd64");
  });

  it("is nothing where the tag is gone, and no other manifest than the digest names", async () => {
    const made = await imageOf({ a: "a" });
    const gone = await listen((_request, response) => response.writeHead(404).end());
    expect(await new RegistryReader().image(placeAt(gone), "main")).toBeNull();
    const { host } = await registryOf(made);
    await expect(new RegistryReader().image(placeAt(host), sha256("another"))).rejects.toThrow("another manifest");
  });

  it.each([
    ["a Helm chart's config, not an image", "application/vnd.cncf.helm.config.v1+json", "{}", "is no image"],
    ["a manifest without layers", OCI_MANIFEST, '{"schemaVersion":2}', "layers"],
    ["a manifest without end", OCI_MANIFEST, `"${"x".repeat(5 * 1024 * 1024)}"`, "too large"],
  ])("is refused where there is %s", async (_what, type, body, message) => {
    const host = await listen((_request, response) => response.writeHead(200, { "content-type": type }).end(body));
    await expect(open(host)).rejects.toMatchObject({ code: "REGISTRY_UNAVAILABLE", message: expect.stringContaining(message) });
  });
});

describe("the files of an image", () => {
  it("are those of all layers, without what upper ones take away", async () => {
    const { host } = await registryOf(
      await imageOf(
        { "./etc/": "", "./etc/a": "1", "./etc/b": "1", "gone/deep/x": "1", "opaque/old": "1", "file-then-folder": "1", "folder/x": "1" },
        { "etc/.wh.a": "", ".wh.gone": "", "opaque/.wh..wh..opq": "", "opaque/new": "22", "file-then-folder/": "", folder: "now a file" },
        { "etc/b": "333", "/absolute": "1" },
      ),
    );
    const { files } = await (await open(host)).list();
    expect(files.map(({ path, size }) => `${path} ${size}`)).toEqual(["absolute 1", "etc/b 3", "folder 10", "opaque/new 2"]);
  });

  it("are read from the top down, and no layer below what was wanted", async () => {
    const registry = await registryOf(
      await imageOf({ "version.json": "old", other: "1" }, { "module.yaml": "name: echo" }, { "version.json": "new" }, { last: "1" }),
    );
    const { contents, layers } = await (await open(registry.host)).read("version.json");
    expect([contents.get("version.json"), layers, registry.layersAsked()]).toEqual(["new", 2, 2]);
    const both = await (await open(registry.host)).read("version.json", "module.yaml");
    expect([Object.fromEntries(both.contents), both.layers]).toEqual([{ "version.json": "new", "module.yaml": "name: echo" }, 3]);
  });

  it("are not looked for below a layer that took them away", async () => {
    const registry = await registryOf(await imageOf({ "version.json": "old" }, { ".wh.version.json": "" }));
    const { contents, layers } = await (await open(registry.host)).read("version.json");
    expect([contents.size, layers]).toEqual([0, 1]);
  });

  it("may lie in layers that are not compressed, whatever their type says", async () => {
    const { host } = await registryOf(imageOfLayers(await tarOf({ a: "1" })));
    expect(pathsOf(await (await open(host)).list())).toEqual(["a"]);
  });

  it("may have names that are long", async () => {
    const long = `${"d".repeat(150)}/${"f".repeat(150)}`;
    const { host } = await registryOf(await imageOf({ [long]: "1" }));
    expect(pathsOf(await (await open(host)).list())).toEqual([long]);
  });

  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  it.each([
    ["unpacks to gigabytes", async () => imageOfLayers(bomb), { bytes: 1024 ** 2 }, "unpacks to more than 1 MiB"],
    ["leads out of the image", async () => imageOf({ "a/../../etc/passwd": "x" }), {}, "leads out of the image"],
    ["has entries without end", async () => imageOf({ a: "", b: "", c: "" }), { entries: 2 }, "more than 2 entries"],
    [
      "has names that fill memory",
      async () => imageOf({ [`a/${"b".repeat(60)}`]: "", [`c/${"d".repeat(60)}`]: "" }),
      { names: 100 },
      "names of",
    ],
    ["has a name that no file can have", async () => imageOf({ ["a/".repeat(3000)]: "" }), {}, "longer than"],
    ["has too large a file to show", async () => imageOf({ "module.yaml": "x".repeat(11) }), { content: 10 }, "of 11 bytes"],
    ["is zstd", async () => imageOfLayers(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0])), {}, "zstd"],
    ["is cut off", async () => imageOfLayers(gzipSync(await tarOf({ a: "x".repeat(5000) })).subarray(0, 40)), {}, "cannot be unpacked"],
    ["is no archive", async () => imageOfLayers(Buffer.alloc(1024, 7)), {}, "cannot be unpacked"],
  ])("are refused where a layer %s", async (_what, make, bounds, message) => {
    const { host } = await registryOf(await make());
    const error: unknown = await (await open(host)).list(["module.yaml"], bounds).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "REGISTRY_UNAVAILABLE", message: expect.stringContaining(message) });
  });

  it("of announced gigabytes are refused before they come", async () => {
    const archive = await tarOf({ big: "" });
    archive.write("77777777777", 124); // 8 GiB, in octal
    archive.write("        ", 148);
    const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    archive.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
    const { host } = await registryOf(imageOfLayers(gzipSync(archive)));
    await expect((await open(host)).list()).rejects.toThrow('holds "big" of 8192 MiB');
  });

  it.each([
    ["other bytes", (bytes: Buffer) => Buffer.from(bytes).fill(7, bytes.length - 8), "damaged or cut"],
    ["more bytes", (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(100_000)]), "larger than"],
    ["fewer bytes", (bytes: Buffer) => bytes.subarray(0, -4), "damaged or cut"],
  ])("are refused where the registry gives %s than the digest says", async (_what, spoil, message) => {
    const made = imageOfLayers(await tarOf({ a: "1" }));
    const registry = await registryOf(made, (digest, _request, response) => {
      response.end(spoil(made.blobs.get(digest) ?? Buffer.alloc(0)));
      return true;
    });
    await expect((await open(registry.host)).list()).rejects.toThrow(message);
  });
});

describe("a layer that lies in a storage elsewhere", () => {
  const credential = { username: "robot", password: "secret" };

  it("is fetched there, without the registry's credential", async () => {
    const made = await imageOf({ a: "1" });
    const seen: (string | undefined)[] = [];
    const storage = await listen((request, response) => {
      seen.push(request.headers.authorization);
      response.end(made.blobs.get(`sha256:${request.url?.slice(1)}`));
    });
    const proofs: (string | undefined)[] = [];
    const { host } = await registryOf(made, (digest, request, response) => {
      proofs.push(request.headers.authorization);
      if (request.headers.authorization === undefined) response.writeHead(401, { "www-authenticate": "Basic realm=r" }).end();
      else response.writeHead(307, { location: `http://${storage}/${digest.slice(7)}` }).end();
      return true;
    });
    expect(pathsOf(await (await open(host, { credential })).list())).toEqual(["a"]);
    expect(proofs).toEqual([undefined, `Basic ${btoa("robot:secret")}`]);
    expect(seen).toEqual([undefined]);
  });

  it.each([
    ["ftp://storage.example.com/x", "not https"],
    ["", "place to place"],
  ])("is not fetched from %j", async (location, message) => {
    const { host } = await registryOf(await imageOf({ a: "1" }), (_digest, _request, response) => {
      response.writeHead(307, { location }).end();
      return true;
    });
    await expect((await open(host)).list()).rejects.toThrow(message);
  });

  it("is told of where it is gone, or breaks off", async () => {
    const made = await imageOf({ a: "1" });
    const gone = await registryOf(made, (_digest, _request, response) => {
      response.writeHead(404).end();
      return true;
    });
    await expect((await open(gone.host)).list()).rejects.toThrow("it has no blob");
    const cut = await registryOf(made, (digest, _request, response) => {
      response.writeHead(200, { "content-length": 10_000 });
      response.write(made.blobs.get(digest), () => response.destroy());
      return true;
    });
    await expect((await open(cut.host)).list()).rejects.toMatchObject({ code: "REGISTRY_UNAVAILABLE" });
  });
});
