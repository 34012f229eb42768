/** The edge as a Hono app: routes, the size limit in real bytes, and the answer that an outcome leads to. */
import { type Context, Hono } from "hono";
import { type Bodies, createBodies } from "./bodies.ts";
import type { RelayConfig } from "./config.ts";
import type { Observer } from "./observe.ts";
import { ADVICE, httpStatus, RelayError, toRelayError } from "./outcome.ts";
import type { PushAnswer, PushQuestion } from "./pushes.ts";
import { type Delivery, nameOf, type Received } from "./receive.ts";

export interface AppContext {
  readonly config: Pick<RelayConfig, "limits" | "webhooks">;
  /** Tells of each delivery whose body it got. */
  readonly receive: (delivery: Delivery) => Promise<Received>;
  /** Hears of those whose body was not read to its end. */
  readonly observer: Observer;
  /** What became of a push; left out where no journal is written. */
  readonly tellPush?: (question: PushQuestion) => Promise<PushAnswer>;
  /** Resolves when configuration and queues could take a push now. Never asks an API server. */
  readonly ready: () => Promise<void>;
  /** True where this caller has failed to authenticate too often of late; only Node processes know addresses. */
  readonly tooMany?: (request: Context) => boolean;
  /** The body's bytes as they come. Default: the Request's own stream, which costs a Node process a third of its time. */
  readonly bodyOf?: (request: Context) => AsyncIterable<Uint8Array>;
}

export interface Answer {
  readonly status: number;
  readonly decision: "queued" | "unparsed" | "skipped" | "refused" | "failed";
  readonly reason: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** null: an unauthenticated caller learns nothing. */
  readonly body: Readonly<Record<string, unknown>> | null;
}

const RETRY_AFTER_SECONDS = "5";
const READY_BELIEVED_MS = 1000;
/** Of all deliveries in hand; a delivery with a larger limit of its own still fits. */
const BODIES_BYTES = 64 * 1024 ** 2;

export function createApp(context: AppContext): Hono {
  const app = new Hono();
  const { limits, webhooks } = context.config;
  const bodies = createBodies(Math.max(BODIES_BYTES, limits.body, ...Object.values(webhooks).map(({ maxBody }) => maxBody ?? 0)));
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  const isReady = readiness(context.ready);
  // why not is in the log: this page is public
  app.get("/readyz", async (c) => ((await isReady()) ? c.json({ status: "ready" }) : c.json({ status: "not ready" }, 503)));
  const hook = async (c: Context) => responseOf(await handle(c, context, bodies));
  app.post("/hooks/:webhook", hook);
  app.post("/hooks/:webhook/:secret", hook);
  app.on("OPTIONS", ["/hooks/:webhook", "/hooks/:webhook/:secret"], hook); // asked before a first delivery; mostly answered 405
  app.get("/pushes/:key", async (c) => responseOf(await tell(c, context)));
  app.get("/pushes/:key/:secret", async (c) => responseOf(await tell(c, context)));
  app.all("/hooks/*", (c) => c.body(null, 405, { allow: "POST" }));
  app.notFound((c) => c.body(null, 404));
  app.onError((_error, c) => c.body(null, 503, { "retry-after": RETRY_AFTER_SECONDS })); // Hono would print the error, and the path with it
  return app;
}

/** Anybody may ask, and each look writes to a disk or costs a call for each queue: so it is made once a second. The answer is kept, not the promise: workerd lends none to another request. */
function readiness(look: () => Promise<void>): () => Promise<boolean> {
  let lookedAt = Number.NEGATIVE_INFINITY;
  let known: boolean | null = null;
  return async () => {
    const now = performance.now();
    if (known !== null && now - lookedAt < READY_BELIEVED_MS) return known;
    lookedAt = now;
    known = await look().then(
      () => true,
      () => false,
    );
    return known;
  };
}

