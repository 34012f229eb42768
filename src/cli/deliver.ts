/** One request to a relay, and what its answer means to whoever sent it. */
import { InvalidArgumentError } from "commander";
import * as z from "zod";
import { jsonOf } from "../json.ts";
import { isEncrypted, readUrl } from "../config/forms.ts";
import { resolveSqs, type SqsForm } from "../config.ts";
import { Failure, messageOf, oneLine, type Terminal } from "./terminal.ts";

export interface Request {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Reply {
  readonly status: number;
  readonly decision: string | null;
  readonly reason: string | null;
  readonly key: string | null;
  readonly hint: string | null;
  readonly retryAfterSeconds: number | null;
}

const PATIENCE_MS = 20_000; // a relay stores a push within milliseconds; a queue far away takes some seconds

/** Throws an Error where no answer came. Neither it nor its cause holds the request: that has the secret in it. */
export async function deliver(request: Request): Promise<Reply> {
  return post(request).catch((error: unknown) => {
    throw new Error(`no answer from ${new URL(request.url).origin}: ${causeOf(error)}`);
  });
}

async function post({ url, headers, body }: Request): Promise<Reply> {
  // a redirect is not followed: the secret is for this address alone
  const response = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
  return { status: response.status, retryAfterSeconds: secondsOf(response.headers.get("retry-after")), ...read(await response.text()) };
}

const word = z.string().nullish().catch(null);
const answer = z.object({ decision: word, reason: word, key: word, hint: word }).catch({});

/** Other servers than a relay may answer, with whatever they like. */
function read(text: string): Pick<Reply, "decision" | "reason" | "key" | "hint"> {
  const { decision, reason, key, hint } = answer.parse(jsonOf(text));
  const short = (value: string | null | undefined) => (value ? oneLine(value).slice(0, 300) : null);
  return { decision: short(decision), reason: short(reason), key: short(key), hint: short(hint) };
}

const secondsOf = (header: string | null) => (header !== null && /^\d{1,6}$/.test(header) ? Number(header) : null);

/** fetch says "fetch failed", and why in the cause. Its other errors may quote a header. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  if (error.name === "TimeoutError") return `none within ${PATIENCE_MS / 1000} s`;
  const { cause } = error;
  if (!(cause instanceof Error)) return "the request cannot be made; has the secret or token characters that no header can hold?";
  const code = "code" in cause ? String(cause.code) : oneLine(cause.message);
  const [, advice] = ADVICE.find(([shape]) => shape.test(code)) ?? [];
  return advice === undefined ? code : `${code}; ${advice}`;
}
const ADVICE: readonly (readonly [shape: RegExp, advice: string])[] = [
  [/^ECONNREFUSED$/, "nothing listens there: does the relay run, and at this port?"],
  [/^ENOTFOUND$/, "no such host: is the name right?"],
  [/WRONG_VERSION_NUMBER/, "it does not speak TLS: http:// in place of https://, or another port?"],
  [/CERT|SELF_SIGNED|UNABLE_TO/, "name the CA's certificate in NODE_EXTRA_CA_CERTS"],
];

/** True where the relay stored the push. */
export const isQueued = ({ status, decision }: Reply) => status === 202 && decision === "queued";

/** `202 queued, key 4f…`. */
export function replyText({ status, decision, reason, key }: Reply): string {
  return [
    `${status}${decision === null ? "" : ` ${decision}`}`,
    ...(reason === null ? [] : [reason]),
    ...(key === null ? [] : [`key ${key}`]),
  ].join(", ");
}

/** What is wrong, and what to do, where the push was not stored. */
export function adviceOn({ status, decision, reason, hint }: Reply): string[] {
  const why = hint === null ? [] : [hint];
  if (decision === "unparsed")
    return ["authentic, but the relay could not read it; its log says which field", "is the webhook of this provider there?", ...why];
  if (decision === "skipped")
    return ["understood, and not for this relay", SKIPPED[reason ?? ""] ?? "the relay's log has a line for it", ...why];
  if (status >= 300 && status < 400) return ["a redirect; name the URL that it leads to"];
  return [REFUSED[status] ?? "is this a relay's URL? Look at what stands before it, and at its log"];
}
const SKIPPED: Readonly<Record<string, string>> = {
  NO_TAG: "a push by digest moves no tag",
  NOISE_TAG: "the tag looks like one of werf's or cosign's own; `noise: keep` at the source lets it through",
  OTHER_REPOSITORY: "the repository lies below no source of its configuration",
  UNKNOWN_HOST: "another host than the source's: add it to the source's `aliases`, or set `host:` at the webhook",
  OTHER_MODULE: "the source's `modules`, or the webhook's `sources`, leave it out",
  NO_CLUSTER: "the source names no cluster",
  NOT_A_PUSH: "it does not take this for a push: is the webhook of another provider there?",
};
const REFUSED: Readonly<Record<number, string>> = {
  401: "not authenticated: another secret there, a clock that differs by minutes, or a token that is over or meant for others",
  404: "no such webhook at this relay",
  413: "larger than the relay's limit",
  429: "too many refused calls from this address; wait a minute",
  503: "the relay could not store it; its log says why. Try again",
};

/** Nothing that a shell, YAML or JSON would mind. */
const PLAIN = /^[\w.:/%~[\]-]+$/;

/** For an option's value: https, and nothing that a shell, YAML or JSON would mind. No slash at its end. */
export function relayUrl(text: string): string {
  if (typeof readUrl(text) !== "string") throw new InvalidArgumentError("Write it in full: https://relay.example.com");
  const { origin, pathname, search, hash } = new URL(text);
  const url = `${origin}${pathname}`.replace(/\/+$/, "");
  if (search || hash || !PLAIN.test(url)) throw new InvalidArgumentError("Without query, fragment and unusual characters, please.");
  return url;
}

/** `https://relay.example.com/hooks/<name>`; a Failure where that was given as the relay's URL, or nothing was. */
export function hookUrl(relay: string | undefined, name: string): string {
  if (relay === undefined) throw new Failure(2, "where is the relay? --url is missing", "write --url https://relay.example.com");
  const path = `/hooks/${name}`;
  if (relay.endsWith(path))
    throw new Failure(2, `--url is the relay's own, without ${path}`, `write --url ${relay.slice(0, -path.length)}`);
  return `${relay}${path}`;
}

/** The URL of the queue that a webhook's deliveries come from; a Failure where it cannot be told here, or a relay's URL was given beside it. */
export function queueUrl(name: string, queue: SqsForm, relay: string | undefined, env: NodeJS.ProcessEnv): string {
  if (relay !== undefined) throw new Failure(2, `webhooks.${name} takes its deliveries from a queue, and none by HTTP`, "leave --url out");
  try {
    const { url } = resolveSqs(queue, env);
    if (PLAIN.test(url)) return url;
  } catch (error) {
    throw new Failure(2, `webhooks.${name}.queue: ${messageOf(error)}`);
  }
  throw new Failure(2, `webhooks.${name}.queue: has characters that no queue's URL has`);
}

export function warnIfOpen(url: string, terminal: Terminal): void {
  if (!isEncrypted(url)) terminal.err("warning: over plain http the secret and the names of images can be read on the way");
}

/** What a reference holds, or a Failure that says how to get it. */
export async function readable(read: Promise<string>, ...advice: string[]): Promise<string> {
  try {
    return await read;
  } catch (error) {
    throw new Failure(2, messageOf(error), ...advice);
  }
}
