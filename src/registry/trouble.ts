/** What a registry does not say, and whom to leave alone for it. */
import { LONGEST_RETRY_AFTER_SECONDS } from "../limits.ts";
import { RelayError } from "../outcome.ts";
import type { HttpAnswer } from "./http.ts";

/** Confirmations wait for it, and nudges behind them; a sweep has others to ask. */
export const AWAY_SECONDS = 60;

/** `of`: whom it says something about, and who is therefore not asked for `retryAfterSeconds`. Other images than this one are asked for as before. */
export class Trouble extends RelayError {
  readonly of: "host" | "source" | "image";
  /** What the registry answered, where it is its answer that says so. */
  readonly status: number | null;
  readonly #where: string;
  readonly #what: string;

  constructor(of: Trouble["of"], where: string, what: string, { seconds = AWAY_SECONDS, status = null }: Told = {}) {
    super("REGISTRY_UNAVAILABLE", `${where}: ${what}`, { retryAfterSeconds: of === "image" ? null : seconds });
    this.of = of;
    this.status = status;
    this.#where = where;
    this.#what = what;
  }

  /** The same, told once more while it is not asked: for so many seconds still. */
  again(seconds: number): Trouble {
    return new Trouble(this.of, this.#where, this.#what, { seconds, status: this.status });
  }
}
interface Told {
  readonly seconds?: number;
  readonly status?: number | null;
}

/**
 * `refused`: whom a 401 or a 403 is about. Other 4xx, and a 500 (a manifest that its storage lost, say), are about what was asked for, so that one
 * odd image does not keep all others of its host from being asked for; whatever else it says is the host's. `who` answers, in words.
 */
export function statusTrouble(
  refused: Trouble["of"],
  where: string,
  { status, headers }: Pick<HttpAnswer, "status" | "headers">,
  now: number,
  who = "it",
): Trouble {
  const isOfHost = status < 400 || status > 500 || BUSY.has(status);
  const of = status === 401 || status === 403 ? refused : isOfHost ? "host" : "image";
  const seconds = secondsOf(headers["retry-after"] ?? "", now);
  return new Trouble(of, where, `${who} ${STATUSES[status] ?? `answers ${status}`}`, { seconds, status });
}

/** Request Timeout, Misdirected Request, Too Many Requests. */
const BUSY: ReadonlySet<number> = new Set([408, 421, 429]);
const STATUSES: Readonly<Record<number, string>> = {
  401: "refuses the credential (401)",
  403: "refuses the credential the right to pull (403)",
  429: "answers 429, too many requests",
};

/** Seconds or a date: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after */
function secondsOf(retryAfter: string, now: number): number {
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - now) / 1000;
  return Number.isNaN(seconds) ? AWAY_SECONDS : Math.min(LONGEST_RETRY_AFTER_SECONDS, Math.max(1, Math.ceil(seconds)));
}
