/**
 * What a registry is to the relay: data, and one pure function. No HTTP, no secret, no cluster in here.
 * Adding one is one file, one row in index.ts, one folder in test/fixtures/ (CONTRIBUTING.md); a test then asks for its page and its README row.
 */
import * as z from "zod";
import { type PushEvent, problems, pushEvent } from "../event.ts";

/** How a sender proves itself. Data only: every comparison is in auth.ts. `url` is for senders that can send no header. */
export type AuthScheme =
  | {
      kind: "hmac";
      header: string;
      hash: "sha1" | "sha256";
      encoding: "hex" | "base64";
      prefix?: string;
      /** The prefix may be missing. */
      prefixOptional?: true;
      over?: "body" | "form:payload";
    }
  | { kind: "token"; header: string; scheme?: string }
  | { kind: "basic" }
  | { kind: "oidc"; issuers?: readonly string[]; keys?: string } // where the provider is always one issuer's: its names, the URL of its keys
  | { kind: "standard-webhooks" }
  | { kind: "url" };

/** Header names in lower case. Repeated headers are joined by ", ", as fetch and Node do. */
export type DeliveryHeaders = Readonly<Record<string, string>>;

/** What `pushes` knows beside the body. `host` is the webhook's configured one, for senders that name none. */
export interface DeliveryContext {
  readonly headers: DeliveryHeaders;
  readonly host: string | null;
  /** How many items are read; left out: as many as one answer may take time for. */
  readonly most?: number;
}

/** A question that a sender asks before it sends anything, and what to answer. `payload` is the decoded body, undefined with OPTIONS. */
export interface HandshakeRequest {
  readonly method: "POST" | "OPTIONS";
  readonly headers: DeliveryHeaders;
  readonly payload: unknown;
}
export interface Handshake {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>> | null;
}

/** An item of a delivery that looks like a push and could not be read. It is stored raw; the other items go on. */
export interface Unreadable {
  readonly unreadable: string;
}
export type Push = PushEvent | Unreadable;

/** `digest` undefined: as a sender that knows none. */
export interface SamplePush {
  readonly host: string;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string | undefined;
  readonly time: Date;
  readonly id: string;
}

/** The delivery that tells of a push; `body` becomes JSON. Headers with lower-case names, application/json if they name no type. */
export interface Sample {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export interface RegistryProvider<P = unknown> {
  /** Value in the configuration, name of the fixture folder and of the page in infra/registries/. */
  readonly name: string;
  /** How people call it: the first column of the README's table of registries, which `npm run readme` writes. */
  readonly title: string;
  /** The first is the default; `auth:` in the configuration chooses another by its kind. */
  readonly auth: readonly [AuthScheme, ...AuthScheme[]];
  /** A zod schema of the envelope: a list in it is {@link anyList}, so that one bad item does not hide the good ones. */
  readonly payload: z.ZodType<P>;
  /** Pure. None means: not a push, and that is success. Made one by one: where there are too many, the rest is never asked for. */
  pushes(payload: P, delivery: DeliveryContext): Iterable<Push>;
  /**
   * The answer to a sender's handshake; null: it is none. Pure, like `pushes`. A POST is authenticated before; an OPTIONS only where
   * the secret is in the path, since it carries no header of the sender's owner: answer it with nothing that a stranger must not learn.
   */
  handshake?(request: HandshakeRequest): Handshake | null;
  /** It tells of a push first and writes the tag then: a nudge that is as fast as its delivery finds the image before. */
  readonly tellsBeforeTag?: true;
  /** It stores a tag in lower case, tells of it so, and finds it by any spelling: an override may follow `PROJ-1` where `proj-1` is told. */
  readonly lowersTags?: true;
  /** What `mpo-relay send` sends: the delivery that tells of this push. Not here where src/cli/setup/ has a file for this registry. */
  readonly sample?: (push: SamplePush) => Sample;
  /** Dotted paths (`*` on the way stands for all indexes) that are never stored or logged, for example a JWT in an actor field. */
  readonly redact?: readonly string[];
}

/** Taken as they are, for other schemas to read what stands in them: zod's own would copy them, and a MiB holds half a million entries. */
export const anyList = z.custom<unknown[]>((value) => Array.isArray(value), "not a list");
export const anyObject = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "not an object",
);

