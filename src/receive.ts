/**
 * The first use case: a registry calls, or its event is taken from a queue; a push that concerns us is stored durably before anybody is told so.
 * In this order: size → authenticate (raw bytes) → parse → pushes → match → store → answer. On Lambda the size comes second.
 */
import { admit, type AdmitContext, type Delivery, providerOf, type QueuedDelivery } from "./admit.ts";
import { measure } from "./bodies.ts";
import { type Body, decodeBody } from "./body.ts";
import type { RelayConfig, WebhookConfig } from "./config.ts";
import { encode, imageOf, INDEX_TYPES, keyOf, type PushEvent, type RenewRequest } from "./event.ts";
import { entryOf, type Note } from "./journal/journal.ts";
import { CLOCKS_DIFFER_MS, RESCAN_GATHER_SECONDS, TAG_FOLLOWS_SECONDS } from "./limits.ts";
import { createMatcher } from "./match.ts";
import { ADVICE, type ErrorCode, type Outcome, RelayError, type SkipReason, toRelayError } from "./outcome.ts";
import { type Handshake, pushesOf, type Reading } from "./providers/provider.ts";
import type { NewDeadLetter, NewRecord } from "./queue/queue.ts";
import { unparsedLetter } from "./unparsed.ts";

export type { Delivery };

type Incoming = Delivery | QueuedDelivery;

/** What a delivery says, before anything is stored. `skipped` has one entry per push that is not for us. */
export interface Understanding {
  readonly events: readonly PushEvent[];
  readonly requests: readonly RenewRequest[];
  readonly skipped: readonly Skipped[];
  /** Why the body, or items of it, could not be read. */
  readonly unreadable: readonly string[];
  /** What a sender that only asks is answered. */
  readonly handshake: Handshake | null;
}
export interface Skipped {
  readonly repository: string | null;
  readonly tag: string | null;
  readonly reason: SkipReason;
  readonly hint: string | null;
}

/** Records by cluster. All or an error: RelayError QUEUE_UNAVAILABLE, and the sender tries again. */
export type Store = (records: ReadonlyMap<string, readonly NewRecord[]>) => Promise<void>;

export interface ReceiveContext extends AdmitContext {
  readonly config: RelayConfig;
  readonly store: Store;
  /** False: there is no room for more; an alarm named it. */
  readonly storeUnparsed: (letter: NewDeadLetter) => Promise<boolean>;
  /** Left out: no journal is written. */
  readonly note?: Note;
  readonly now: () => Date;
}

/** What the edge answers with, beside its log line. */
export interface Received {
  readonly outcome: Outcome;
  readonly understood: Understanding | null;
}

export async function receive(delivery: Incoming, context: ReceiveContext): Promise<Received> {
  const started = context.now();
  const received = await attempt(delivery, context, started);
  report(delivery, received, context, started);
  return received;
}

async function attempt(delivery: Incoming, context: ReceiveContext, now: Date): Promise<Received> {
  try {
    const webhook = await admit(delivery, context, now);
    measure(delivery, webhook.maxBody ?? context.config.limits.body);
    const understood = understand(delivery, webhook, context.config, now);
    await storeAll(delivery, webhook, understood, context, now);
    await context.note?.(understood.requests.map((request) => entryOf(request, "QUEUED", now.toISOString())));
    return { outcome: outcomeOf(understood), understood };
  } catch (error) {
    return { outcome: { kind: "failed", error: toRelayError(error) }, understood: null };
  }
}

