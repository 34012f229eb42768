/**
 * The first use case: a registry calls, and a push that concerns us is stored durably before anybody is told so.
 * In this order, each once: size → authenticate (raw bytes) → parse → pushes → match → store → answer.
 */
import { authenticate } from "./auth.ts";
import { decodeBody } from "./body.ts";
import type { RelayConfig, SecretRef, WebhookConfig } from "./config.ts";
import { encode, imageOf, keyOf, type PushEvent, type RenewRequest } from "./event.ts";
import { matchPush } from "./match.ts";
import type { Observer } from "./observe.ts";
import { type Outcome, RelayError, type SkipReason, toRelayError } from "./outcome.ts";
import { providers } from "./providers/index.ts";
import { type DeliveryHeaders, pushesOf, type Reading, type RegistryProvider, schemeOf } from "./providers/provider.ts";
import type { NewDeadLetter, NewRecord } from "./queue/queue.ts";
import { unparsedLetter } from "./unparsed.ts";

/** One HTTP request as it came. `body` is raw; headers have lower-case names. `pathSecret` stands behind the webhook's name. */
export interface Delivery {
  readonly webhook: string;
  readonly pathSecret: string | null;
  readonly headers: DeliveryHeaders;
  readonly body: Uint8Array;
}

/** What a delivery says, before anything is stored. `skipped` has one entry per push that is not for us. */
export interface Understanding {
  readonly events: readonly PushEvent[];
  readonly requests: readonly RenewRequest[];
  readonly skipped: readonly Skipped[];
  /** Why the body, or items of it, could not be read. */
  readonly unreadable: readonly string[];
}
export interface Skipped {
  readonly repository: string | null;
  readonly tag: string | null;
  readonly reason: SkipReason;
  readonly hint: string | null;
}

/** Records by cluster. All or an error: RelayError QUEUE_UNAVAILABLE, and the sender tries again. */
export type Store = (records: ReadonlyMap<string, readonly NewRecord[]>) => Promise<void>;

export interface ReceiveContext {
  readonly config: RelayConfig;
  readonly readSecret: (ref: SecretRef) => Promise<string>;
  readonly store: Store;
  readonly storeUnparsed: (letter: NewDeadLetter) => Promise<void>;
  readonly observer: Observer;
  readonly now: () => Date;
}

/** What the edge answers with, beside its log line. */
export interface Received {
  readonly outcome: Outcome;
  readonly understood: Understanding | null;
}

export async function receive(delivery: Delivery, context: ReceiveContext): Promise<Received> {
  const started = context.now();
  const received = await attempt(delivery, context, started);
  report(delivery, received, context, started);
  return received;
}

async function attempt(delivery: Delivery, context: ReceiveContext, now: Date): Promise<Received> {
  try {
    const webhook = await admit(delivery, context, now);
    const understood = understand(delivery, webhook, context.config, now);
    await storeAll(delivery, webhook, understood, context, now);
    return { outcome: outcomeOf(understood), understood };
  } catch (error) {
    return { outcome: { kind: "failed", error: toRelayError(error) }, understood: null };
  }
}

/** Finds the webhook and lets the delivery in, or throws UNKNOWN_WEBHOOK or AUTH_FAILED. Nothing is parsed before. */
export async function admit(delivery: Delivery, context: Pick<ReceiveContext, "config" | "readSecret" | "observer">, now: Date) {
  const webhook = Object.hasOwn(context.config.webhooks, delivery.webhook) ? context.config.webhooks[delivery.webhook] : undefined;
  if (!webhook) throw new RelayError("UNKNOWN_WEBHOOK", "no such webhook");
  if (webhook.insecure && !webhook.secret) return webhook;
  const scheme = schemeOf(providerOf(webhook), webhook.auth);
  if (!scheme) throw new RelayError("INTERNAL", `the provider knows no scheme "${webhook.auth}"`);
  const verdict = authenticate(
    scheme,
    { headers: delivery.headers, rawBody: delivery.body, pathSecret: delivery.pathSecret, now },
    await secretsOf(webhook, context.readSecret, now),
  );
  if (verdict === "refused") throw new RelayError("AUTH_FAILED", "not authenticated");
  if (verdict === "previous") {
    context.observer.alarm("OLD_SECRET", {
      what: "a sender still uses the previous secret of this webhook; change it there before it ends",
      webhook: delivery.webhook,
    });
  }
  return webhook;
}

async function secretsOf(webhook: WebhookConfig, readSecret: ReceiveContext["readSecret"], now: Date) {
  const { secret, previousSecret, previousSecretUntil } = webhook;
  if (!secret) throw new RelayError("INTERNAL", "the webhook has no secret");
  const expired = previousSecretUntil !== null && now.getTime() >= Date.parse(previousSecretUntil);
  return {
    current: await readSecret(secret),
    previous: previousSecret && !expired ? await readSecret(previousSecret) : null,
    username: webhook.username,
  };
}

function providerOf(webhook: WebhookConfig): RegistryProvider {
  const provider = providers[webhook.provider];
  if (!provider) throw new RelayError("INTERNAL", `unknown provider "${webhook.provider}"`);
  return provider;
}

