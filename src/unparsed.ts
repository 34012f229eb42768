/** Deliveries that were authenticated and could not be read: kept raw as dead letters `UNPARSED`, to be parsed again by a newer relay. */
import { createHash } from "node:crypto";
import { brotliCompressSync, brotliDecompressSync, deflateSync, gunzipSync, gzipSync, inflateSync } from "node:zlib";
import * as z from "zod";
import { parseJson } from "./body.ts";
import { toAscii } from "./event.ts";
import { RelayError } from "./outcome.ts";
import type { DeliveryHeaders } from "./providers/provider.ts";
import type { NewDeadLetter } from "./queue/queue.ts";

/** Of a kept body, as it is stored: an SQS message holds 256 KiB. */
const KEEP_BYTES = 180 * 1024;
/** Of a body that is unpacked again; only what this file packed is. */
const UNPACKED_BYTES = 256 * 1024 * 1024;
/** Of a body that its sender packed: as much as sixteen bodies of the usual limit, which JSON of that limit seldom comes to. */
const SENT_UNPACKED_BYTES = 16 * 1024 * 1024;
/** Headers have no limit of their own but Node's 16 KiB, and up to six characters for each of theirs. */
const HEADER_BYTES = 16 * 1024;
/** Never authentication: only what tells the format and the event. */
const KEPT_HEADER =
  /^(?:content-type|content-encoding|user-agent|ce-[a-z0-9-]+|webhook-id|aeg-[a-z-]+|x-[a-z-]*(?:event|event-type|delivery|delivery-id|webhook-id))$/;

const stored = z.object({
  v: z.literal(1),
  kind: z.literal("delivery"),
  webhook: z.string(),
  headers: z.record(z.string(), z.string()),
  /** utf8 text where the bytes are that, else base64; `gzip`: packed, then base64. `whole` is false in letters that only kept the first bytes. */
  body: z.object({
    encoding: z.enum(["utf8", "base64", "gzip"]),
    text: z.string(),
    whole: z.boolean(),
    bytes: z.int(),
    sha256: z.string(),
  }),
  receivedAt: z.string(),
});
export type StoredDelivery = z.infer<typeof stored>;

/**
 * The dead letter of a delivery, which is kept whole or not at all: throws TOO_LARGE, so that nobody is told it is safe. `redact` holds dotted
 * paths (`*` on the way stands for all indexes) that are taken out of a JSON body. A body that was sent packed is unpacked for that, and packed
 * anew the same way; one that cannot be is not kept, as nobody could see what secrets are in it.
 */
export function unparsedLetter(
  delivery: { webhook: string; headers: DeliveryHeaders; body: Uint8Array },
  redact: readonly string[],
  why: readonly string[],
  now: Date,
): NewDeadLetter {
  const at = now.toISOString();
  const headers = Object.fromEntries(Object.entries(delivery.headers).filter(([name]) => KEPT_HEADER.test(name)));
  const excess = Math.max(0, toAscii(JSON.stringify(headers)).length - HEADER_BYTES);
  const kept: StoredDelivery = {
    v: 1,
    kind: "delivery",
    webhook: delivery.webhook,
    headers,
    body: keep(delivery, redact, KEEP_BYTES - excess),
    receivedAt: at,
  };
  return {
    body: toAscii(JSON.stringify(kept)),
    code: "UNPARSED",
    text: why.join("; ").slice(0, 1000),
    attempts: 1,
    firstAt: at,
    lastAt: at,
  };
}

/** A kept delivery. `body` is null where it was not kept whole; `bytes` and `sha256` are of the whole, as it came. */
export interface KeptDelivery {
  readonly webhook: string;
  readonly headers: DeliveryHeaders;
  readonly body: Uint8Array | null;
  readonly bytes: number;
  readonly sha256: string;
  readonly receivedAt: string;
}

/** Reads such a letter's body again; null where it is none. */
export function storedDelivery(text: string): KeptDelivery | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  const read = stored.safeParse(json);
  if (!read.success) return null;
  const { webhook, headers, body, receivedAt } = read.data;
  const { bytes, sha256 } = body;
  return { webhook, headers, receivedAt, bytes, sha256, body: body.whole ? unpacked(body) : null };
}

function unpacked({ encoding, text }: StoredDelivery["body"]): Buffer | null {
  if (encoding !== "gzip") return Buffer.from(text, encoding);
  try {
    return gunzipSync(Buffer.from(text, "base64"), { maxOutputLength: UNPACKED_BYTES });
  } catch {
    return null;
  }
}

