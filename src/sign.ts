/** Proves a delivery of ours to a relay: for each scheme what auth.ts takes. */
import { createHmac } from "node:crypto";
import type { SecretScheme } from "./auth.ts";

/** `body` is the JSON text that is sent, `id` the delivery's own, `username` Basic's (null: every name will do). */
export interface Unsigned {
  readonly body: string;
  readonly id: string;
  readonly now: Date;
  readonly username: string | null;
}

/** What goes beside the body; `path` behind the webhook's URL. */
export interface Proof {
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
}

export function sign(scheme: SecretScheme, secret: string, { body, id, now, username }: Unsigned): Proof {
  const by = (headers: Record<string, string>): Proof => ({ headers, path: "" });
  switch (scheme.kind) {
    case "hmac":
      return by({ [scheme.header]: `${scheme.prefix ?? ""}${createHmac(scheme.hash, secret).update(body).digest(scheme.encoding)}` });
    case "token":
      return by({ [scheme.header]: scheme.scheme === undefined ? secret : `${scheme.scheme} ${secret}` });
    case "basic":
      return by({ authorization: `Basic ${Buffer.from(`${username ?? "mpo-relay"}:${secret}`).toString("base64")}` });
    case "standard-webhooks": {
      const timestamp = String(Math.floor(now.getTime() / 1000));
      const signature = createHmac("sha256", keyOf(secret)).update(`${id}.${timestamp}.${body}`).digest("base64");
      return by({ "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,${signature}` });
    }
    case "url":
      return { headers: {}, path: `/${encodeURIComponent(secret)}` };
  }
}

/** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme; without the prefix it is the key itself. */
function keyOf(secret: string): Buffer {
  return secret.startsWith("whsec_") ? Buffer.from(secret.slice("whsec_".length), "base64") : Buffer.from(secret);
}