/** The pure half: what this delivery would lead to. Never throws for what a sender can put into a body. */
export function understand(
  delivery: Pick<Delivery, "webhook" | "headers" | "body">,
  webhook: WebhookConfig,
  config: RelayConfig,
  now: Date,
): Understanding {
  const { pushes, unreadable } = read(delivery, webhook);
  const requests: RenewRequest[] = [];
  const skipped: Skipped[] = [];
  for (const push of pushes) {
    const match = matchPush(push, config.sources, webhook.sources);
    if (match.kind === "skip") {
      skipped.push({ repository: push.repository, tag: push.tag, reason: match.reason, hint: match.hint });
    } else {
      const { module, source } = match;
      for (const cluster of match.clusters) {
        requests.push(requestOf(push, { cluster, module, source: source.name, webhook: delivery.webhook }, now));
      }
    }
  }
  if (pushes.length === 0 && unreadable.length === 0) skipped.push({ repository: null, tag: null, reason: "NOT_A_PUSH", hint: null });
  return { events: pushes, requests, skipped, unreadable };
}

function read({ body, headers }: Pick<Delivery, "headers" | "body">, webhook: WebhookConfig): Reading {
  const decoded = decodeBody(body, headers["content-type"]);
  if (!decoded.ok) return { pushes: [], unreadable: [decoded.why] };
  return pushesOf(providerOf(webhook), decoded.value, { headers, host: webhook.host });
}

function requestOf(push: PushEvent, target: Pick<RenewRequest, "cluster" | "module" | "source" | "webhook">, now: Date): RenewRequest {
  const receivedAt = now.toISOString();
  return {
    v: 1,
    kind: "renew",
    ...target,
    tag: push.tag ?? "",
    digest: push.digest,
    index: push.mediaType !== null && INDEXES.has(push.mediaType),
    key: keyOf(target.webhook, push, receivedAt),
    nudge: 0,
    image: imageOf(push),
    actor: push.actor,
    pushedAt: credible(push.time, now),
    receivedAt,
    attempt: 0,
    notBefore: null,
    refusedSince: null,
    retries: 0,
  };
}

const SKEW_MS = 2_000; // clocks of a registry and of ours differ by less

/** A time in our future: once that clock is right again, every push up to it would look older, and be taken for covered by this one's nudge. */
const credible = (time: string | null, now: Date) => (time !== null && Date.parse(time) <= now.getTime() + SKEW_MS ? time : null);

/** Of an index Deckhouse shows the child's digest: equality proves success, inequality proves nothing. */
const INDEXES = new Set(["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"]);

async function storeAll(delivery: Delivery, webhook: WebhookConfig, understood: Understanding, context: ReceiveContext, now: Date) {
  const byCluster = new Map<string, NewRecord[]>();
  for (const request of understood.requests) {
    const records = byCluster.get(request.cluster) ?? [];
    records.push({ body: encode(request) });
    byCluster.set(request.cluster, records);
  }
  const writes: Promise<void>[] = [];
  if (byCluster.size > 0) writes.push(context.store(byCluster));
  if (understood.unreadable.length > 0) {
    writes.push(context.storeUnparsed(unparsedLetter(delivery, providerOf(webhook).redact ?? [], understood.unreadable, now)));
  }
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

function report(delivery: Delivery, { outcome, understood }: Received, context: ReceiveContext, started: Date): void {
  const ended = context.now();
  const known = Object.hasOwn(context.config.webhooks, delivery.webhook);
  const line = {
    event: "delivery",
    webhook: known ? delivery.webhook : null, // a name that nobody configured may be anything, a secret too
    bytes: delivery.body.byteLength,
    receivedAt: started.toISOString(),
    ms: ended.getTime() - started.getTime(),
  } as const;
  const { observer } = context;
  if (outcome.kind === "failed") {
    observer.outcome({ ...line, outcome: outcome.error.code, why: outcome.error.message });
    if (outcome.error.code === "QUEUE_UNAVAILABLE" || outcome.error.code === "INTERNAL") {
      observer.alarm(outcome.error.code, { what: outcome.error.message, webhook: line.webhook });
    }
    return;
  }
  for (const request of understood?.requests ?? []) {
    const { key, cluster, module, tag, digest, image, actor, pushedAt } = request;
    observer.outcome({
      ...line,
      outcome: "QUEUED",
      key,
      cluster,
      module,
      tag,
      digest,
      image,
      actor,
      pushedAt,
      queuedAt: ended.toISOString(),
    });
  }
  for (const { repository, tag, reason, hint } of understood?.skipped ?? []) {
    observer.outcome({ ...line, outcome: reason, repository, tag, ...(hint === null ? {} : { hint }) });
  }
  if (understood && understood.unreadable.length > 0) {
    observer.outcome({ ...line, outcome: "UNPARSED", why: understood.unreadable.join("; ").slice(0, 500) });
    observer.alarm("UNPARSED", {
      what: "an authenticated delivery could not be read; it is kept raw: `mpo-relay dlq list --cluster unparsed`, redrive it with a newer relay",
      webhook: line.webhook,
    });
  }
}
