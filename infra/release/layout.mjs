/** OCI image layouts: https://github.com/opencontainers/image-spec/blob/main/image-layout.md */
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { gzipSync } from "node:zlib";
import { tarOf } from "./tar.mjs";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFESTS = [MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES = [INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"];

/** An image FROM scratch of one layer with these files (`{ path, content }`), as a layout in the empty folder; resolves with its digest. */
export async function writeImage(folder, files) {
  const tar = await tarOf(files);
  // Level and header are fixed; the same Node writes the same bytes.
  const layer = await writeBlob(folder, gzipSync(tar, { level: 9 }), "application/vnd.oci.image.layer.v1.tar+gzip");
  const config = await writeBlob(
    folder,
    JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [digestOf(tar)] } }),
    "application/vnd.oci.image.config.v1+json",
  );
  const manifest = await writeBlob(folder, JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] }), MANIFEST);
  await writeIndex(folder, manifest);
  return manifest.digest;
}

/** Copies the one image (or index of platforms) of a layout, and nothing that it does not need; resolves with its digest. Throws where a blob is not what its digest says. */
export async function copyImage(from, to) {
  const index = await readFile(join(from, "index.json"), "utf8").catch(() => null);
  if (index === null)
    throw new Error(
      `${from} is no OCI image layout: it has no index.json (docker save of Docker 25 and later writes one, as do buildx and buildah)`,
    );
  const { manifests } = JSON.parse(index);
  if (manifests.length !== 1) throw new Error(`${from} holds ${manifests.length} images, and is to hold the relay's alone`);
  const [{ mediaType, digest, size }] = manifests;
  await copyTree(from, to, { mediaType, digest, size });
  await writeIndex(to, { mediaType, digest, size });
  return digest;
}

async function copyTree(from, to, { mediaType, digest }) {
  const blob = join("blobs", ...digest.split(":"));
  const hash = createHash("sha256");
  await pipeline(createReadStream(join(from, blob)), hash);
  if (`sha256:${hash.digest("hex")}` !== digest) throw new Error(`${join(from, blob)} is damaged: its content has another digest`);
  await mkdir(join(to, "blobs/sha256"), { recursive: true });
  await copyFile(join(from, blob), join(to, blob));
  const isIndex = INDEXES.includes(mediaType);
  if (!isIndex && !MANIFESTS.includes(mediaType)) return;
  const content = JSON.parse(await readFile(join(from, blob), "utf8"));
  for (const each of isIndex ? content.manifests : [content.config, ...content.layers]) await copyTree(from, to, each);
}

async function writeIndex(folder, descriptor) {
  await writeFile(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await writeFile(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [descriptor] }));
}

async function writeBlob(folder, content, mediaType) {
  const digest = digestOf(content);
  await mkdir(join(folder, "blobs/sha256"), { recursive: true });
  await writeFile(join(folder, "blobs", ...digest.split(":")), content);
  return { mediaType, digest, size: Buffer.byteLength(content) };
}

const digestOf = (content) => `sha256:${createHash("sha256").update(content).digest("hex")}`;
