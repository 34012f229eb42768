/**
 * What the two halves of the relay share: the push that a registry told us of, the request to renew one override,
 * and the wire form in which that request lies in a queue. The unit of data changes its type only here.
 */
import { createHash } from "node:crypto";
import * as z from "zod";

/** `sha256:` + 64 hex or `sha512:` + 128 hex; everything else that senders put into such a field is no digest. */
export const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** The form of a push's key. */
export const KEY = /^[a-z0-9]{8,63}$/;

/** In place of a webhook's name: the sweep found it, and no webhook told of it. No webhook can have this name. */
export const SWEEP = "(sweep)";

/** Media types of an index: of one Deckhouse shows the child's digest, so equality proves success and inequality proves nothing. */
export const INDEX_TYPES: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
]);

// Control characters, lone surrogates and non-characters have no place in a name, and SQS refuses some of them outright:
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
// oxlint-disable-next-line no-control-regex -- those are exactly what is looked for
const UNSPEAKABLE = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]|\p{Surrogate}/u;
const name = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((text) => !UNSPEAKABLE.test(text), "holds characters that no name can hold");
const instant = z.iso.datetime({ precision: 3 });

/**
 * One manifest that arrived in a registry.
 * `host` is lower case with its port and without a scheme; `repository` is the lower-case path without the host;
 * `tag` is null for a push by digest; `time` is the sender's, RFC 3339 UTC with milliseconds; `id` is the sender's own
 * event or delivery id, unique within a delivery; `mediaType` null counts as a manifest.
 */
export const pushEvent = z.object({
  host: name(255),
  repository: name(512),
  tag: name(256).nullable(),
  digest: z.string().regex(DIGEST).nullable(),
  mediaType: name(255).nullable(),
  actor: name(255).nullable(),
  time: instant.nullable(),
  id: name(255).nullable(),
});
export type PushEvent = z.infer<typeof pushEvent>;

/** What the override's status held when we patched it, and which look at it comes next. */
const look = z.object({
  step: z.int().min(0),
  digest: z.string().nullable(),
  message: z.string().nullable(),
  updatedAt: z.string().nullable(),
  patchedAt: instant,
  /** Deckhouse runs `digest` since then: what is looked for is whether the module came up. */
  pickedUpAt: instant.optional(),
});
export type Look = z.infer<typeof look>;

/** Whatever is none of these was written by a newer relay. */
const KINDS = ["renew", "confirm", "rescan"] as const;

/**
 * A record of a cluster's queue: renew this module's override, or confirm that an earlier renewal took effect; or rescan `source`, and with
 * `look` tell which release of the module came of it (`tag` is then the channel, or the module's name in a registration).
 * `key` names the push (see {@link keyOf}); `nudge` is 0 at the edge and grows by one with a redrive or a repeated nudge;
 * `attempt` counts deferrals, `notBefore` carries a wait that is longer than the queue can delay;
 * `refusedSince` is the first 403 by RBAC since the API server last was away; `retries` counts repeated nudges after a download error.
 * `rival` is the digest of a nudged push that the sender's clock calls later than this one, where nothing else says so; or the one that
 * Deckhouse deployed between this push's nudge and its repetition.
 * `anyCase`: the registry knows a tag in lower case alone, so the override may spell it otherwise.
 */
export const renewRequest = z.object({
  v: z.literal(1),
  kind: z.enum(KINDS),
  cluster: name(64),
  module: name(64),
  source: name(253).nullable(),
  tag: name(256),
  digest: z.string().regex(DIGEST).nullable(),
  index: z.boolean().default(false),
  key: z.string().regex(KEY),
  nudge: z.int().min(0),
  webhook: name(64),
  image: name(1100), // host, repository and tag at their longest
  actor: name(255).nullable(),
  pushedAt: instant.nullable(),
  receivedAt: instant,
  attempt: z.int().min(0),
  notBefore: instant.nullable(),
  refusedSince: instant.nullable().default(null),
  retries: z.int().min(0).default(0),
  rival: z.string().regex(DIGEST).nullable().default(null),
  anyCase: z.literal(true).optional(),
  look: look.optional(),
});
export type RenewRequest = z.infer<typeof renewRequest>;

/** What {@link decode} makes of a record's text. */
export type Decoded =
  | { kind: "request"; request: RenewRequest }
  | { kind: "newer"; why: string } // written by a newer relay: it waits for a newer worker
  | { kind: "malformed"; why: string };

const isKind = (kind: string) => KINDS.some((known) => known === kind);
const envelope = z.looseObject({ v: z.int(), kind: z.string() });

/** The wire form: JSON in ASCII, since queues differ in which other characters they take. */
export function encode(request: RenewRequest): string {
  return toAscii(JSON.stringify(request));
}

/** Escapes everything beyond ASCII in a JSON text, so that any queue takes it and gives the same text back. */
export function toAscii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Reads a record's text. Never throws; unknown fields are ignored, so that an older worker reads a newer edge's records. */
export function decode(text: string): Decoded {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { kind: "malformed", why: "not JSON" };
  }
  const head = envelope.safeParse(json);
  if (!head.success) return { kind: "malformed", why: problems(head.error) };
  if (head.data.v > 1 || (head.data.v === 1 && !isKind(head.data.kind))) {
    return { kind: "newer", why: `version ${head.data.v}, kind ${head.data.kind.slice(0, 40)}` };
  }
  const body = renewRequest.safeParse(json);
  return body.success ? { kind: "request", request: body.data } : { kind: "malformed", why: problems(body.error) };
}

/** A zod error in one line: `path: what is wrong; …`. It holds no value of the input. */
export function problems(error: z.ZodError): string {
  return error.issues
    .slice(0, 5)
    .map((issue) => `${issue.path.join(".") || "(whole)"}: ${issue.message}`)
    .join("; ");
}

/** `host/repository:tag`, or `host/repository@digest` for a push by digest. */
export function imageOf(push: Pick<PushEvent, "host" | "repository" | "tag" | "digest">): string {
  return `${push.host}/${push.repository}${push.tag === null ? `@${push.digest}` : `:${push.tag}`}`;
}

/**
 * Names a push: equal for every redelivery of one event, different for every push.
 * Where the sender gives neither id nor time, what tells one arrival from another goes in: the queue's id of the message, else our
 * receive time. A doubled nudge is free, a swallowed one is not.
 * 32 hex characters, so that it can be an annotation's and a label's value.
 */
export function keyOf(webhook: string, push: PushEvent, arrival: string): string {
  return keyFrom([webhook, imageOf(push), push.digest, push.id ?? push.time ?? arrival]);
}

/** A key of that form, the same for the same parts. */
export function keyFrom(parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/** The annotation's value: the key, or `key.nudge` once it was nudged again. */
export function valueOf(key: string, nudge: number): string {
  return nudge === 0 ? key : `${key}.${nudge}`;
}

/** The request as its override spells the tag, where its registry takes both spellings for one; else as it is. */
export function asFollowed<Request extends Pick<RenewRequest, "tag" | "image" | "anyCase">>(request: Request, imageTag: string): Request {
  const { tag, image, anyCase } = request;
  if (!anyCase || tag === imageTag || tag.toLowerCase() !== imageTag.toLowerCase() || !image.endsWith(`:${tag}`)) return request;
  return { ...request, tag: imageTag, image: `${image.slice(0, -tag.length)}${imageTag}` };
}
