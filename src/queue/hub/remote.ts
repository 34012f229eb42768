/** What a hub elsewhere lends us: a queue and its cluster's journal, over TLS, by a token that opens just these. */
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { HubAccess } from "../../config.ts";
import type { SecretReader } from "../../secrets.ts";
import { type HubCall, HubQueue, PATIENCE_MS } from "./client.ts";
import { type Door, HubJournal } from "./journal.ts";
import { askHub } from "./transport.ts";

/** Idle connections go before the hub drops them (95 s), and before most NATs forget them. */
const IDLE_MS = 30_000;

export interface RemoteHub {
  /** An origin: `https://host:port`, or http on loopback. */
  readonly url: string;
  readonly queue: string;
  readonly access: Pick<HubAccess, "token" | "ca">;
  readonly readSecret: SecretReader;
}

/** Opens no connection yet. Its methods throw QUEUE_REFUSED where the hub does not know the token; INTERNAL, which names the reference, where it cannot be read. */
export function openRemoteHub(hub: RemoteHub): HubQueue {
  const { call, close } = doorOf(hub);
  return new HubQueue(hub.queue, call, close);
}

/** Of several clusters. Opens no connection yet. */
export function openRemoteJournal(hubs: readonly RemoteHub[]): HubJournal {
  const urls = new Set(hubs.map(({ url }) => url));
  return new HubJournal(`the hub ${[...urls].join(", ")}`, new Map(hubs.map((hub) => [hub.queue, doorOf(hub)])));
}

/** Token and authority are read for each request, so that a rotation needs no restart. */
function doorOf({ url, queue, access, readSecret }: RemoteHub): Door {
  const { protocol, hostname, port } = new URL(url);
  const isTls = protocol === "https:";
  const request = isTls ? httpsRequest : httpRequest;
  let kept: { ca: string | null; agent: HttpAgent } | null = null;
  const agentOf = (ca: string | null): HttpAgent => {
    if (kept === null || kept.ca !== ca) {
      const options = { keepAlive: true, timeout: IDLE_MS };
      // that of another authority ends its connections when they are idle
      kept = { ca, agent: isTls ? new HttpsAgent({ ...options, ...(ca !== null && { ca }) }) : new HttpAgent(options) };
    }
    return kept.agent;
  };
  const call: HubCall = async (operation, ask, timeoutMs = PATIENCE_MS) => {
    const [token, ca] = await Promise.all([readSecret(access.token), access.ca && readSecret(access.ca)]);
    const options = {
      agent: agentOf(ca),
      host: hostname.replace(/^\[(.*)\]$/, "$1"),
      port: port || (isTls ? 443 : 80),
    };
    const headers = { authorization: `Bearer ${token}` };
    return askHub({ request, options, headers, who: `the hub ${url}`, queue }, operation, ask, timeoutMs);
  };
  return { call, close: async () => kept?.agent.destroy() };
}