async function handle(c: Context, context: AppContext, bodies: Bodies): Promise<Answer> {
  const webhook = c.req.param("webhook") ?? "";
  const { limits, webhooks } = context.config;
  const own = Object.hasOwn(webhooks, webhook) ? webhooks[webhook]?.maxBody : null;
  const method = c.req.method === "OPTIONS" ? "OPTIONS" : "POST";
  try {
    const headers = headersOf(c);
    const take = (body: Uint8Array) => context.receive({ webhook, method, pathSecret: c.req.param("secret") ?? null, headers, body });
    const answer = await bodies.read(context.bodyOf?.(c) ?? c.req.raw.body, own ?? limits.body, async (body) =>
      // what is thrown from here on is ours, and not a caller's that went away
      answerOf(
        await take(body).catch((thrown: unknown) => {
          throw toRelayError(thrown);
        }),
      ),
    );
    const key = answer.decision === "queued" && context.tellPush ? answer.body?.["key"] : null;
    return typeof key === "string" ? { ...answer, headers: { location: `/pushes/${key}` } } : limited(answer, c, context);
  } catch (error) {
    const known = error instanceof RelayError ? error : new RelayError("CUT_OFF", "the body did not come to its end");
    tellUnread(known, webhook, context);
    return refusalOf(known);
  }
}

/** Nobody knows yet who called, so an alarm is only of a webhook that there is. */
function tellUnread({ code, message: why }: RelayError, called: string, { config, observer }: AppContext): void {
  const webhook = nameOf(called, config);
  observer.outcome({ event: "delivery", outcome: code, why, webhook });
  const what = ADVICE[code];
  if (webhook !== null && what !== undefined) observer.alarm(code, { what, webhook, why });
}

/** `GET /pushes/<key>`, with the credential of the webhook that the push came by. */
async function tell(c: Context, context: AppContext): Promise<Parameters<typeof responseOf>[0]> {
  try {
    if (!context.tellPush) throw new RelayError("UNKNOWN_PUSH", "no journal is written");
    const question = { key: c.req.param("key") ?? "", pathSecret: c.req.param("secret") ?? null, headers: headersOf(c) };
    return { status: 200, headers: { "cache-control": "no-store" }, body: await context.tellPush(question) };
  } catch (error) {
    return limited(refusalOf(error), c, context);
  }
}

function headersOf(c: Context): Record<string, string> {
  const headers: Record<string, string> = {};
  c.req.raw.headers.forEach((value, name) => (headers[name] = value));
  return headers;
}

function refusalOf(error: unknown): Answer {
  if (!(error instanceof RelayError)) throw error;
  return answerOf({ outcome: { kind: "failed", error }, understood: null });
}

function limited(answer: Answer, c: Context, context: AppContext): Answer {
  if (answer.status !== 401 || !context.tooMany?.(c)) return answer;
  return refusalOf(new RelayError("TOO_MANY", "too many refused calls"));
}

/** The answer to a delivery; `explain` shows the same. */
export function answerOf({ outcome, understood }: Received): Answer {
  const status = httpStatus(outcome);
  if (outcome.kind === "failed") {
    const headers = FAILURE_HEADERS[status] ?? {};
    const open = status === 413 || status === 503;
    const reason = outcome.error.code;
    const decision = status === 503 ? "failed" : "refused";
    return { status, decision, reason, headers, body: open ? { decision, reason, key: null } : null };
  }
  if (understood?.handshake) return { ...understood.handshake, decision: "skipped", reason: "HANDSHAKE" };
  const keys = [...new Set(understood?.requests.map((request) => request.key))];
  const decision = outcome.kind === "skipped" ? "skipped" : outcome.kind === "done" && outcome.code === "UNPARSED" ? "unparsed" : "queued";
  const reason = outcome.kind === "skipped" ? outcome.reason : decision === "unparsed" ? "UNPARSED" : null;
  const hint = outcome.kind === "skipped" ? outcome.detail?.["hint"] : null;
  const body = { decision, reason, key: keys[0] ?? null, ...(keys.length > 1 && { keys }), ...(typeof hint === "string" && { hint }) };
  return { status, decision, reason, headers: {}, body };
}
const FAILURE_HEADERS: Readonly<Record<number, Readonly<Record<string, string>>>> = {
  405: { allow: "POST" },
  413: { connection: "close" },
  429: { "retry-after": "60" },
  503: { "retry-after": RETRY_AFTER_SECONDS },
};

function responseOf({ status, headers, body }: Pick<Answer, "status" | "headers"> & { readonly body: object | null }): Response {
  const json = body === null ? null : JSON.stringify(body);
  return new Response(json, { status, headers: json === null ? headers : { ...headers, "content-type": "application/json" } });
}
