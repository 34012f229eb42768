/**
 * Stands between the registry and the relay. The real registry's notifications pass as they are, and it repeats them as it does. For the
 * modules of other kinds a sender of that kind tells of the same push, in its own form, and repeats as that registry does:
 * infra/registries/ has where that is known from. Waits are shorter than the real ones, as are the relay's own (`tuning`).
 */
import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { setups } from "../../src/cli/setup/index.ts";
import { providers } from "../../src/providers/index.ts";
import { sign } from "../../src/sign.ts";
import { freePort } from "../e2e/parts/child.ts";
import type { Push } from "./ledger.ts";
import type { Fate } from "./plan.ts";

export const KINDS = ["harbor", "quay", "gitea"] as const;
export type Kind = "distribution" | (typeof KINDS)[number];

/** The relay's, by the name of each. */
export const WEBHOOKS = Object.fromEntries(
  ["registry", ...KINDS].map((name) => [name, { provider: name === "registry" ? "distribution" : name, secret: "file:webhook.secret" }]),
);

/** How often in all, and the wait between. Distribution: without end, by itself. */
const TRIES: Readonly<Record<(typeof KINDS)[number], number>> = { harbor: 3, quay: 3, gitea: 1 };
const BETWEEN_MS = 2_000;
/** A relay that is paused answers later, and the delivery is with it all the same. */
const PATIENCE_MS = 30_000;
/** Where every module of a run lies, and the one tag. */
export const PATH = "deckhouse/modules";
export const TAG = "main";

export interface Told {
  readonly push: Push;
  readonly fate: Fate;
  readonly kind: Kind;
}
interface Place {
  readonly host: string;
  readonly secret: string;
}
export interface Senders {
  /** What the registry notifies. */
  readonly url: string;
  /** Answers of the relay, by status; `none` where none came. */
  readonly answers: ReadonlyMap<string, number>;
  /** Until then nobody is told of anything: what is pushed before is no push of the run. `secret` is every webhook's. */
  open(place: Place): void;
  /** A push that stands in the registry; its notification may already be here. */
  expect(told: Told): void;
  /** Resolves when nobody has anything more to send. Throws an Error that names a push of which the registry never told. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

const notification = z.object({
  events: z.tuple([z.looseObject({ id: z.string(), target: z.object({ repository: z.string(), digest: z.string(), tag: z.string() }) })]),
});
const answered = z.object({ keys: z.array(z.string()).optional(), key: z.string().nullish() });

interface Request {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Webhooks are called like their kinds, the registry's own `registry`. */
export async function startSenders(relayUrl: string): Promise<Senders> {
  let place: Place | null = null;
  const waiting: Told[] = [];
  const known = new Map<string, Promise<Told>>();
  const wishes: ((told: Told) => boolean)[] = [];
  const answers = new Map<string, number>();
  const sending = new Set<Promise<unknown>>();
  const triesOf = new Map<Push, number>();
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal); // as many as there are senders that wait
  const pause = (ms: number) => sleep(ms, undefined, { signal: stopping.signal });
  const follow = (work: Promise<unknown>): void => {
    const one = work.catch(() => undefined).finally(() => sending.delete(one));
    sending.add(one);
  };

  /** The push that an event is about: pushes of one module come in their order, and an event keeps its id when it comes again. */
  const pushOf = (id: string, module: string, digest: string): Promise<Told> => {
    const isIt = ({ push }: Told) => push.module === module && push.digest === digest;
    const found = known.get(id) ?? taken(isIt);
    known.set(id, found);
    return found;
  };
  const taken = (isIt: (told: Told) => boolean): Promise<Told> => {
    const index = waiting.findIndex(isIt);
    const [told] = index < 0 ? [] : waiting.splice(index, 1);
    if (told) return Promise.resolve(told);
    return new Promise((resolve) => wishes.push((each) => isIt(each) && (resolve(each), true)));
  };

