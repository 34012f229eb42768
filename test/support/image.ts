/** Images made in a test: layers of named files, and a registry on loopback that serves them as told. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { onTestFinished } from "vitest";
import { pack } from "tar-stream";

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const sha256 = (bytes: Buffer | string) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A path that ends with `/` is a directory. */
export async function tarOf(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, text] of Object.entries(files)) {
    if (name.endsWith("/")) archive.entry({ name, type: "directory" });
    else archive.entry({ name }, text);
  }
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) if (Buffer.isBuffer(part)) parts.push(part);
  return Buffer.concat(parts);
}

/** Gzipped layers from file lists, the lowest first. */
export async function imageOf(...layers: readonly Readonly<Record<string, string>>[]) {
  return imageOfLayers(...(await Promise.all(layers.map(async (files) => gzipSync(await tarOf(files))))));
}

export function imageOfLayers(...layers: readonly Buffer[]) {
  const descriptors = layers.map((bytes) => ({
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest: sha256(bytes),
    size: bytes.length,
  }));
  const config = JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: layers.map(() => sha256("")) } });
  const configured = { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(config), size: config.length };
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config: configured, layers: descriptors });
  const blobs = new Map(layers.map((bytes) => [sha256(bytes), bytes]));
  return { manifest, digest: sha256(manifest), config, blobs };
}

/** On a free port of loopback, until the test ends. Gives `host:port`. */
export async function listen(answer: (request: IncomingMessage, response: ServerResponse, host: string) => void): Promise<string> {
  let host = "";
  const server = createServer((request, response) => answer(request, response, host));
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  host = `127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  return host;
}

/** Pushes an image of these layers to a real registry, or a stand-in, at `http://host`; gives its digest. */
export async function push(host: string, repository: string, tag: string, ...layers: readonly Readonly<Record<string, string>>[]) {
  const { manifest, digest, blobs, config } = await imageOf(...layers);
  const base = `http://${host}/v2/${repository}`;
  for (const [name, bytes] of [...blobs, [sha256(config), Buffer.from(config)] as const]) {
    const started = await call(`${base}/blobs/uploads/`, { method: "POST" });
    const place = new URL(started.headers.get("location") ?? "", base);
    place.searchParams.set("digest", name);
    await call(place.href, { method: "PUT", body: new Uint8Array(bytes), headers: { "content-type": "application/octet-stream" } });
  }
  await call(`${base}/manifests/${tag}`, { method: "PUT", body: manifest, headers: { "content-type": OCI_MANIFEST } });
  return digest;
}

async function call(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`${init.method} ${url}: ${response.status} ${await response.text()}`);
  return response;
}