/** The pure half: what this delivery would lead to. Throws METHOD for an OPTIONS that is no handshake, and nothing for what a body can hold. */
export function understand(
  delivery: Pick<Incoming, "webhook" | "method" | "headers" | "body" | "messageId">,
  webhook: WebhookConfig,
  config: RelayConfig,
  now: Date,
  mostItems?: number,
): Understanding {
  const read = readAs(delivery, webhook, mostItems);
  if ("handshake" in read)
    return {
      ...read,
      events: [],
      requests: [],
      skipped: [{ repository: null, tag: null, reason: "HANDSHAKE", hint: null }],
      unreadable: [],
    };
  const { pushes, unreadable } = read;
  const requests: RenewRequest[] = [];
  const skipped: Skipped[] = [];
  const matching = createMatcher(config.sources, webhook.sources);
  for (const push of pushes) {
    const match = matching(push);
    if (match.kind === "skip") {
      skipped.push({ repository: push.repository, tag: push.tag, reason: match.reason, hint: match.hint });
    } else {
      const { does, module, source, clusters } = match;
      const anyCase = providerOf(webhook).lowersTags;
      const target = { kind: does, module, source: source.name, webhook: delivery.webhook, ...(anyCase && { anyCase }) };
      requests.push(...requestsOf(push, target, clusters, delivery.messageId, now));
    }
  }
  if (pushes.length === 0 && unreadable.length === 0) skipped.push({ repository: null, tag: null, reason: "NOT_A_PUSH", hint: null });
  return { events: pushes, requests, skipped, unreadable, handshake: null };
}

type Question = Pick<Delivery, "method" | "headers" | "body">;

/** An OPTIONS is a question or nothing: it may come from anybody, so its body is not even decoded. */
function readAs({ method = "POST", body, headers }: Question, webhook: WebhookConfig, most?: number): Reading | { handshake: Handshake } {
  const provider = providerOf(webhook);
  const decoded: Body = method === "POST" ? decodeBody(body, headers["content-type"]) : { ok: true, value: undefined };
  if (!decoded.ok) return { pushes: [], unreadable: [decoded.why] };
  const handshake = provider.handshake?.({ method, headers, payload: decoded.value }) ?? null;
  if (handshake) return { handshake };
  if (method !== "POST") throw new RelayError("METHOD", "only POST");
  return pushesOf(provider, decoded.value, { headers, host: webhook.host, ...(most !== undefined && { most }) });
}

type Target = Pick<RenewRequest, "kind" | "module" | "source" | "webhook" | "anyCase">;

function requestsOf(
  push: PushEvent,
  target: Target,
  clusters: readonly string[],
  messageId: string | undefined,
  now: Date,
): RenewRequest[] {
  const receivedAt = now.toISOString();
  const ofEach = {
    v: 1,
    tag: push.tag ?? "",
    digest: push.digest,
    index: push.mediaType !== null && INDEX_TYPES.has(push.mediaType),
    key: keyOf(target.webhook, push, messageId ?? receivedAt),
    nudge: 0,
    image: imageOf(push),
    actor: push.actor,
    pushedAt: credible(push.time, now),
    receivedAt,
    attempt: 0,
    notBefore: null,
    refusedSince: null,
    retries: 0,
    rival: null,
    ...target,
  } as const;
  return clusters.map((cluster) => ({ cluster, ...ofEach }));
}

/** A time in our future: once that clock is right again, every push up to it would look older, and be taken for covered by this one's nudge. */
const credible = (time: string | null, now: Date) => (time !== null && Date.parse(time) <= now.getTime() + CLOCKS_DIFFER_MS ? time : null);

/**
 * Where there is no room, a sender is told 202 nevertheless, since it could do nothing; what came from a queue can stay there. What cannot
 * be kept whole is refused, though the pushes that could be read are stored: should it come again, their keys are known.
 */
async function keepUnparsed(delivery: Incoming, webhook: WebhookConfig, why: readonly string[], context: ReceiveContext, now: Date) {
  const isStored = await context.storeUnparsed(unparsedLetter(delivery, providerOf(webhook).redact ?? [], why, now));
  if (!isStored && delivery.messageId !== undefined)
    throw new RelayError("QUEUE_UNAVAILABLE", "no room for deliveries that cannot be read");
}

