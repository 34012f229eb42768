/** Blobs and their uploads: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs */
import { RegistryError } from "./registry-error.ts";
import { type Exchange, answer, eachChunk, methodNotAllowed } from "./registry-http.ts";
import type { Upload } from "./registry-store.ts";

const OCTETS = "application/octet-stream";

export function handleBlob(exchange: Exchange): void {
  const { store, request, response, name, rest: digest, emit } = exchange;
  switch (request.method) {
    case "GET":
    case "HEAD": {
      const bytes = store.blob(name, digest);
      if (bytes === null) throw new RegistryError(404, "BLOB_UNKNOWN", "blob unknown to registry", { digest });
      return sendRange(exchange, bytes);
    }
    case "DELETE":
      if (!store.deleteBlob(name, digest)) throw new RegistryError(404, "BLOB_UNKNOWN", "blob unknown to registry", { digest });
      emit({ action: "delete", part: "blobs", digest });
      return answer(response, 202, null);
    default:
      throw methodNotAllowed(exchange, "GET, HEAD, DELETE");
  }
}

export async function handleUpload(exchange: Exchange): Promise<void> {
  const { store, request, response, name, rest: id } = exchange;
  if (id === "") {
    if (request.method === "POST") return start(exchange);
    throw methodNotAllowed(exchange, "POST");
  }
  const upload = store.upload(name, id);
  switch (request.method) {
    case "GET":
      return answer(response, 204, null, progress(upload));
    case "PATCH":
      checkOffset(exchange, upload);
      await take(exchange, upload);
      return answer(response, 202, null, progress(upload));
    case "PUT":
      checkOffset(exchange, upload);
      return finish(exchange, upload);
    case "DELETE":
      store.cancelUpload(upload);
      return answer(response, 204, null);
    default:
      throw methodNotAllowed(exchange, "GET, PATCH, PUT, DELETE");
  }
}

async function start(exchange: Exchange): Promise<void> {
  const { store, query, name, response, emit } = exchange;
  const [mount, from] = [query.get("mount"), query.get("from")];
  if (mount !== null && from !== null && store.mount(name, from, mount)) {
    const size = store.blob(name, mount)?.length ?? 0;
    emit({ action: "mount", part: "blobs", mediaType: OCTETS, digest: mount, size, fromRepository: from });
    return stored(exchange, mount);
  }
  const upload = store.startUpload(name);
  if (query.has("digest")) return finish(exchange, upload);
  answer(response, 202, null, progress(upload));
}

async function finish(exchange: Exchange, upload: Upload): Promise<void> {
  const digest = exchange.query.get("digest");
  if (digest === null) throw new RegistryError(400, "DIGEST_INVALID", "the query parameter `digest` is missing");
  await take(exchange, upload);
  exchange.store.finishUpload(upload, digest);
  exchange.emit({ action: "push", part: "blobs", mediaType: OCTETS, digest, size: upload.size });
  stored(exchange, digest);
}

function stored({ response, name }: Exchange, digest: string): void {
  answer(response, 201, null, { Location: `/v2/${name}/blobs/${digest}`, "Docker-Content-Digest": digest });
}

async function take({ store, request }: Exchange, upload: Upload): Promise<void> {
  const refusals: Error[] = [];
  await eachChunk(request, (chunk) => {
    if (refusals.length > 0) return; // the rest is read and dropped, so that the client gets to read why
    try {
      store.append(upload, chunk);
    } catch (error) {
      refusals.push(error instanceof Error ? error : new Error(String(error)));
    }
  });
  for (const refusal of refusals) throw refusal;
}

/** Chunks come in order: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks */
function checkOffset({ request, response }: Exchange, upload: Upload): void {
  const range = request.headers["content-range"];
  if (range === undefined || Number(/^(?:bytes )?(\d+)-\d+/.exec(range)?.[1]) === upload.size) return;
  for (const [header, value] of Object.entries(progress(upload))) response.setHeader(header, value);
  throw new RegistryError(416, "RANGE_INVALID", `expected a chunk that starts at ${upload.size}`);
}

function progress(upload: Upload): Record<string, string> {
  return {
    Location: `/v2/${upload.repository}/blobs/uploads/${upload.id}`,
    "Docker-Upload-UUID": upload.id,
    Range: `0-${Math.max(0, upload.size - 1)}`,
  };
}

/** A whole blob, or the one range that was asked for: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests */
function sendRange({ request, response, rest: digest }: Exchange, bytes: Buffer): void {
  const headers = { "Content-Type": OCTETS, "Docker-Content-Digest": digest, ETag: `"${digest}"`, "Accept-Ranges": "bytes" };
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  if (first === undefined || last === undefined || first + last === "") return answer(response, 200, bytes, headers);
  const from = first === "" ? Math.max(0, bytes.length - Number(last)) : Number(first);
  const to = first === "" || last === "" ? bytes.length - 1 : Math.min(Number(last), bytes.length - 1);
  if (from > to) {
    response.setHeader("Content-Range", `bytes */${bytes.length}`);
    throw new RegistryError(416, "RANGE_INVALID", `the blob has ${bytes.length} bytes`);
  }
  answer(response, 206, bytes.subarray(from, to + 1), { ...headers, "Content-Range": `bytes ${from}-${to}/${bytes.length}` });
}
