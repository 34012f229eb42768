/** Real deliveries, changed: their JSON place by place, their bytes, their headers. All of it follows from the random numbers it is given. */
import type { DeliveryHeaders } from "../../src/providers/provider.ts";
import { placesIn, type Place, replaced, without } from "../contracts/spoil.ts";
import { Random } from "../model/random.ts";
import type { Call, EveryRegistry, Saved } from "../support/every-registry.ts";

type Changing = Pick<Saved["delivery"], "body" | "headers">;
type Items<T> = readonly [T, ...T[]];

const DIGEST = `sha256:${"ab".repeat(32)}`;
const PIECES: Items<string> = [
  "/",
  ":",
  "@",
  ".",
  "-",
  "a",
  "A/",
  ".:",
  "@\n",
  "//x/",
  "%2f",
  "é",
  "\ud800",
  "\ufffe",
  "\u0000",
  "eyJ.",
  "a.b.",
  " ",
  "\\",
];
const ODD: Items<unknown> = [
  null,
  true,
  0,
  -1,
  1e308,
  5e-324,
  1_795_176_245_123,
  "",
  " ",
  "..",
  "../../etc/passwd",
  "main",
  "latest",
  DIGEST,
  DIGEST.toUpperCase(),
  "sha256:short",
  `sha512:${"0".repeat(128)}`,
  "[::1]:5000/a/b",
  "https://registry.example.com:443/a/b:c@d",
  "registry.example.com/",
  "0001-01-01T00:00:00Z",
  "2026-11-20T12:04:05.123456789+03:00",
  "PUSH_ARTIFACT",
  "push",
  "application/vnd.oci.image.index.v1+json",
  "pkg:oci/echo@sha256%3Aab?repository_url=registry.example.com/a&tag=main",
  "arn:aws:ecr:eu-central-1:123456789012:repository/a",
  "__proto__",
  [],
  {},
  [[]],
  [null],
  { __proto__: null, toString: 1 },
];
const NAMES: Items<string> = [
  "__proto__",
  "constructor",
  "toString",
  "",
  "0",
  "length",
  "tag",
  "digest",
  "repository",
  "events",
  "data",
  "data_base64",
];
const TYPES: Items<string> = [
  "application/json",
  "application/json; charset=utf-8",
  "application/cloudevents+json",
  "application/cloudevents-batch+json",
  "application/x-www-form-urlencoded",
  "Application/X-WWW-Form-Urlencoded; charset=x",
  "text/plain",
  "multipart/form-data; boundary=x",
  "",
];

/** A little over the limit: nobody reads further. */
const MOST_BYTES = 1_100_000;

const some = <T>(random: Random, items: readonly T[]): T | undefined => items[random.whole(0, items.length - 1)];

/** One call, made of one saved delivery and the next random numbers. */
export function mutated(random: Random, { hooks, saved, genuine }: Pick<EveryRegistry, "hooks" | "saved" | "genuine">): Mutated {
  const provider = some(random, hooks)?.provider; // registries with many saved deliveries are no likelier than others
  const from = some(
    random,
    saved.filter(({ hook }) => hook.provider === provider),
  );
  const other = some(random, saved);
  const hook = random.chance(0.6)
    ? from?.hook
    : some(
        random,
        hooks.filter((each) => each.provider === provider),
      );
  if (!from || !other || !hook) throw new Error("nothing to begin with");
  const headers = random.chance(0.3) ? oddHeaders(random, from.delivery.headers, other.delivery.headers) : from.delivery.headers;
  const body = random.chance(0.02) ? from.delivery.body : oddBody(random, from.delivery, other.delivery);
  const proof: Proof = random.chance(0.9) ? "current" : random.chance(0.5) ? "previous" : "none";
  const call =
    proof === "none"
      ? unproved(random, hook.name, body, headers)
      : genuine(hook, body, headers, proof === "previous" ? PREVIOUS : undefined);
  const method = random.chance(0.03) ? random.pick(["OPTIONS", "GET", "PUT", "DELETE", "HEAD", "PATCH"]) : "POST";
  return {
    title: from.title,
    hook,
    proof,
    call: { ...call, method, headers: { ...call.headers, ...(method === "OPTIONS" && originOf(random)) } },
  };
}
const PREVIOUS = "the-secret-of-last-year";
type Proof = "current" | "previous" | "none";
export interface Mutated {
  readonly title: string;
  readonly hook: Saved["hook"];
  readonly proof: Proof;
  readonly call: Call;
}