async function storeAll(delivery: Incoming, webhook: WebhookConfig, understood: Understanding, context: ReceiveContext, now: Date) {
  const byCluster = new Map<string, NewRecord[]>();
  const tagSeconds = providerOf(webhook).tellsBeforeTag ? TAG_FOLLOWS_SECONDS : 0;
  for (const request of understood.requests) {
    const records = byCluster.get(request.cluster) ?? [];
    const delaySeconds = request.kind === "rescan" ? RESCAN_GATHER_SECONDS : tagSeconds;
    records.push({ body: encode(request), ...(delaySeconds > 0 && { delaySeconds }) });
    byCluster.set(request.cluster, records);
  }
  const writes: Promise<void>[] = [];
  if (byCluster.size > 0) writes.push(context.store(byCluster));
  if (understood.unreadable.length > 0) writes.push(keepUnparsed(delivery, webhook, understood.unreadable, context, now));
  // all of them end before we answer: a write that goes on behind a 503 would only surprise
  const failed = (await Promise.allSettled(writes)).find((write) => write.status === "rejected");
  if (failed) throw toRelayError(failed.reason, "QUEUE_UNAVAILABLE");
}

/** What the whole delivery came to: queued wins over unparsed, unparsed over skipped. */
export function outcomeOf(understood: Understanding): Outcome {
  const { requests, unreadable, skipped } = understood;
  if (requests.length > 0) return { kind: "done", code: "QUEUED" };
  if (unreadable.length > 0) return { kind: "done", code: "UNPARSED" };
  const first = skipped.find((each) => each.reason === "UNKNOWN_HOST") ?? skipped[0];
  return { kind: "skipped", reason: first?.reason ?? "NOT_A_PUSH", detail: { hint: first?.hint ?? null } };
}

/** Lines of a delivery for pushes that are not for us; of more, each reason gets one line with their number. */
const SKIPS_TOLD = 10;
const ALARMS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "TOO_LARGE",
  "QUEUE_UNAVAILABLE",
  "QUEUE_REFUSED",
  "KEYS_UNAVAILABLE",
  "INTERNAL",
]);

/** null: a name that nobody configured may be anything, a secret too. */
export const nameOf = (webhook: string, { webhooks }: Pick<RelayConfig, "webhooks">) => (Object.hasOwn(webhooks, webhook) ? webhook : null);

function report(delivery: Incoming, { outcome, understood }: Received, context: ReceiveContext, started: Date): void {
  const ended = context.now();
  const line = {
    event: "delivery",
    webhook: nameOf(delivery.webhook, context.config),
    bytes: delivery.body.byteLength,
    receivedAt: started.toISOString(),
    ms: ended.getTime() - started.getTime(),
  } as const;
  const { observer } = context;
  if (outcome.kind === "failed") {
    const { code, message: why } = outcome.error;
    observer.outcome({ outcome: code, why, ...line });
    if (ALARMS.has(code)) observer.alarm(code, { what: ADVICE[code] ?? why, webhook: line.webhook, why });
    return;
  }
  const queuedAt = ended.toISOString();
  for (const request of understood?.requests ?? []) {
    const { key, cluster, module, tag, digest, image, actor, pushedAt } = request;
    // what all lines share comes last: V8 makes a slow object of one that grows behind a spread, and pino takes four times as long for it
    observer.outcome({ outcome: "QUEUED", key, cluster, module, tag, digest, image, actor, pushedAt, queuedAt, ...line });
  }
  const skipped = understood?.skipped ?? [];
  for (const { repository, tag, reason, hint } of skipped.slice(0, SKIPS_TOLD)) {
    observer.outcome({ outcome: reason, repository, tag, ...(hint === null ? {} : { hint }), ...line });
  }
  const untold = new Map<SkipReason, number>();
  for (const { reason } of skipped.slice(SKIPS_TOLD)) untold.set(reason, (untold.get(reason) ?? 0) + 1);
  for (const [reason, more] of untold) observer.outcome({ outcome: reason, more, ...line });
  if (understood && understood.unreadable.length > 0) {
    observer.outcome({ outcome: "UNPARSED", why: understood.unreadable.join("; ").slice(0, 500), ...line });
    observer.alarm("UNPARSED", {
      what: "an authenticated delivery could not be read; it is kept raw (unless UNPARSED_FULL is told beside this): `mpo-relay dlq list --cluster unparsed`, redrive it with a newer relay",
      webhook: line.webhook,
    });
  }
}
