/** Deliveries that were authenticated and could not be read: kept raw as dead letters `UNPARSED`, to be parsed again by a newer relay. */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
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

/** The dead letter of a delivery, which is kept whole or not at all: throws TOO_LARGE, so that nobody is told it is safe. `redact` holds dotted paths (`*` on the way stands for all indexes) that are taken out of a JSON body. */
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
    body: keep(delivery.body, redact, KEEP_BYTES - excess),
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

function keep(bytes: Uint8Array, redact: readonly string[], room: number): StoredDelivery["body"] {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const size = { bytes: bytes.byteLength, sha256 };
  const buffer = redacted(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), redact);
  if (!buffer) throw new RelayError("TOO_LARGE", `a body of ${size.bytes} bytes is nested too deep to take its secrets out and keep it`);
  const text = buffer.length <= room ? buffer.toString("utf8") : "";
  const isText = buffer.length <= room && Buffer.from(text, "utf8").equals(buffer);
  if (isText && toAscii(JSON.stringify(text)).length <= room) return { encoding: "utf8", text, whole: true, ...size };
  // what registries send is JSON that repeats itself: a MiB of it, a thousand pushes, takes some 100 KiB
  for (const encoding of ["base64", "gzip"] as const) {
    const stored = (encoding === "gzip" ? gzipSync(buffer, { level: 1 }) : buffer).toString("base64");
    if (stored.length <= room) return { encoding, text: stored, whole: true, ...size };
  }
  throw new RelayError("TOO_LARGE", `a body of ${size.bytes} bytes that cannot be read is more than can be kept, packed too`);
}

/** Takes the given paths out of a JSON body; a body that holds none of them keeps its bytes. null: it could not be taken out. */
function redacted(buffer: Buffer, paths: readonly string[]): Buffer | null {
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
    return null; // JSON.stringify recurses where JSON.parse does not
  }
}

/** A JSON Web Token is a credential wherever it stands, also in a body that is cut off, or where no path expects it. Latin-1 keeps all other bytes. */
function withoutTokens(buffer: Buffer): Buffer {
  if (!buffer.includes("eyJ")) return buffer;
  const text = buffer.toString("latin1");
  // from word boundaries on, and in two steps: one expression for both would take quadratic time for a body of nothing but eyJeyJ…
  const without = text.replaceAll(/(?<![\w-])[\w-]+(?:\.[\w-]*)+/g, (dotted) => dotted.replace(/eyJ.*/, "(removed)"));
  return without === text ? buffer : Buffer.from(without, "latin1");
}

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