function unproved(random: Random, hook: string, body: Uint8Array, headers: DeliveryHeaders): Call {
  const pathSecret = random.chance(0.3) ? "not-the-secret" : null;
  return { hook: random.chance(0.1) ? random.pick(NAMES) || "nobody" : hook, pathSecret, headers, body };
}

const originOf = (random: Random): DeliveryHeaders => ({
  "webhook-request-origin": random.pick(["eventgrid.azure.net", "evil.example", "", "x.eventgrid.azure.com"]),
});

function oddHeaders(random: Random, headers: DeliveryHeaders, others: DeliveryHeaders): DeliveryHeaders {
  const names = Object.keys(headers);
  const name = some(random, names) ?? "content-type";
  const value = headers[name] ?? "";
  const change = random.whole(0, 5);
  if (change === 0) return Object.fromEntries(Object.entries(headers).filter(([each]) => each !== name));
  if (change === 1) return { ...headers, [name]: `${value}, ${value}` };
  if (change === 2) return { ...headers, "content-type": random.pick(TYPES) };
  if (change === 3) return { ...headers, ...others };
  if (change === 4) return { ...headers, [name]: printable(oddText(random, value)) };
  return {
    ...headers,
    "ce-type": random.pick(["", "image.updated", "zotregistry.image.updated", "%zz", "dev.cdevents.artifact.published.0.2.0"]),
    "ce-id": "%e0%a4%a",
  };
}

/** Node and undici take nothing else into a header, and no more than 16 KiB together. */
const printable = (text: string) =>
  text
    .replaceAll(/[^\x20-\x7e]/g, "?")
    .trim()
    .slice(0, 4000);