function keep({ body, headers }: { body: Uint8Array; headers: DeliveryHeaders }, redact: readonly string[], room: number) {
  const sha256 = createHash("sha256").update(body).digest("hex");
  const size = { bytes: body.byteLength, sha256 };
  const buffer = redacted(Buffer.from(body.buffer, body.byteOffset, body.byteLength), redact, headers["content-encoding"]);
  const text = buffer.length <= room ? buffer.toString("utf8") : "";
  const isText = buffer.length <= room && Buffer.from(text, "utf8").equals(buffer);
  if (isText && toAscii(JSON.stringify(text)).length <= room) return { encoding: "utf8", text, whole: true, ...size } as const;
  // what registries send is JSON that repeats itself: a MiB of it, a thousand pushes, takes some 100 KiB
  for (const encoding of ["base64", "gzip"] as const) {
    const stored = (encoding === "gzip" ? gzipSync(buffer, { level: 1 }) : buffer).toString("base64");
    if (stored.length <= room) return { encoding, text: stored, whole: true, ...size } as const;
  }
  throw new RelayError("TOO_LARGE", `a body of ${size.bytes} bytes that cannot be read is more than can be kept, packed too`);
}

const GZIP = { unpack: gunzipSync, pack: gzipSync };
/** By what `Content-Encoding` calls it: https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1 */
const CODINGS: Readonly<Record<string, { unpack: typeof gunzipSync; pack: (plain: Buffer) => Buffer }>> = {
  gzip: GZIP,
  "x-gzip": GZIP,
  deflate: { unpack: inflateSync, pack: deflateSync },
  br: { unpack: brotliDecompressSync, pack: brotliCompressSync },
};
const isGzip = (buffer: Buffer) => buffer[0] === 0x1f && buffer[1] === 0x8b;

/** The body without its secrets, in the packing that it had. Always packed anew: beside its content a packed body has places where more could stand. */
function redacted(buffer: Buffer, paths: readonly string[], contentEncoding: string | undefined): Buffer {
  const named = contentEncoding?.trim().toLowerCase() ?? "";
  // Some write `utf-8` into that header: what reads as text is some.
  const isPlain = !isGzip(buffer) && (["", "identity"].includes(named) || Buffer.from(buffer.toString("utf8"), "utf8").equals(buffer));
  if (isPlain) return cleaned(buffer, paths);
  const coding = isGzip(buffer) ? GZIP : CODINGS[named];
  const plain = coding && unpackedBy(coding, buffer);
  if (!plain || isGzip(plain)) throw notKept(buffer, "is packed in a way that is not undone here");
  return coding.pack(cleaned(plain, paths));
}

function unpackedBy({ unpack }: { unpack: typeof gunzipSync }, buffer: Buffer): Buffer | null {
  try {
    return unpack(buffer, { maxOutputLength: SENT_UNPACKED_BYTES });
  } catch {
    return null; // cut off, damaged, or far larger than what anybody sends
  }
}

/** Without the given paths and without tokens; where there are none, the same buffer. */
function cleaned(buffer: Buffer, paths: readonly string[]): Buffer {
  const plain = withoutTokens(buffer);
  if (paths.length === 0) return plain;
  let json: unknown;
  try {
    json = parseJson(plain.toString("utf8"));
  } catch {
    return plain;
  }
  if (!paths.map((path) => remove(json, path.split("."))).includes(true)) return plain;
  try {
    return Buffer.from(JSON.stringify(json));
  } catch {
    throw notKept(buffer, "is nested too deep"); // JSON.stringify recurses where JSON.parse does not
  }
}

const notKept = ({ length }: Buffer, why: string) =>
  new RelayError("TOO_LARGE", `a body of ${length} bytes ${why}: its secrets cannot be taken out, so it is not kept`);

/** A JSON Web Token is a credential wherever it stands, also in a body that is cut off, or where no path expects it. Latin-1 keeps all other bytes. */
function withoutTokens(buffer: Buffer): Buffer {
  if (!buffer.includes("eyJ") && !buffer.includes(inUtf16("eyJ"))) return buffer;
  const text = buffer.toString("latin1");
  // from word boundaries on, and in two steps: one expression for both would take quadratic time for a body of nothing but eyJeyJ…
  const without = text
    .replaceAll(/(?<![\w-])[\w-]+(?:\.[\w-]*)+/g, (dotted) => dotted.replace(/eyJ.*/, "(removed)"))
    .replaceAll(/e\0y\0J(?:\0[\w.-])*/g, inUtf16("(removed)"));
  return without === text ? buffer : Buffer.from(without, "latin1");
}

/** Of either order of bytes, without the zero that stands at its one end or the other. */
const inUtf16 = (text: string) => text.split("").join("\0");

/** True where something was there to be removed. By hand: a MiB holds half a million places for a `*`. */
function remove(value: unknown, path: readonly string[], at = 0): boolean {
  const key = path[at];
  if (typeof value !== "object" || value === null || key === undefined) return false;
  if (at === path.length - 1) return Object.hasOwn(value, key) && Reflect.set(value, key, "(removed)");
  if (key !== "*") return Object.hasOwn(value, key) && remove(Reflect.get(value, key), path, at + 1);
  let isRemoved = false;
  for (const part of Object.values(value)) if (remove(part, path, at + 1)) isRemoved = true;
  return isRemoved;
}
