/** What the registry's handlers share: one request with its answer, bodies counted in real bytes, answers. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "./registry-error.ts";
import type { RegistryStore } from "./registry-store.ts";

/** What happened, for whoever is notified. `digest` and the others stay out where there is none. */
export interface RegistryEvent {
  readonly action: "push" | "pull" | "mount" | "delete";
  readonly part: "manifests" | "blobs";
  readonly mediaType?: string;
  readonly digest?: string;
  readonly size?: number;
  readonly tag?: string;
  readonly fromRepository?: string;
}

/** `name` is the repository, `rest` the last segment: a digest, a tag, an upload's id. */
export interface Exchange {
  readonly store: RegistryStore;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly name: string;
  readonly rest: string;
  readonly emit: (event: RegistryEvent) => void;
}

/** Answers with JSON, with bytes, or with nothing. A HEAD gets the length alone. */
export function answer(response: ServerResponse, status: number, content: unknown, headers: Readonly<Record<string, string>> = {}): void {
  const bytes = content === null ? Buffer.alloc(0) : Buffer.isBuffer(content) ? content : Buffer.from(JSON.stringify(content));
  const type = content === null || Buffer.isBuffer(content) ? {} : { "Content-Type": "application/json" };
  response.writeHead(status, { ...type, ...headers, ...(status === 204 ? {} : { "Content-Length": String(bytes.length) }) });
  response.end(response.req.method === "HEAD" ? undefined : bytes);
}

/** A whole body. One that is too large is read to its end all the same, so that the client gets to read the refusal. */
export async function body(request: IncomingMessage, limit: number): Promise<Buffer> {
  const kept: Buffer[] = [];
  let size = 0;
  await eachChunk(request, (chunk) => {
    size += chunk.length;
    if (size <= limit) kept.push(chunk);
    else kept.length = 0;
  });
  if (size > limit) throw new RegistryError(413, "SIZE_INVALID", `larger than ${limit} bytes`);
  return Buffer.concat(kept);
}

export async function eachChunk(request: IncomingMessage, take: (chunk: Buffer) => void): Promise<void> {
  if (request.readableEnded) return;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    if (Buffer.isBuffer(chunk)) take(chunk);
  }
}

export function methodNotAllowed({ request, response }: Exchange, allow: string): RegistryError {
  response.setHeader("Allow", allow);
  return new RegistryError(405, "UNSUPPORTED", `${request.method} is not supported here`);
}
