/** The API's failures as it words them: Status objects, https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ */
import type { Plural } from "./types.ts";

export const GROUP = "deckhouse.io";

export interface Cause {
  readonly reason: string;
  readonly field: string;
  readonly message: string;
}
export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly causes?: readonly Partial<Cause>[];
  readonly retryAfterSeconds?: number;
}

/** A failed request: `code` is the HTTP status, `reason` the machine-readable word. */
export class ApiError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  constructor(code: number, reason: string, message: string, details?: StatusDetails) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
  }

  /** The body of the answer. */
  status(): Record<string, unknown> {
    const { code, reason, message, details } = this;
    return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, ...(details && { details }), code };
  }
}

const about = (plural: Plural, name: string): StatusDetails => ({ name, group: GROUP, kind: plural });

export const badRequest = (message: string): ApiError => new ApiError(400, "BadRequest", message);
export const unauthorized = (): ApiError => new ApiError(401, "Unauthorized", "Unauthorized");
export const methodNotAllowed = (): ApiError =>
  new ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
export const notFound = (plural: Plural, name: string): ApiError =>
  new ApiError(404, "NotFound", `${plural}.${GROUP} "${name}" not found`, about(plural, name));
export const alreadyExists = (plural: Plural, name: string): ApiError =>
  new ApiError(409, "AlreadyExists", `${plural}.${GROUP} "${name}" already exists`, about(plural, name));
export const conflict = (plural: Plural, name: string): ApiError =>
  new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${plural}.${GROUP} "${name}": the object has been modified; please apply your changes to the latest version and try again`,
    about(plural, name),
  );
export const expired = (asked: number, oldest: number): ApiError =>
  new ApiError(410, "Expired", `too old resource version: ${asked} (${oldest})`);
export const unsupportedMediaType = (accepted: readonly string[]): ApiError =>
  new ApiError(
    415,
    "UnsupportedMediaType",
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`,
  );
export const tooManyRequests = (retryAfterSeconds: number): ApiError =>
  new ApiError(429, "TooManyRequests", "storage is (re)initializing", { retryAfterSeconds });

/** 422 with a cause for each problem. */
export function invalid(kind: string, name: string, causes: readonly Cause[]): ApiError {
  const problems = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const text = problems.length === 1 ? problems[0] : `[${problems.join(", ")}]`;
  return new ApiError(422, "Invalid", `${kind}.${GROUP} "${name}" is invalid: ${text}`, { name, group: GROUP, kind, causes });
}

/** Refused by RBAC. The authorizer's words: https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go */
export function forbidden(user: string, verb: string, plural: string, name: string): ApiError {
  const message = `User "${user}" cannot ${verb} resource "${plural}" in API group "${GROUP}" at the cluster scope`;
  const [resource] = plural.split("/");
  return new ApiError(403, "Forbidden", `${resource}.${GROUP}${name && ` "${name}"`} is forbidden: ${message}`, {
    ...(name && { name }),
    group: GROUP,
    kind: resource ?? plural,
  });
}

/** Refused by an admission policy, whose own words `why` are. */
export function deniedByPolicy(plural: Plural, name: string, policy: string, binding: string, why: string): ApiError {
  const message = `ValidatingAdmissionPolicy '${policy}' with binding '${binding}' denied request: ${why}`;
  return new ApiError(403, "Forbidden", `${plural}.${GROUP} "${name}" is forbidden: ${message}`, {
    ...about(plural, name),
    causes: [{ message }],
  });
}

/** A webhook's refusal carries no details at all. */
export const deniedByWebhook = (): ApiError =>
  new ApiError(403, "Forbidden", `admission webhook "guard.example.com" denied the request: not on a Friday`);