function oddBody(random: Random, { body, headers }: Changing, other: Changing): Uint8Array {
  const isForm = /x-www-form-urlencoded/.test(headers["content-type"] ?? "");
  const text = isForm ? (new URLSearchParams(body.toString("utf8")).get("payload") ?? "") : body.toString("utf8");
  const json = random.chance(0.85) ? mutatedJson(random, text, jsonOf(other.body.toString("utf8"))) : text;
  const encoded = Buffer.from(isForm ? new URLSearchParams({ payload: json }).toString() : json).subarray(0, MOST_BYTES);
  return random.chance(0.2) || json === text ? oddBytes(random, encoded, other.body) : encoded;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function mutatedJson(random: Random, text: string, other: unknown): string {
  let value = jsonOf(text);
  if (value === undefined) return text;
  for (let changes = random.whole(1, 4); changes > 0; changes--) value = changedOnce(random, value, other);
  const written = JSON.stringify(value) ?? "null";
  if (!random.chance(0.05)) return written;
  return random.pick([
    written.replace("{", '{"tag":1,"tag":"a","__proto__":{"tag":1},'),
    written.replace(/:\d+/, ":1e400"),
    `\ufeff${written}`,
    "[".repeat(5000) + written + "]".repeat(5000),
    `{"a":`.repeat(3000) + written + "}".repeat(3000),
  ]);
}

function changedOnce(random: Random, root: unknown, other: unknown): unknown {
  const places = placesIn(root);
  const place = some(random, places);
  if (!place) return random.pick(ODD);
  const elsewhere = some(random, random.chance(0.5) ? places : placesIn(other));
  switch (random.whole(0, 6)) {
    case 0:
      return replaced(root, place.path, random.pick(ODD));
    case 1:
      return without(root, place.path);
    case 2:
      return replaced(root, place.path, elsewhere?.value ?? null);
    case 3:
      return grown(random, root, place, elsewhere);
    case 4:
      return replaced(root, [...place.path.slice(0, -1), inList(place) ? "0" : random.pick(NAMES)], elsewhere?.value ?? random.pick(ODD));
    default:
      return replaced(root, place.path, typeof place.value === "string" ? changedText(random, place.value, other) : random.pick(ODD));
  }
}

const inList = ({ path }: Place) => /^\d+$/.test(String(path.at(-1)));

/** A list with many items, or a value inside many lists. */
function grown(random: Random, root: unknown, { path, value }: Place, elsewhere: Place | undefined): unknown {
  if (!Array.isArray(value)) return replaced(root, path, [value, elsewhere?.value]);
  const times = random.pick([1, 2, 10, 1000, 5001]);
  const item: unknown = some(random, value) ?? elsewhere?.value ?? 0;
  const short = times > 1000 ? random.pick([0, null, "a", item]) : item;
  const room = Math.ceil(MOST_BYTES / (JSON.stringify(short).length + 1));
  const distinct = random.chance(0.5);
  const many = Array.from({ length: Math.min(times, room) }, (_, n): unknown => (distinct ? numbered(short, n) : short));
  return JSON.parse(JSON.stringify(replaced(root, path, [...value, ...many]))); // each on its own: a later change is to meet one of them
}

/** Another push than those before it. */
function numbered(item: unknown, n: number): unknown {
  if (typeof item === "string") return `${item}${n}`;
  return JSON.parse(JSON.stringify(item).replaceAll(/"(id|event_id|tag|name|version)":"([^"]*)"/g, `"$1":"$2${n}"`));
}

/** A text, or the JSON that it holds in base64. */
function changedText(random: Random, text: string, other: unknown): string {
  const isBase64 = text.length > 20 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
  const inner = isBase64 ? jsonOf(Buffer.from(text, "base64").toString("utf8")) : undefined;
  if (inner === undefined || random.chance(0.1)) return oddText(random, text);
  return Buffer.from(JSON.stringify(changedOnce(random, inner, other)) ?? "").toString("base64");
}

function oddText(random: Random, text: string): string {
  const at = random.whole(0, text.length);
  const run = random.pick(PIECES).repeat(random.pick([1, 1, 1, 3, 300, 10_000, 100_000]));
  switch (random.whole(0, 5)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(at);
    case 2:
      return text.toUpperCase();
    case 3:
      return run;
    default:
      return text.slice(0, at) + run + text.slice(at);
  }
}

function oddBytes(random: Random, bytes: Buffer, other: Buffer): Buffer {
  const from = random.whole(0, bytes.length);
  const to = random.whole(from, bytes.length);
  const [head, middle, tail] = [bytes.subarray(0, from), bytes.subarray(from, to), bytes.subarray(to)];
  const noise = Buffer.from(Array.from({ length: random.whole(1, 8) }, () => random.whole(0, 255)));
  switch (random.whole(0, 7)) {
    case 0:
      return Buffer.concat([head, tail]);
    case 1:
      return Buffer.concat([head, middle, middle, tail]);
    case 2:
      return Buffer.concat([head, noise, middle, tail]);
    case 3:
      return Buffer.concat([head, other.subarray(0, random.whole(0, other.length)), tail]);
    case 4:
      return head;
    case 5:
      return Buffer.from(bytes.toString("utf8"), "utf16le");
    case 6:
      return Buffer.alloc(
        random.pick([0, 1, 1024 ** 2 - 1, 1024 ** 2, 1024 ** 2 + 1]),
        random.pick(["[", "0,", '{"a":', '"', "\\", "\u0000"]),
      );
    default:
      return Buffer.concat([head, Buffer.from([(bytes[from] ?? 0) ^ (1 << random.whole(0, 7))]), bytes.subarray(from + 1)]);
  }
}
