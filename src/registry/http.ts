/** One request to a registry or its token service, with bounded time and bytes. No redirect is followed, and no proxy used. */
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { RelayError } from "../outcome.ts";

export interface HttpRequest {
  readonly url: URL;
  readonly method: "GET" | "HEAD";
  readonly headers: Readonly<Record<string, string>>;
  /** PEM, in place of the system's authorities. */
  readonly ca: string | null;
}
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}
export type Http = (request: HttpRequest) => Promise<HttpAnswer>;

const PATIENCE_MS = 3_000;
/** As much as registries take for a manifest: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests */
const MOST_BYTES = 4 * 1024 * 1024;

/** Throws RelayError REGISTRY_UNAVAILABLE that names the host and never a header. */
export const http: Http = ({ url, method, headers, ca }) =>
  new Promise((resolve, reject) => {
    const send = url.protocol === "https:" ? requestHttps : requestHttp;
    const fail = (why: string) => reject(new RelayError("REGISTRY_UNAVAILABLE", `${url.host}: ${why}`));
    const options = { method, headers, signal: AbortSignal.timeout(PATIENCE_MS), ...(ca !== null && { ca }) };
    const sent = send(url, options, (answer) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      answer.on("data", (part: Buffer) => {
        bytes += part.length;
        if (bytes > MOST_BYTES) sent.destroy(new Error("the answer is too large"));
        else parts.push(part);
      });
      answer.on("error", (error) => fail(codeOf(error)));
      answer.on("end", () => {
        const headers: Record<string, string> = {};
        for (const [name, value] of Object.entries(answer.headers)) headers[name] = [value ?? ""].flat().join(", ");
        resolve({ status: answer.statusCode ?? 0, headers, body: Buffer.concat(parts) });
      });
    });
    sent.on("error", (error) => fail(codeOf(error)));
    sent.end();
  });

function codeOf(error: Error): string {
  if (error.name === "AbortError" || error.name === "TimeoutError") return `no answer within ${PATIENCE_MS / 1000} s`;
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
