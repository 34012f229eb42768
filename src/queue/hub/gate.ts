/** What stands before a hub that a network reaches: who asks for a queue shows the token of that one cluster, before anything is read. */
import { authenticate } from "../../auth.ts";
import type { HubAccess } from "../../config.ts";
import { createLimiter } from "../../limiter.ts";
import { createNewsOfEach } from "../../news.ts";
import type { Observer } from "../../observe.ts";
import { toRelayError } from "../../outcome.ts";
import { readPair, type SecretReader } from "../../secrets.ts";
import { journalOfCluster, type LentJournal } from "./journal.ts";
import { hubHandler, type HubHandler, type LendableQueue, targetOf } from "./server.ts";

export interface Lent {
  readonly queue: LendableQueue;
  readonly access: HubAccess;
}

export interface HubGate {
  /** `address`: whence the request came. Never throws. */
  fetch(request: Request, address: string): Promise<Response>;
  /** Ends all long polls. */
  stop(): void;
}

export interface GateOptions {
  /** By cluster. */
  readonly lent: ReadonlyMap<string, Lent>;
  /** This process's own; each token opens what is its cluster's of it. null: there is none. */
  readonly journal: LentJournal | null;
  readonly readSecret: SecretReader;
  readonly observer: Observer;
  readonly now?: () => Date;
}

const REFUSED_CALLS_PER_MINUTE = 30;
const NO_BODY = new Uint8Array();

/** Beside the operations of the hub: 401 and 429 without a body to whoever shows no token of the queue, 503 while the token cannot be read. */
export function hubGate({ lent, journal, readSecret, observer, now = () => new Date() }: GateOptions): HubGate {
  const isTooMany = createLimiter(REFUSED_CALLS_PER_MINUTE);
  // A handler each: it reaches no other queue and no other cluster's entries, and ends no other's long poll.
  const doors = new Map(
    [...lent].map(([cluster, { queue, access }]) => {
      const own = { queue, journal: journalOfCluster(journal, cluster) };
      return [cluster, { access, handler: hubHandler(() => own) }];
    }),
  );
  /** A worker asks some times a minute, and a stranger as often as it likes. */
  const isNews = createNewsOfEach();

  async function handlerFor(request: Request): Promise<HubHandler | null> {
    const cluster = targetOf(request).name ?? "";
    const door = doors.get(cluster);
    if (!door) return null;
    const verdict = await verdictOn(request, cluster, door.access);
    if (verdict === "refused") return null;
    if (verdict === "previous" && isNews(cluster, "OLD_SECRET"))
      observer.alarm("OLD_SECRET", {
        what: "this cluster's worker still shows the previous hub token; change it there before it ends",
        cluster,
      });
    return door.handler;
  }

  async function verdictOn(request: Request, cluster: string, { token, previousToken, previousTokenUntil }: HubAccess) {
    const at = now();
    const pair = { current: token, previous: previousToken, previousUntil: previousTokenUntil };
    const secrets = await readPair(pair, readSecret, at, (why) => {
      if (!isNews(cluster, "OLD_SECRET_MISSING")) return;
      observer.alarm("OLD_SECRET_MISSING", {
        what: "the previous hub token of this cluster cannot be read, so a worker that still shows it is refused; put it back, or take previousHubToken out",
        cluster,
        why,
      });
    });
    const headers = { authorization: request.headers.get("authorization") ?? "" };
    return authenticate(BEARER, { headers, rawBody: NO_BODY, pathSecret: null, now: at }, secrets);
  }

  return {
    async fetch(request, address) {
      try {
        const handler = await handlerFor(request);
        if (handler) return await handler.fetch(request);
        return isTooMany(address) ? bare(429, { "retry-after": "60" }) : bare(401);
      } catch (thrown) {
        if (thrown instanceof URIError) return bare(400);
        const cluster = targetOf(request).name ?? ""; // of the configuration: others were refused
        const what = "a hub token cannot be read; its worker gets 503 until it can";
        if (isNews(cluster, "SECRET_MISSING")) observer.alarm("SECRET_MISSING", { what, cluster, why: toRelayError(thrown).message });
        return bare(503, { "retry-after": "5" });
      }
    },
    stop() {
      for (const { handler } of doors.values()) handler.stop();
    },
  };
}

const BEARER = { kind: "token", header: "authorization", scheme: "Bearer" } as const;

/** The body was not read, so the connection can bring nothing else. */
const bare = (status: number, headers: Readonly<Record<string, string>> = {}) =>
  new Response(null, { status, headers: { connection: "close", ...headers } });