/**
 * More than registries tell at once. Nearly all send one push, or a few; two gather them if they are told to: a trigger of Yandex's
 * (10 in our set-up, 1,000 at most: https://yandex.cloud/en/docs/functions/concepts/trigger/cr-trigger) and Event Grid
 * (1 by default: https://learn.microsoft.com/azure/event-grid/delivery-and-retry#output-batching). Each push costs some 20 µs a cluster,
 * and a MiB of `0,` is half a million items: nobody else is answered meanwhile. `npm run fuzz` holds every answer to 50 ms.
 */
const MOST_ITEMS = 500;

/** The first so many; one more is read to know of it, and the rest is one part that could not be read. */
export function* firstOf(pushes: Iterable<Push>, most = MOST_ITEMS): Generator<Push> {
  let count = 0;
  for (const push of pushes) {
    if (++count > most) {
      yield { unreadable: `more than ${most} items: those behind are not read` };
      return;
    }
    yield push;
  }
}

/** Reads each item of a list by its schema; `toPush` gives null for what is not a push. A bad item becomes {@link Unreadable}. */
export function* readEach<T>(items: readonly unknown[], schema: z.ZodType<T>, toPush: (item: T) => Push | null): Generator<Push> {
  for (const [index, item] of items.entries()) {
    const read = schema.safeParse(item);
    const push = read.success ? toPush(read.data) : { unreadable: problems(read.error) };
    if (push === null) continue;
    const checked = isUnreadable(push) ? push : checkedPush(push);
    yield isUnreadable(checked) ? { unreadable: `[${index}] ${checked.unreadable}` } : checked;
  }
}

function checkedPush(push: PushEvent): Push {
  const checked = pushEvent.safeParse(push);
  return checked.success ? checked.data : { unreadable: problems(checked.error) };
}

const isUnreadable = (push: Push): push is Unreadable => "unreadable" in push;

/** What a delivery holds: the pushes, and of each part that could not be read, why (no value of the input stands in it). */
export interface Reading {
  readonly pushes: readonly PushEvent[];
  readonly unreadable: readonly string[];
}

/**
 * Reads a decoded body. Pure, and never throws: a body of another shape is one unreadable part.
 * Ids are unique within the result: the second push of one id gets `<id>/2`, since the key of a push is made from it.
 */
export function pushesOf<P>(provider: RegistryProvider<P>, payload: unknown, delivery: DeliveryContext): Reading {
  const read = provider.payload.safeParse(payload);
  if (!read.success) return { pushes: [], unreadable: [problems(read.error)] };
  const pushes: PushEvent[] = [];
  const unreadable: string[] = [];
  const unique = numbering();
  for (const push of firstOf(provider.pushes(read.data, delivery), delivery.most)) {
    if (isUnreadable(push)) unreadable.push(push.unreadable);
    else pushes.push({ ...push, id: push.id === null ? null : unique(push.id) });
  }
  return { pushes, unreadable };
}

/** Gives back each id it is called with; an id that it gave before comes with the next free `/2`, `/3` … behind it. */
function numbering(): (id: string) => string {
  const given = new Set<string>();
  const next = new Map<string, number>();
  return (id) => {
    let unique = id;
    for (let n = next.get(id) ?? 2; given.has(unique); n++) {
      unique = `${id}/${n}`;
      next.set(id, n + 1);
    }
    given.add(unique);
    return unique;
  };
}

/** The scheme that `auth:` chooses by its kind, the provider's first where it says nothing; undefined: not one of this provider's. */
export function schemeOf(provider: RegistryProvider, kind: string | null): AuthScheme | undefined {
  return kind === null ? provider.auth[0] : provider.auth.find((scheme) => scheme.kind === kind);
}
