/** Whether the secrets can be read without which a webhook refuses everybody: nobody should hear of it from a push that was refused. */
import type { RelayConfig, SecretRef } from "./config.ts";
import { createNewsOfEach } from "./news.ts";
import type { Observer } from "./observe.ts";
import { toRelayError } from "./outcome.ts";

/** One look at each webhook's secret; alarms SECRET_MISSING, and again while it lasts. Never throws. */
export function watchSecrets(
  { webhooks }: Pick<RelayConfig, "webhooks">,
  readSecret: (ref: SecretRef) => Promise<string>,
  observer: Observer,
): () => Promise<void> {
  const isNews = createNewsOfEach();
  return async () => {
    for (const [webhook, { secret }] of Object.entries(webhooks)) {
      if (!secret) continue;
      await readSecret(secret).catch((thrown: unknown) => {
        const { message: why } = toRelayError(thrown);
        if (isNews(webhook, why))
          observer.alarm("SECRET_MISSING", {
            what: "this webhook refuses every delivery with 503 until its secret can be read",
            webhook,
            why,
          });
      });
    }
  };
}
