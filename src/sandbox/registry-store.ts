/** What the registry stand-in holds, in memory and bounded: blobs, uploads under way, manifests and tags. No HTTP in here. */
import { createHash, randomUUID } from "node:crypto";
import { DIGEST } from "../event.ts";
import { type Manifest, descriptorsOf, readManifest } from "./registry-manifest.ts";
import { RegistryError } from "./registry-error.ts";

/** Bytes, and the number of uploads that may be open at once (the oldest gives way). */
export interface Limits {
  readonly blob: number;
  readonly total: number;
  readonly manifest: number;
  readonly uploads: number;
}
const MIB = 1024 * 1024;
export const LIMITS: Limits = { blob: 64 * MIB, total: 512 * MIB, manifest: 4 * MIB, uploads: 64 };

interface Repository {
  readonly blobs: Set<string>;
  readonly manifests: Map<string, Manifest>;
  readonly tags: Map<string, string>;
}
export interface Upload {
  readonly id: string;
  readonly repository: string;
  readonly chunks: Buffer[];
  size: number;
}

export class RegistryStore {
  readonly #limits: Limits;
  readonly #repositories = new Map<string, Repository>();
  readonly #blobs = new Map<string, Buffer>(); // least recently used first
  readonly #uploads = new Map<string, Upload>();
  #bytes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get manifestLimit(): number {
    return this.#limits.manifest;
  }

  repositories(): string[] {
    return [...this.#repositories].flatMap(([name, repository]) => (repository.manifests.size > 0 ? [name] : [])).toSorted();
  }

  tags(name: string): string[] {
    const repository = this.#repositories.get(name);
    if (repository === undefined) throw new RegistryError(404, "NAME_UNKNOWN", `no repository ${name}`);
    return [...repository.tags.keys()].toSorted();
  }

  /** By tag or digest; null where there is none. */
  manifest(name: string, reference: string): Manifest | null {
    const repository = this.#repositories.get(name);
    return repository?.manifests.get(repository.tags.get(reference) ?? reference) ?? null;
  }

  /** Stores a manifest under its digest; `reference` may be a tag, which {@link tag} writes. Everything that it names must be here already. */
  putManifest(name: string, reference: string, mediaType: string | undefined, bytes: Buffer): Manifest {
    const byDigest = reference.includes(":");
    const digest = digestOf(bytes, byDigest ? reference : "sha256:");
    if (byDigest && digest !== reference) throw digestInvalid(reference, digest);
    const manifest = readManifest(mediaType, bytes, digest);
    const repository = this.#repository(name);
    for (const wanted of descriptorsOf(manifest)) {
      const here = wanted.kind === "blob" ? repository.blobs.has(wanted.digest) : repository.manifests.has(wanted.digest);
      if (!here) throw new RegistryError(400, "MANIFEST_BLOB_UNKNOWN", `${wanted.kind} unknown to ${name}`, { digest: wanted.digest });
    }
    if (!repository.manifests.has(digest)) {
      this.#makeRoom(bytes.length);
      this.#bytes += bytes.length;
      repository.manifests.set(digest, manifest);
    }
    return manifest;
  }

  /** Nothing, where the manifest had to make room meanwhile. */
  tag(name: string, tag: string, digest: string): void {
    const repository = this.#repository(name);
    if (repository.manifests.has(digest)) repository.tags.set(tag, digest);
  }

  /** A digest takes its tags along; a tag goes alone. False where there is nothing of that name. */
  deleteManifest(name: string, reference: string): boolean {
    const repository = this.#repositories.get(name);
    if (repository === undefined) return false;
    for (const [tag, digest] of repository.tags) if (digest === reference) repository.tags.delete(tag);
    return this.#dropManifest(repository, reference) || repository.tags.delete(reference);
  }

  blob(name: string, digest: string): Buffer | null {
    const bytes = this.#blobs.get(digest);
    if (bytes === undefined || this.#repositories.get(name)?.blobs.has(digest) !== true) return null;
    this.#blobs.delete(digest); // and in again at the end: used just now
    this.#blobs.set(digest, bytes);
    return bytes;
  }

  deleteBlob(name: string, digest: string): boolean {
    return this.#repositories.get(name)?.blobs.delete(digest) ?? false;
  }

  /** Links a blob of one repository into another. False where `from` has none. */
  mount(name: string, from: string, digest: string): boolean {
    if (this.blob(from, digest) === null) return false;
    this.#repository(name).blobs.add(digest);
    return true;
  }

  startUpload(name: string): Upload {
    const oldest = [...this.#uploads.values()][0];
    if (oldest !== undefined && this.#uploads.size >= this.#limits.uploads) this.cancelUpload(oldest);
    const upload = { id: randomUUID(), repository: name, chunks: [], size: 0 };
    this.#uploads.set(upload.id, upload);
    return upload;
  }

  upload(name: string, id: string): Upload {
    const upload = this.#uploads.get(id);
    if (upload?.repository !== name) throw new RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "no such upload; it may have been cancelled");
    return upload;
  }

  cancelUpload(upload: Upload): void {
    if (this.#uploads.delete(upload.id)) this.#bytes -= upload.size;
  }

  /** Takes the next bytes of an upload, or refuses them and forgets the upload. */
  append(upload: Upload, chunk: Buffer): void {
    this.upload(upload.repository, upload.id);
    try {
      const { blob } = this.#limits;
      if (upload.size + chunk.length > blob) throw tooLarge(`a blob is larger than ${blob} bytes`);
      this.#makeRoom(chunk.length);
    } catch (error) {
      this.cancelUpload(upload);
      throw error;
    }
    upload.chunks.push(chunk);
    upload.size += chunk.length;
    this.#bytes += chunk.length;
  }

  /** Ends an upload: its bytes must have this digest. */
  finishUpload(upload: Upload, digest: string): void {
    const bytes = Buffer.concat(upload.chunks);
    this.cancelUpload(upload);
    const actual = digestOf(bytes, digest);
    if (actual !== digest) throw digestInvalid(digest, actual);
    if (!this.#blobs.has(digest)) {
      this.#blobs.set(digest, bytes);
      this.#bytes += bytes.length;
    }
    this.#repository(upload.repository).blobs.add(digest);
  }

  #repository(name: string): Repository {
    let repository = this.#repositories.get(name);
    if (repository === undefined) {
      repository = { blobs: new Set(), manifests: new Map(), tags: new Map() };
      this.#repositories.set(name, repository);
    }
    return repository;
  }

  /** Forgets what no tag leads to, the longest unused first: a long session of pushes must not fill the memory. */
  #makeRoom(bytes: number): void {
    if (this.#bytes + bytes <= this.#limits.total) return;
    const reachable = this.#reachable();
    for (const [digest, blob] of this.#blobs) {
      if (this.#bytes + bytes <= this.#limits.total) return;
      if (reachable.has(digest)) continue;
      this.#blobs.delete(digest);
      this.#bytes -= blob.length;
      for (const repository of this.#repositories.values()) this.#dropIncomplete(repository, digest);
    }
    if (this.#bytes + bytes > this.#limits.total) throw tooLarge(`all tagged images together are larger than ${this.#limits.total} bytes`);
  }

  /** A blob is gone, and with it go the manifests that name it. */
  #dropIncomplete(repository: Repository, blob: string): void {
    if (!repository.blobs.delete(blob)) return;
    for (const [digest, manifest] of repository.manifests) {
      if (descriptorsOf(manifest).some((part) => part.digest === blob)) this.#dropManifest(repository, digest);
    }
  }

  #dropManifest(repository: Repository, digest: string): boolean {
    this.#bytes -= repository.manifests.get(digest)?.bytes.length ?? 0;
    return repository.manifests.delete(digest);
  }

  #reachable(): Set<string> {
    const reached = new Set<string>();
    const visit = (repository: Repository, digest: string) => {
      if (reached.has(digest)) return;
      reached.add(digest);
      const manifest = repository.manifests.get(digest);
      for (const next of manifest === undefined ? [] : descriptorsOf(manifest)) visit(repository, next.digest);
    };
    for (const repository of this.#repositories.values()) for (const digest of repository.tags.values()) visit(repository, digest);
    return reached;
  }
}

/** By the algorithm that `like` names: `sha256:…` or `sha512:…`. */
function digestOf(bytes: Buffer, like: string): string {
  const algorithm = like.startsWith("sha512:") ? "sha512" : "sha256";
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

function digestInvalid(claimed: string, actual: string): RegistryError {
  const message = DIGEST.test(claimed) ? "provided digest did not match uploaded content" : "not a sha256 or sha512 digest";
  return new RegistryError(400, "DIGEST_INVALID", message, { claimed: claimed.slice(0, 200), actual });
}

function tooLarge(what: string): RegistryError {
  return new RegistryError(413, "SIZE_INVALID", `${what}; this registry is the sandbox's stand-in and keeps everything in memory`);
}
