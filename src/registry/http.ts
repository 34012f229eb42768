/** One request to a registry or its token service, with bounded time and bytes. No redirect is followed, and no proxy used. */
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { RelayError } from "../outcome.ts";

export interface HttpRequest {
  readonly url: URL;
  readonly method: "GET" | "HEAD";
  readonly headers: Readonly<Record<string, string>>;
  /** PEM, in place of the system's authorities. */
  readonly ca: string | readonly string[] | null;
}
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}
export type Http = (request: HttpRequest) => Promise<HttpAnswer>;
/** The answer with its body still to come. */
export interface OpenAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: IncomingMessage;
}

const PATIENCE_MS = 3_000;
/** As much as registries take for a manifest: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests */
const MOST_BYTES = 4 * 1024 * 1024;

/** Throws RelayError REGISTRY_UNAVAILABLE that names the host and never a header. */
export const http: Http = (request) => askWithin(PATIENCE_MS)(request);

/** The same with another time for the whole answer. */
export function askWithin(patienceMs: number): Http {
  return async (request) => {
    const signal = AbortSignal.timeout(patienceMs);
    const { status, headers, body } = await open(request, patienceMs, signal);
    const parts: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const part of body) {
        if (!Buffer.isBuffer(part)) continue;
        bytes += part.length;
        if (bytes > MOST_BYTES) throw new Error("the answer is too large");
        parts.push(part);
      }
    } catch (error) {
      throw failed(request.url, error, patienceMs);
    }
    return { status, headers, body: Buffer.concat(parts) };
  };
}

/** Resolves with the answer's head. `patienceMs` is for that head; `signal` ends the body as well. Throws as {@link http} does. */
export function open({ url, method, headers, ca }: HttpRequest, patienceMs: number, signal?: AbortSignal): Promise<OpenAnswer> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === "https:" ? requestHttps : requestHttp;
    const sent = send(url, { method, headers, ...(signal && { signal }), ...(ca !== null && { ca: [ca].flat() }) }, (body) => {
      clearTimeout(timer);
      const headers: Record<string, string> = {};
      for (const [name, value] of Object.entries(body.headers)) headers[name] = [value ?? ""].flat().join(", ");
      resolve({ status: body.statusCode ?? 0, headers, body });
    });
    const timer = setTimeout(() => sent.destroy(new DOMException("", "TimeoutError")), patienceMs);
    sent.on("error", (error) => {
      clearTimeout(timer);
      reject(failed(url, error, patienceMs));
    });
    sent.end();
  });
}

/** What went wrong on the way, as RelayError REGISTRY_UNAVAILABLE. */
export function failed(url: URL, error: unknown, patienceMs: number): RelayError {
  return new RelayError("REGISTRY_UNAVAILABLE", `${url.host}: ${why(error, patienceMs)}`);
}

function why(error: unknown, patienceMs: number): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "AbortError" || error.name === "TimeoutError") return `no answer within ${patienceMs / 1000} s`;
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
