/** The two things that the sandbox does as a registry's client: push a tiny image, and resolve a tag as Deckhouse does. */
import { createHash, randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import * as z from "zod";
import { MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, amd64ChildOf, readManifest } from "./registry-manifest.ts";

const TIMEOUT_MS = 10_000;

/**
 * Pushes a one-layer image that differs from every other to `<url>/<repository>:<tag>`; gives its digest.
 * `url` is `http://host:port`. `version` stands in its version.json, by default the tag. With `index: true` the tag holds an index whose linux/amd64 child is that image; the digest is the index's.
 */
export async function pushImage(
  url: string,
  repository: string,
  tag: string,
  options: { index?: boolean; version?: string } = {},
): Promise<string> {
  const base = `${url}/v2/${repository}`;
  const tar = tarOf("version.json", JSON.stringify({ version: options.version ?? tag, build: randomUUID() }));
  const layer = await pushBlob(base, gzipSync(tar));
  const rootfs = { type: "layers", diff_ids: [digestOf(tar)] };
  const config = await pushBlob(base, Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", rootfs })));
  const image = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...layer }],
  };
  if (options.index !== true) return putManifest(base, tag, OCI_MANIFEST, image);
  const bytes = Buffer.from(JSON.stringify(image));
  const child = await putManifest(base, digestOf(bytes), OCI_MANIFEST, image);
  const platform = { os: "linux", architecture: "amd64" };
  const manifests = [{ mediaType: OCI_MANIFEST, digest: child, size: bytes.length, platform }];
  return putManifest(base, tag, OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests });
}

/**
 * What `<repo>:<tag>` resolves to, an index followed to its linux/amd64 child, always by GET: as go-containerregistry's `remote.Image` does.
 * `repo` is `host[:port]/path`. Rejects with an Error in go-containerregistry's words.
 */
export async function resolveDigest(repo: string, tag: string, scheme: "http" | "https" = "https"): Promise<string> {
  const slash = repo.indexOf("/");
  const url = `${scheme}://${repo.slice(0, slash)}/v2/${repo.slice(slash + 1)}/manifests/${tag}`;
  const response = await fetch(url, { headers: { accept: MANIFEST_TYPES.join(", ") }, signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(
    (error: unknown) => {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new Error(`Get "${url}": ${cause}`);
    },
  );
  const bytes = Buffer.from(await response.arrayBuffer());
  if (!response.ok) throw new Error(`GET ${url}: ${refusal(response.status, bytes)}`);
  const manifest = readManifest(response.headers.get("content-type") ?? undefined, bytes, digestOf(bytes));
  if (!("manifests" in manifest.content)) return manifest.digest;
  const child = amd64ChildOf(manifest);
  if (child === null) throw new Error(`no child with platform linux/amd64 in index ${repo}:${tag}`);
  return child;
}

const errors = z.object({ errors: z.array(z.object({ code: z.string(), message: z.string() })) });

function refusal(status: number, bytes: Buffer): string {
  const [first] = errorsOf(bytes.toString("utf8"));
  return first === undefined ? `unexpected status code ${status}` : `${first.code}: ${first.message}`;
}

function errorsOf(text: string): z.infer<typeof errors>["errors"] {
  try {
    return errors.parse(JSON.parse(text)).errors;
  } catch {
    return []; // a proxy's page, or nothing at all
  }
}

async function pushBlob(base: string, bytes: Buffer): Promise<{ digest: string; size: number }> {
  const digest = digestOf(bytes);
  const started = await call(`${base}/blobs/uploads/`, { method: "POST" }, 202);
  const upload = new URL(started.headers.get("location") ?? "", base);
  upload.searchParams.set("digest", digest);
  await call(upload, { method: "PUT", body: new Uint8Array(bytes), headers: { "content-type": "application/octet-stream" } }, 201);
  return { digest, size: bytes.length };
}

async function putManifest(base: string, reference: string, mediaType: string, manifest: object): Promise<string> {
  const body = JSON.stringify(manifest);
  await call(`${base}/manifests/${reference}`, { method: "PUT", body, headers: { "content-type": mediaType } }, 201);
  return digestOf(Buffer.from(body));
}

async function call(url: string | URL, init: RequestInit, expected: number): Promise<Response> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
  const bytes = Buffer.from(await response.arrayBuffer());
  if (response.status !== expected) throw new Error(`${init.method} ${new URL(url).pathname}: ${refusal(response.status, bytes)}`);
  return response;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A tar archive of one small file, in the ustar format: https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13_06 */
function tarOf(name: string, content: string): Buffer {
  const data = Buffer.from(content);
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write(["0000644", "0000000", "0000000", ""].join("\0"), 100); // mode, owner, group
  header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write(["00000000000", "        0"].join("\0"), 136); // time 0, the checksum's place, a regular file
  header.write(["ustar", "00"].join("\0"), 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, "0")}\0 `, 148);
  const padding = Buffer.alloc((512 - (data.length % 512)) % 512);
  return Buffer.concat([header, data, padding, Buffer.alloc(1024)]);
}
