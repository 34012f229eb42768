/** Who is let in: the webhook that a delivery came to, once its sender has proved itself. Nothing is parsed before. */
import { authenticate } from "./auth.ts";
import type { RelayConfig, SecretRef, WebhookConfig } from "./config.ts";
import type { Observer } from "./observe.ts";
import { verifyToken } from "./oidc.ts";
import { RelayError } from "./outcome.ts";
import { providers } from "./providers/index.ts";
import { type AuthScheme, type DeliveryHeaders, type RegistryProvider, schemeOf } from "./providers/provider.ts";
import type { QueueRecord } from "./queue/queue.ts";
import { readPair } from "./secrets.ts";

/** One HTTP request as it came. `body` is raw; headers have lower-case names. `pathSecret` stands behind the webhook's name. */
export interface Delivery {
  readonly webhook: string;
  /** Left out: POST. Some senders ask by OPTIONS before they send. */
  readonly method?: "POST" | "OPTIONS";
  readonly pathSecret: string | null;
  readonly headers: DeliveryHeaders;
  readonly body: Uint8Array;
  /** Never by HTTP, whatever a request says. */
  readonly messageId?: undefined;
}

/** One message of a webhook's own queue. `messageId` is the queue's, the same each time that the message is received. */
export interface QueuedDelivery extends Omit<Delivery, "messageId"> {
  readonly messageId: string;
}

export function queuedDelivery(webhook: string, { id, body }: Pick<QueueRecord, "id" | "body">): QueuedDelivery {
  return { webhook, pathSecret: null, headers: {}, body: Buffer.from(body), messageId: id };
}

export interface AdmitContext {
  readonly config: Pick<RelayConfig, "webhooks">;
  readonly readSecret: (ref: SecretRef) => Promise<string>;
  readonly observer: Observer;
}

/** Finds the webhook and lets the delivery in. Throws RelayError UNKNOWN_WEBHOOK, METHOD, AUTH_FAILED, or KEYS_UNAVAILABLE. */
export async function admit(delivery: Delivery | QueuedDelivery, context: AdmitContext, now: Date): Promise<WebhookConfig> {
  const webhook = Object.hasOwn(context.config.webhooks, delivery.webhook) ? context.config.webhooks[delivery.webhook] : undefined;
  if (!webhook) throw new RelayError("UNKNOWN_WEBHOOK", "no such webhook");
  if ((webhook.queue === null) !== (delivery.messageId === undefined))
    throw new RelayError("UNKNOWN_WEBHOOK", `its deliveries come ${webhook.queue ? "from its queue" : "by HTTP"} and in no other way`);
  if (webhook.queue) return webhook; // who may send there is for the queue's policy to say
  const provider = providerOf(webhook);
  const scheme = schemeOf(provider, webhook.auth);
  if (!scheme) throw new RelayError("INTERNAL", `the provider knows no scheme "${webhook.auth}"`);
  if (delivery.method === "OPTIONS" && !provider.handshake) throw new RelayError("METHOD", "only POST");
  if (webhook.insecure && !webhook.secret && !webhook.oidc) return webhook;
  // OPTIONS carries no header of the sender's owner, so only a secret in the path can be asked for. Nothing of it is parsed or stored.
  if (delivery.method === "OPTIONS" && scheme.kind !== "url") return webhook;
  if (!(await isLetIn(delivery, webhook, scheme, context, now))) throw new RelayError("AUTH_FAILED", "not authenticated");
  return webhook;
}

/** The row of the table. Throws RelayError INTERNAL: the configuration knows no other names. */
export function providerOf(webhook: Pick<WebhookConfig, "provider">): RegistryProvider {
  const provider = providers[webhook.provider];
  if (!provider) throw new RelayError("INTERNAL", `unknown provider "${webhook.provider}"`);
  return provider;
}

async function isLetIn(
  delivery: Delivery | QueuedDelivery,
  webhook: WebhookConfig,
  scheme: AuthScheme,
  context: AdmitContext,
  now: Date,
): Promise<boolean> {
  const { headers, body: rawBody, pathSecret } = delivery;
  if (scheme.kind === "oidc") {
    if (!webhook.oidc) throw new RelayError("INTERNAL", "the webhook names nobody whose token would be taken");
    return verifyToken(headers["authorization"], scheme, webhook.oidc, context.readSecret, now);
  }
  const verdict = authenticate(scheme, { headers, rawBody, pathSecret, now }, await secretsOf(delivery.webhook, webhook, context, now));
  if (verdict === "previous") {
    context.observer.alarm("OLD_SECRET", {
      what: "a sender still uses the previous secret of this webhook; change it there before it ends",
      webhook: delivery.webhook,
    });
  }
  return verdict !== "refused";
}

async function secretsOf(name: string, webhook: WebhookConfig, { readSecret, observer }: AdmitContext, now: Date) {
  const { secret, previousSecret, previousSecretUntil } = webhook;
  if (!secret) throw new RelayError("INTERNAL", "the webhook has no secret");
  const pair = { current: secret, previous: previousSecret, previousUntil: previousSecretUntil };
  const secrets = await readPair(pair, readSecret, now, (why) =>
    observer.alarm("OLD_SECRET_MISSING", {
      what: "the previous secret of this webhook cannot be read, so senders that still use it are refused; put it back, or take previousSecret out of the configuration",
      webhook: name,
      why,
    }),
  );
  return { ...secrets, username: webhook.username };
}
