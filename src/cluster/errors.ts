/**
 * What the Kubernetes client throws, as RelayErrors. The client's own message holds the whole body and all headers,
 * so neither it nor the thrown object (as `cause`) goes any further: only the first line of the API server's Status does.
 */
import * as z from "zod";
import { LONGEST_RETRY_AFTER_SECONDS } from "../limits.ts";
import { jsonOf } from "../json.ts";
import { type ErrorCode, RelayError } from "../outcome.ts";

export const PLURAL = "modulepulloverrides";
const TEXT_LIMIT = 300;

// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
const status = z.looseObject({
  kind: z.literal("Status"),
  reason: z.string().nullish(),
  message: z.string().nullish(),
  details: z.looseObject({ name: z.string().nullish(), kind: z.string().nullish(), retryAfterSeconds: z.number().nullish() }).nullish(),
});
type Status = z.infer<typeof status>;

/** An answer of the API server that is no success, as the client throws it. `body` is text, or nothing for a 401. */
const answer = z.object({ code: z.int(), headers: z.record(z.string(), z.string()), body: z.unknown() });
interface Answer {
  readonly code: number;
  readonly retryAfter: string | undefined;
  readonly status: Status | null;
  readonly text: string;
}

/** null: what was thrown is no answer of the API server. */
function answerOf(thrown: unknown): Answer | null {
  const read = answer.safeParse(thrown);
  if (!read.success) return null;
  const { code, headers, body } = read.data;
  const text = typeof body === "string" ? body : "";
  return { code, retryAfter: headers["retry-after"], status: statusOf(text), text };
}

/** null: plain text, or a proxy's page. */
const statusOf = (text: string): Status | null => status.safeParse(jsonOf(text)).data ?? null;

export const isUnauthorized = (thrown: unknown): boolean => answerOf(thrown)?.code === 401;

/** The connection was cut before an answer: a kept one that died meanwhile, say while a Lambda was frozen. */
export function isDropped(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && (thrown.code === "ECONNRESET" || thrown.code === "EPIPE");
}

/** Any 404. For discovery: the version is not served. */
export const isMissing = (thrown: unknown): boolean => answerOf(thrown)?.code === 404;

/** A 404 that says of this very object that it is not there. Any other 404 says nothing about it. */
export function isNotFound(thrown: unknown, name: string, plural = PLURAL): boolean {
  const got = answerOf(thrown);
  const details = got?.status?.details;
  return got?.code === 404 && got.status?.reason === "NotFound" && details?.kind === plural && details.name === name;
}

/** Never gives a token, a header or more than a line of text. */
export function toClusterError(thrown: unknown): RelayError {
  if (thrown instanceof RelayError) return thrown;
  const got = answerOf(thrown);
  if (got !== null) return new RelayError(codeOf(got), sayingOf(got), { retryAfterSeconds: retryAfterOf(got) });
  if (thrown instanceof Error && thrown.name === "AbortError") return new RelayError("CLUSTER_UNREACHABLE", "no answer in time");
  if (thrown instanceof Error && thrown.name === "FetchError") return new RelayError("CLUSTER_UNREACHABLE", networkReason(thrown));
  // A success that is not JSON (a proxy's page, a cut body): the parser's words would quote the body.
  return new RelayError("CLUSTER_ERROR", "the answer is not what an API server gives");
}

function codeOf(got: Answer): ErrorCode {
  if (got.code === 401) return "CLUSTER_UNAUTHORIZED";
  if (got.code === 429) return "CLUSTER_BUSY";
  if (got.code === 404) return "API_VERSION_GONE";
  if (got.code < 500 && deniedByAdmission(got.status?.message ?? "")) return "FORBIDDEN_BY_POLICY";
  if (got.code === 403) return "FORBIDDEN";
  if (got.code === 409) return "CONFLICT";
  if (got.code === 422) return "INVALID";
  return "CLUSTER_ERROR";
}

/**
 * The words are all that tells a policy from RBAC: a webhook's denial has RBAC's code, reason and (no) details, and may also come with
 * any other code; a policy that gives no reason is answered 422. An unknown 403 counts as RBAC's, which waits instead of giving up.
 * https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go
 * https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go
 */
function deniedByAdmission(message: string): boolean {
  return /\bValidatingAdmissionPolicy '.*' denied request\b|\badmission webhook ".*" denied the request\b/.test(message);
}

function sayingOf(got: Answer): string {
  const said = got.status?.message ?? (/^\s*</.test(got.text) ? "" : got.text);
  return cut(`${got.code} ${said.trim()}`.trim());
}

/** Seconds. The header, which also comes with a plain-text body; else what the Status says. A date is not used by API servers. */
function retryAfterOf(got: Answer): number | null {
  const seconds = Number(got.retryAfter ?? got.status?.details?.retryAfterSeconds ?? Number.NaN);
  return seconds >= 0 ? Math.min(seconds, LONGEST_RETRY_AFTER_SECONDS) : null;
}

// "request to https://… failed, reason: connect ECONNREFUSED 127.0.0.1:6443"
function networkReason(thrown: Error): string {
  return cut(thrown.message.split("reason: ").at(-1) ?? "") || "the connection failed";
}

export const cut = (text: string): string => (text.split(/[\r\n]/)[0] ?? "").slice(0, TEXT_LIMIT);
