/** One question to a hub and its answer, over whatever connection Node's HTTP clients make. */
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { text } from "node:stream/consumers";
import { RelayError } from "../../outcome.ts";
import { type Answer, type Ask, answers, type Operation, refusal } from "./wire.ts";

export interface Way {
  /** `request` of node:http or node:https. */
  readonly request: (options: RequestOptions, answered: (reply: IncomingMessage) => void) => ClientRequest;
  readonly options: RequestOptions;
  readonly headers: Readonly<Record<string, string>>;
  /** Whose queue, and where, for people: `the hub https://relay.example.com:8443`. */
  readonly who: string;
  readonly queue: string;
}

/** Throws what the owner refused with; QUEUE_REFUSED where it does not know our token; QUEUE_UNAVAILABLE without an answer in time. */
export async function askHub<O extends Operation>(way: Way, operation: O, ask: Ask<O>, timeoutMs: number): Promise<Answer<O>> {
  const path = `/queues/${encodeURIComponent(way.queue)}/${operation}`;
  return readAnswer(way, operation, await post(way, path, JSON.stringify(ask), timeoutMs));
}

interface Reply {
  readonly status: number;
  readonly body: string;
}

async function post(way: Way, path: string, body: string, timeoutMs: number, isAgain = false): Promise<Reply> {
  const headers = { ...way.headers, "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  let asked: ClientRequest | null = null;
  try {
    const reply = await new Promise<IncomingMessage>((resolve, reject) => {
      asked = way.request({ ...way.options, path, method: "POST", headers, signal: AbortSignal.timeout(timeoutMs) }, resolve);
      asked.on("error", reject).end(body);
    });
    return { status: reply.statusCode ?? 0, body: await text(reply) };
  } catch (thrown) {
    const code = codeOf(thrown);
    // A kept connection that the other side had closed: https://nodejs.org/api/http.html#requestreusedsocket Nothing is harmed by a second time.
    if (isReused(asked) && code === "ECONNRESET" && !isAgain) return post(way, path, body, timeoutMs, true);
    throw new RelayError(
      "QUEUE_UNAVAILABLE",
      CERTIFICATE.test(code)
        ? `${way.who} shows a certificate that we do not trust (${code}); see hubCa`
        : `${way.who} does not answer (${code})`,
    );
  }
}

/** OpenSSL's and Node's codes: https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE = /CERT|SIGNATURE|ISSUER|ALTNAME/;
const isReused = (asked: ClientRequest | null) => asked?.reusedSocket === true;

function readAnswer<O extends Operation>(way: Way, operation: O, { status, body }: Reply): Answer<O> {
  if (status === 401 || status === 429) {
    const todo = `clusters.${way.queue}.hubToken must name the same token here and there`;
    throw new RelayError("QUEUE_REFUSED", `${way.who} refuses our token for this queue (status ${status}): ${todo}`);
  }
  try {
    const json: unknown = JSON.parse(body);
    if (status === 200) return answers[operation].parse(json);
    const { code, message } = refusal.parse(json);
    throw new RelayError(code, message);
  } catch (thrown) {
    if (thrown instanceof RelayError) throw thrown;
    throw new RelayError("QUEUE_UNAVAILABLE", `${way.who} gave an answer that cannot be read (status ${status})`);
  }
}

/** Node's code of an error, else its name. */
export function codeOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return "unknown error";
  return "code" in thrown && typeof thrown.code === "string" ? thrown.code : thrown.name;
}
