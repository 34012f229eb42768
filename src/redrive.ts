/** What a dead letter becomes when an operator sends it again. Pure; storing and removing is the caller's. */
import type { RelayConfig } from "./config.ts";
import { decode, type RenewRequest } from "./event.ts";
import type { DeadLetter } from "./queue/queue.ts";
import { understand } from "./receive.ts";
import { storedDelivery } from "./unparsed.ts";

/** `requests` may be empty: a delivery that is understood by now and not for us. `refused` leaves the letter where it is. */
export type Redrive = { kind: "send"; requests: readonly RenewRequest[] } | { kind: "refused"; why: string };

export function redriveOf(letter: Pick<DeadLetter, "body" | "code">, config: RelayConfig): Redrive {
  return letter.code === "UNPARSED" ? parsedAgain(letter.body, config) : sentAgain(letter.body);
}

/**
 * One nudge more, so that the renewal is not taken for a repetition; key and receive time stay, so that it is known as the same push.
 * What the record learned on its way (attempts, waits, what the status held) starts anew.
 */
function sentAgain(body: string): Redrive {
  const read = decode(body);
  if (read.kind === "malformed") return { kind: "refused", why: `not a record that a relay wrote (${read.why}): purge it` };
  if (read.kind === "newer") return { kind: "refused", why: `written by a newer relay (${read.why}): redrive it with that version` };
  const { look: _look, ...request } = read.request;
  const kind = request.kind === "rescan" ? "rescan" : "renew";
  const again = { kind, nudge: request.nudge + 1, attempt: 0, notBefore: null, refusedSince: null, retries: 0 } as const;
  return { kind: "send", requests: [{ ...request, ...again }] };
}

/** Through the same pure half as a delivery that arrives, as of the time at which it arrived. */
function parsedAgain(body: string, config: RelayConfig): Redrive {
  const stored = storedDelivery(body);
  if (!stored) return { kind: "refused", why: "not a stored delivery: purge it" };
  if (!stored.body) return { kind: "refused", why: "it was too large to be kept whole: let the registry send it again, or push again" };
  const webhook = Object.hasOwn(config.webhooks, stored.webhook) ? config.webhooks[stored.webhook] : undefined;
  if (!webhook) return { kind: "refused", why: `the webhook "${stored.webhook}" is no longer in the configuration` };
  const delivery = { webhook: stored.webhook, headers: stored.headers, body: stored.body };
  const { requests, unreadable } = understand(delivery, webhook, config, new Date(stored.receivedAt), Number.POSITIVE_INFINITY);
  if (unreadable.length > 0) return { kind: "refused", why: `this version cannot read it either: ${unreadable.join("; ")}` };
  return { kind: "send", requests };
}