  /** One try. True where the sender hears that it was taken. */
  const deliver = async ({ push, fate }: Told, request: Request): Promise<boolean> => {
    const nth = triesOf.get(push) ?? 0;
    triesOf.set(push, nth + 1);
    if (nth < fate.lost) return false;
    const status = await post(push, request);
    if (nth === fate.lost && fate.againMs !== null) follow(pause(fate.againMs).then(() => post(push, request)));
    return status !== null && status < 300 && !(fate.unheard && nth === fate.lost);
  };
  const post = async (push: Push, { path, headers, body }: Request): Promise<number | null> => {
    push.sentAt ??= Date.now();
    const status = await fetch(`${relayUrl}${path}`, { method: "POST", headers, body, signal: AbortSignal.timeout(PATIENCE_MS) }).then(
      async (answer) => {
        const { key, keys = key ? [key] : [] } = answered.catch({}).parse(jsonOf(await answer.text()));
        // any 2xx: a sender asks no further, so neither does the audit
        if (answer.ok) push.acknowledged = true;
        for (const each of keys) push.keys.add(each);
        return answer.status;
      },
      () => null,
    );
    const name = String(status ?? "none");
    answers.set(name, (answers.get(name) ?? 0) + 1);
    return status;
  };

  const tell = async (kind: (typeof KINDS)[number], told: Told, { host, secret }: Place): Promise<void> => {
    const { module, digest } = told.push;
    const sample = setups[kind]?.sample ?? providers[kind]?.sample;
    const scheme = providers[kind]?.auth[0];
    if (!sample || !scheme || scheme.kind === "oidc") throw new Error(`nobody knows what ${kind} sends`);
    const id = randomUUID();
    const { headers, body: json } = sample({ host, repository: `${PATH}/${module}`, tag: TAG, digest, time: new Date(), id });
    const body = JSON.stringify(json);
    const proof = sign(scheme, secret, { body, id, now: new Date(), username: null });
    const all = { "content-type": "application/json", ...headers, ...proof.headers };
    const request = { path: `/hooks/${kind}${proof.path}`, headers: all, body };
    await pause(told.fate.lateMs);
    for (let tries = 1; !(await deliver(told, request)) && tries < TRIES[kind]; tries++) await pause(BETWEEN_MS);
  };

  /** What the registry hears; null: nothing. */
  const handle = async (asked: IncomingMessage): Promise<number | null> => {
    const body = await text(asked);
    if (place === null) return 202;
    const [{ id, target }] = notification.parse(JSON.parse(body)).events;
    const isNew = !known.has(id);
    const told = await pushOf(id, target.repository.slice(PATH.length + 1), target.digest);
    if (told.kind !== "distribution") {
      if (isNew) follow(tell(told.kind, told, place));
      return 202;
    }
    const { authorization = "", "content-type": type = "" } = asked.headers;
    const isTaken = await deliver(told, { path: "/hooks/registry", headers: { authorization, "content-type": type }, body });
    return isTaken ? 202 : null;
  };
  const server = createServer((asked, answer) => {
    const drop = () => void asked.socket.destroy();
    handle(asked).then((status) => (status === null ? drop() : void answer.writeHead(status).end()), drop);
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const isOpen = ({ push, kind }: Told) => kind === "distribution" && !push.acknowledged;
  const expected: Told[] = [];
  return {
    url: `http://127.0.0.1:${port}`,
    answers,
    open: (at) => void (place = at),
    expect(told) {
      expected.push(told);
      const index = wishes.findIndex((wish) => wish(told));
      if (index < 0) waiting.push(told);
      else wishes.splice(index, 1);
    },
    async settled() {
      let left = Infinity;
      let movedAt = Date.now();
      while (left > 0) {
        const now = waiting.length + sending.size + expected.filter(isOpen).length;
        if (now !== left) [left, movedAt] = [now, Date.now()];
        if (Date.now() - movedAt > SETTLED_MS)
          throw new Error(`nothing was told for ${SETTLED_MS / 1000} s: ${waiting.length} pushes are left, ${sending.size} deliveries`);
        await sleep(100);
      }
    },
    async stop() {
      stopping.abort();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
/** Without any progress: how many are left after a long run is up to the machine. */
const SETTLED_MS = 180_000;

function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
