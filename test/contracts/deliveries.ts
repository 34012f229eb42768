/** The saved deliveries of test/fixtures/, how a sender would prove itself with each SecretScheme, and ways to spoil both. */
import { createHmac } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import * as z from "zod";
import type { AuthRequest, SecretScheme } from "../../src/auth.ts";
import { pushEvent } from "../../src/event.ts";
import type { DeliveryHeaders } from "../../src/providers/provider.ts";

const FOLDER = new URL("../fixtures/", import.meta.url);

/** `host` is the webhook's configured one; `unreadable` is how many items must be kept as UNPARSED. */
const expectation = z.strictObject({
  host: z.string().nullable().default(null),
  events: z.array(pushEvent),
  unreadable: z.int().min(0).default(0),
});

export interface DeliveryCase extends z.infer<typeof expectation> {
  readonly name: string;
  readonly body: Buffer;
  readonly headers: DeliveryHeaders;
}

export function deliveriesOf(provider: string): DeliveryCase[] {
  const folder = new URL(`${provider}/`, FOLDER);
  const names = readdirSync(folder).flatMap((file) => (file.endsWith(".body") ? [file.slice(0, -".body".length)] : []));
  return names.map((name) => ({
    name,
    body: readFileSync(new URL(`${name}.body`, folder)),
    headers: lowerCase(z.record(z.string(), z.string()).parse(json(new URL(`${name}.headers.json`, folder)))),
    ...expectation.parse(json(new URL(`${name}.expected.json`, folder))),
  }));
}

const json = (file: URL): unknown => JSON.parse(readFileSync(file, "utf8"));
const lowerCase = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

/** The header that carries the proof; null: it is in the path. */
function proofHeader(scheme: SecretScheme): string | null {
  if (scheme.kind === "hmac" || scheme.kind === "token") return scheme.header;
  if (scheme.kind === "standard-webhooks") return "webhook-signature";
  return scheme.kind === "url" ? null : "authorization";
}

/** The request as a sender that knows `secret` would make it. */
export function prove(scheme: SecretScheme, secret: string, unsigned: Omit<AuthRequest, "pathSecret">): AuthRequest {
  const request = (headers: DeliveryHeaders, pathSecret: string | null = null) => ({
    ...unsigned,
    headers: { ...unsigned.headers, ...headers },
    pathSecret,
  });
  switch (scheme.kind) {
    case "hmac": {
      const form = new URLSearchParams(Buffer.from(unsigned.rawBody).toString("utf8")).get("payload");
      const signed = scheme.over === "form:payload" && form !== null ? form : unsigned.rawBody;
      const signature = createHmac(scheme.hash, secret).update(signed).digest(scheme.encoding);
      return request({ [scheme.header]: `${scheme.prefix ?? ""}${signature}` });
    }
    case "token":
      return request({ [scheme.header]: scheme.scheme === undefined ? secret : `${scheme.scheme} ${secret}` });
    case "basic":
      return request({ authorization: `Basic ${Buffer.from(`relay:${secret}`).toString("base64")}` });
    case "standard-webhooks": {
      const id = "msg_2aQx";
      const timestamp = String(Math.floor(unsigned.now.getTime() / 1000));
      const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice("whsec_".length), "base64") : secret;
      const signature = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(unsigned.rawBody).digest("base64");
      return request({ "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,${signature}` });
    }
    case "url":
      return request({}, secret);
  }
}

/** A genuine request, spoiled in every way that this scheme knows: each must be refused. */
export function spoiled(scheme: SecretScheme, secret: string, genuine: AuthRequest): { how: string; request: AuthRequest }[] {
  const header = proofHeader(scheme);
  const proof = header === null ? (genuine.pathSecret ?? "") : (genuine.headers[header] ?? "");
  const withProof = (value: string): AuthRequest =>
    header === null ? { ...genuine, pathSecret: value } : { ...genuine, headers: { ...genuine.headers, [header]: value } };
  const middle = Math.floor(proof.length / 2);
  const flipped = proof.slice(0, middle) + (proof[middle] === "x" ? "y" : "x") + proof.slice(middle + 1);
  const without = Object.fromEntries(Object.entries(genuine.headers).filter(([name]) => name !== header));
  return [
    { how: "proof gone", request: { ...genuine, headers: without, pathSecret: null } },
    { how: "proof empty", request: withProof("") },
    { how: "proof flipped", request: withProof(flipped) },
    { how: "proof truncated", request: withProof(proof.slice(0, -1)) },
    { how: "proof longer", request: withProof(`${proof}x`) },
    { how: "proof over-long", request: withProof(proof + "0".repeat(10_000)) },
    { how: "proof of the same beginning", request: withProof(proof.slice(0, middle)) },
    { how: "proof sent twice", request: withProof(`${proof}, ${proof}`) },
    { how: "proof sent after an empty one", request: withProof(`, ${proof}`) },
    { how: "made with another secret", request: prove(scheme, `${secret}-other`, genuine) },
    ...otherSchemes(scheme, secret, { ...genuine, headers: without }),
    ...(scheme.kind === "hmac" || scheme.kind === "standard-webhooks" ? spoiledBodies(genuine) : []),
  ];
}

function spoiledBodies(genuine: AuthRequest) {
  const flipped = Uint8Array.from(genuine.rawBody);
  flipped.set([(flipped[0] ?? 0) ^ 1]);
  const bodies = {
    "body written anew": writtenAnew(genuine.rawBody),
    "body flipped": flipped,
    "body truncated": genuine.rawBody.slice(0, -1),
    "body empty": new Uint8Array(),
  };
  return Object.entries(bodies).map(([how, rawBody]) => ({ how, request: { ...genuine, rawBody } }));
}

/** The same JSON in other bytes, in a form too: what a proxy makes that parses what it passes on. */
function writtenAnew(body: Uint8Array): Uint8Array {
  const text = Buffer.from(body).toString("utf8");
  const payload = new URLSearchParams(text).get("payload");
  const anew = (json: string) => {
    const written = JSON.stringify(JSON.parse(json));
    return written === json ? JSON.stringify(JSON.parse(json), null, 1) : written;
  };
  return Buffer.from(payload === null ? anew(text) : new URLSearchParams({ payload: anew(payload) }).toString());
}

/** The right secret, brought in another way. */
function otherSchemes(scheme: SecretScheme, secret: string, unsigned: AuthRequest) {
  const others: SecretScheme[] = [
    { kind: "basic" },
    { kind: "url" },
    { kind: "standard-webhooks" },
    { kind: "hmac", header: "x-hub-signature-256", hash: "sha256", encoding: "hex", prefix: "sha256=" },
    { kind: "hmac", header: "authorization", hash: "sha256", encoding: "hex" },
    { kind: "token", header: "authorization", scheme: "Token" },
    { kind: "token", header: "x-token" },
  ];
  if (scheme.kind !== "token") others.push({ kind: "token", header: "authorization", scheme: "Bearer" });
  if (scheme.kind !== "token" || scheme.scheme !== undefined) others.push({ kind: "token", header: "authorization" });
  return others
    .filter((other) => other.kind === "token" || other.kind === "hmac" || other.kind !== scheme.kind)
    .map((other) => ({ how: `by another scheme: ${JSON.stringify(other)}`, request: prove(other, secret, unsigned) }))
    .filter(({ request }) => JSON.stringify(request) !== JSON.stringify(prove(scheme, secret, unsigned)));
}
