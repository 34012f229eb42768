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
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, layers: descriptors });
  const blobs = new Map(layers.map((bytes) => [sha256(bytes), bytes]));
  return { manifest, digest: sha256(manifest), descriptors, blobs };
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
