/** The hub of a process: its embedded queues, lent to the workers of their clusters over TLS; and its journal, for what they say became of the records. */
import type { HubConfig, RelayConfig } from "./config.ts";
import { type Certificate, listen, type Listening } from "./listen.ts";
import { createNews } from "./news.ts";
import type { Observer } from "./observe.ts";
import { toRelayError } from "./outcome.ts";
import { hubGate, type Lent } from "./queue/hub/gate.ts";
import type { LentJournal } from "./queue/hub/journal.ts";
import type { Queues } from "./queues.ts";
import type { SecretReader } from "./secrets.ts";

export interface LendOptions {
  readonly config: Pick<RelayConfig, "clusters">;
  readonly queues: Pick<Queues, "owned">;
  readonly journal: LentJournal | null;
  readonly readSecret: SecretReader;
  readonly observer: Observer;
}

/** How often certificate and key are looked at. */
const RENEW_MS = 30_000;

/** Throws an Error that says what to do where the certificate cannot be read, or the port cannot be had. */
export async function startHub(hub: HubConfig, options: LendOptions): Promise<Pick<Listening, "url" | "port" | "stop">> {
  const { readSecret, observer } = options;
  const gate = hubGate({ lent: lentBy(options), journal: options.journal, readSecret, observer });
  const certificate = await certificateOf(hub, readSecret);
  const listening = await listen({
    ...hub.listen,
    fetch: (request, { incoming }) => gate.fetch(request, incoming.socket.remoteAddress ?? ""),
    setting: "hub.listen",
    certificate,
  });
  const renewing = certificate ? renew(certificate, () => certificateOf(hub, readSecret), listening, observer) : undefined;
  return {
    url: listening.url,
    port: listening.port,
    async stop() {
      clearInterval(renewing);
      const stopped = listening.stop(); // first, so that whoever's poll is ended begins none anew
      gate.stop();
      await stopped;
    },
  };
}

function lentBy({ config, queues }: LendOptions): Map<string, Lent> {
  return new Map(
    Object.entries(config.clusters).flatMap(([name, { hub: access }]) => {
      const queue = queues.owned(name);
      return access && queue ? [[name, { queue, access }]] : [];
    }),
  );
}

async function certificateOf({ tls }: HubConfig, readSecret: SecretReader): Promise<Certificate | null> {
  if (!tls) return null;
  const [cert, key] = await Promise.all([readSecret(tls.certificate), readSecret(tls.key)]);
  return { cert, key };
}

/** What cannot be read, or is no pair (the one is there before the other), is told; until it can the certificate in use stays. */
function renew(first: Certificate, read: () => Promise<Certificate | null>, listening: Listening, observer: Observer): NodeJS.Timeout {
  let inUse = first;
  const news = createNews();
  const look = async () => {
    try {
      const next = await read();
      if (!next || (next.cert === inUse.cert && next.key === inUse.key)) return news.over();
      listening.replace(next);
      inUse = next;
      news.over();
      observer.outcome({ event: "process", outcome: "HUB_CERTIFICATE_RENEWED" });
    } catch (thrown) {
      const why = toRelayError(thrown).message;
      const what = "the hub's new certificate cannot be used; the one before stays. Check hub.certificate and hub.key";
      if (news.isNews(why)) observer.alarm("HUB_CERTIFICATE", { what, why });
    }
  };
  return setInterval(() => void look(), RENEW_MS).unref();
}
