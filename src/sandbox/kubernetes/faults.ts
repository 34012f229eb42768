/** Faults that tests order: what the next requests are answered with instead of their real answers. */
import { deniedByHeritage } from "./policies.ts";
import { ApiError, conflict, deniedByWebhook, forbidden, tooManyRequests, unauthorized } from "./status.ts";
import type { Fault, Faults } from "./types.ts";

export interface Ordered {
  readonly fault: Fault;
  readonly method: string | null;
  readonly retryAfterSeconds: number;
  left: number;
}

export class FaultList {
  #ordered: Ordered[] = [];

  readonly next: Faults["next"] = (count, fault, options = {}) => {
    this.#ordered.push({ fault, method: options.method ?? null, retryAfterSeconds: options.retryAfterSeconds ?? 1, left: count });
  };

  /** The fault for this request, if one was ordered; it is used up by that. */
  take(method: string): Ordered | null {
    const first = this.#ordered.find((ordered) => ordered.left > 0 && (ordered.method === null || ordered.method === method));
    if (first !== undefined) first.left -= 1;
    return first ?? null;
  }

  clear(): void {
    this.#ordered = [];
  }
}

/** The Status of a fault that has one; null for those that are answered otherwise. */
export function failureOf(ordered: Ordered, verb: string, name: string): ApiError | null {
  const plural = "modulepulloverrides";
  switch (ordered.fault) {
    case "401":
      return unauthorized();
    case "403-rbac":
      return forbidden("system:serviceaccount:mpo-relay:mpo-relay", verb, plural, name);
    case "403-policy":
      return deniedByHeritage(plural, name);
    case "403-webhook":
      return deniedByWebhook();
    case "409":
      return conflict(plural, name);
    case "429":
      return tooManyRequests(ordered.retryAfterSeconds);
    case "500":
      return new ApiError(500, "InternalError", "Internal error occurred: etcdserver: no leader");
    case "503":
      return new ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request", {
        retryAfterSeconds: ordered.retryAfterSeconds,
      });
    default:
      return null;
  }
}
