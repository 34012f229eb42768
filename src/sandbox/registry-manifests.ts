/** Manifests and tags: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests */
import { setTimeout as sleep } from "node:timers/promises";
import { DIGEST } from "../event.ts";
import { RegistryError } from "./registry-error.ts";
import { type Exchange, answer, body, methodNotAllowed } from "./registry-http.ts";
import type { Manifest } from "./registry-manifest.ts";

/** As Distribution does it: https://github.com/distribution/distribution/blob/main/registry/handlers/manifests.go (PutManifest) */
const TAG_AFTER_MS = 20;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

export async function handleManifest(exchange: Exchange): Promise<void> {
  const { store, request, response, name, rest: reference, emit } = exchange;
  const byDigest = reference.includes(":");
  if (byDigest && !DIGEST.test(reference)) throw new RegistryError(400, "DIGEST_INVALID", "not a sha256 or sha512 digest");
  if (!byDigest && !TAG.test(reference)) throw new RegistryError(400, "TAG_INVALID", "not a tag");
  const tag = byDigest ? {} : { tag: reference };
  switch (request.method) {
    case "GET":
    case "HEAD": {
      const manifest = store.manifest(name, reference);
      if (manifest === null) throw unknown(name, reference);
      emit({ action: "pull", part: "manifests", ...described(manifest), ...tag });
      return answer(response, 200, manifest.bytes, {
        "Content-Type": manifest.mediaType,
        "Docker-Content-Digest": manifest.digest,
        ETag: `"${manifest.digest}"`,
      });
    }
    case "PUT": {
      const bytes = await body(request, store.manifestLimit);
      const manifest = store.putManifest(name, reference, request.headers["content-type"], bytes);
      emit({ action: "push", part: "manifests", ...described(manifest), ...tag });
      if (!byDigest) {
        await sleep(TAG_AFTER_MS);
        store.tag(name, reference, manifest.digest);
      }
      const location = `/v2/${name}/manifests/${manifest.digest}`;
      return answer(response, 201, null, { Location: location, "Docker-Content-Digest": manifest.digest });
    }
    case "DELETE":
      if (!store.deleteManifest(name, reference)) throw unknown(name, reference);
      emit({ action: "delete", part: "manifests", ...(byDigest ? { digest: reference } : tag) });
      return answer(response, 202, null);
    default:
      throw methodNotAllowed(exchange, "GET, HEAD, PUT, DELETE");
  }
}

/** https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags */
export function handleTags(exchange: Exchange): void {
  const { store, request, response, query, name } = exchange;
  if (request.method !== "GET") throw methodNotAllowed(exchange, "GET");
  const [limit, last] = [query.get("n"), query.get("last")];
  if (limit !== null && !/^\d{1,9}$/.test(limit)) throw new RegistryError(400, "PAGINATION_NUMBER_INVALID", "n is not a number");
  const after = store.tags(name).filter((tag) => last === null || tag > last);
  const tags = limit === null ? after : after.slice(0, Number(limit));
  const next = new URLSearchParams({ n: limit ?? "", last: tags.at(-1) ?? "" });
  const link = tags.length > 0 && tags.length < after.length ? { Link: `</v2/${name}/tags/list?${next.toString()}>; rel="next"` } : {};
  answer(response, 200, { name, tags }, link);
}

function described({ mediaType, digest, bytes }: Manifest) {
  return { mediaType, digest, size: bytes.length };
}

function unknown(name: string, reference: string): RegistryError {
  return new RegistryError(404, "MANIFEST_UNKNOWN", "manifest unknown", { name, reference });
}
