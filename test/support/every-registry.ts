/** The whole edge with a webhook for every scheme of every registry, and sources that take what the saved deliveries name; queues are lists. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { createApp } from "../../src/app.ts";
import { loadConfig, type RelayConfig, type SecretRef } from "../../src/config.ts";
import { decode, type PushEvent, type RenewRequest } from "../../src/event.ts";
import { logTo } from "../../src/observe.ts";
import { RelayError } from "../../src/outcome.ts";
import { providers } from "../../src/providers/index.ts";
import type { AuthScheme, DeliveryHeaders, RegistryProvider } from "../../src/providers/provider.ts";
import type { NewDeadLetter, NewRecord } from "../../src/queue/queue.ts";
import { receive } from "../../src/receive.ts";
import { createSecretReader } from "../../src/secrets.ts";
import { type DeliveryCase, deliveriesOf, prove } from "../contracts/deliveries.ts";

export const SECRET = "correct-horse-battery-staple";
export const PREVIOUS = "the-secret-of-last-year";
export const PREVIOUS_ENDS = new Date("2026-12-31T00:00:00.000Z");
/** After all that the saved deliveries tell of, and before the previous secret ends. */
export const NOW = new Date("2026-11-24T12:00:00.000Z");

/** A webhook of the configuration. */
export interface Hook {
  readonly name: string;
  readonly provider: RegistryProvider;
  readonly scheme: AuthScheme;
}
/** A saved delivery at a webhook that reads it as its fixture says. */
export interface Saved {
  readonly title: string;
  readonly hook: Hook;
  readonly delivery: DeliveryCase;
}
export interface Call {
  readonly hook: string;
  readonly pathSecret: string | null;
  readonly headers: DeliveryHeaders;
  readonly body: Uint8Array;
  readonly method?: string;
}
export interface Answered {
  readonly status: number;
  readonly text: string;
}
/** What the edge stored and said since the last look. */
export interface Left {
  readonly records: readonly { cluster: string; body: string }[];
  readonly letters: readonly NewDeadLetter[];
  /** Log lines. */
  readonly log: readonly string[];
}

const AUDIENCE = "https://relay.example.com";
const EMAIL = "push@project.iam.gserviceaccount.com";
const ISSUER = "https://gitlab.example.com";
const SUBJECT = "project_path:deckhouse/modules:ref_type:branch:ref:main";
/** Of a genuine token, by provider. */
const claimsFor = (provider: string) =>
  provider === "gar"
    ? { iss: "https://accounts.google.com", aud: AUDIENCE, email: EMAIL, email_verified: true }
    : { iss: ISSUER, aud: AUDIENCE, sub: SUBJECT };

export type EveryRegistry = Awaited<ReturnType<typeof openEveryRegistry>>;

export async function openEveryRegistry() {
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const env = {
    SECRET,
    PREVIOUS,
    KEYS: JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "one", alg: "RS256" }] }),
    MPO_RELAY_CONFIG: "",
  };
  const deliveries = Object.values(providers).flatMap((provider) =>
    deliveriesOf(provider.name).map((delivery) => ({ provider, delivery })),
  );
  const hosts = (provider: RegistryProvider) => [
    ...new Set(deliveries.filter((each) => each.provider === provider).map(({ delivery }) => delivery.host)),
  ];
  const hooks = new Map<string, Hook>();
  const webhooks: Record<string, object> = {};
  const nameOf = (provider: RegistryProvider, { kind }: AuthScheme, host: string | null) =>
    `${provider.name}-${kind}${host === null ? "" : `-at-${host.replaceAll(/[^a-z0-9]/g, "-")}`}`;
  for (const provider of Object.values(providers)) {
    for (const scheme of provider.auth) {
      for (const host of hosts(provider)) {
        const name = nameOf(provider, scheme, host);
        hooks.set(name, { name, provider, scheme });
        webhooks[name] = { provider: provider.name, auth: scheme.kind, host, ...proofOf(provider, scheme) };
      }
    }
  }
  // the parent of every repository that a delivery names, so that pushes with a tag come as far as a queue
  const repos = new Set(deliveries.flatMap(({ delivery }) => delivery.events.map(parentOf)));
  env.MPO_RELAY_CONFIG = JSON.stringify({
    webhooks,
    sources: [...repos].map((repo) => ({ repo })),
    clusters: { dev: { queue: "embedded:" }, stage: { queue: "embedded:" } },
  });
  const loaded = await loadConfig({ env, now: NOW });
  if (!loaded.ok) throw new Error(loaded.problems.map(({ path, message }) => `${path}: ${message}`).join("; "));
  const { config } = loaded;

  const sign = (claims: object, key = privateKey) =>
    new SignJWT({ exp: NOW.getTime() / 1000 + 600, ...claims }).setProtectedHeader({ alg: "RS256", kid: "one" }).sign(key);
  const tokens = new Map<string, string>();
  for (const { name, provider, scheme } of hooks.values())
    if (scheme.kind === "oidc") tokens.set(name, await sign(claimsFor(provider.name)));

  const edge = edgeOf(config, createSecretReader({ env }));
  return {
    ...edge,
    config,
    /** For a process, or the command line, that is to have the same configuration. */
    env,
    hooks: [...hooks.values()],
    /** Every saved delivery, at its provider's first scheme. */
    saved: deliveries.map(({ provider, delivery }): Saved => {
      const hook = hooks.get(nameOf(provider, provider.auth[0], delivery.host));
      if (!hook) throw new Error(`no webhook for ${provider.name}/${delivery.name}`);
      return { title: `${provider.name}/${delivery.name}`, hook, delivery };
    }),
    sign,
    claimsFor,
    /** The call as a sender that knows the secret (or has a token) would make it. */
    genuine({ name, scheme }: Hook, body: Uint8Array, headers: DeliveryHeaders, secret = SECRET): Call {
      if (scheme.kind === "oidc") {
        return { hook: name, pathSecret: null, headers: { ...headers, authorization: `Bearer ${tokens.get(name)}` }, body };
      }
      const proved = prove(scheme, secret, { headers, rawBody: body, now: NOW });
      return { hook: name, pathSecret: proved.pathSecret, headers: proved.headers, body };
    },
    /** As Google's or GitLab's token, or by the secrets. */
    secrets: [SECRET, PREVIOUS, ...tokens.values()],
  };
}

function proofOf(provider: RegistryProvider, { kind }: AuthScheme): object {
  if (kind !== "oidc") return { secret: "env:SECRET", previousSecret: "env:PREVIOUS", previousSecretUntil: PREVIOUS_ENDS.toISOString() };
  const whose = provider.name === "gar" ? { email: EMAIL } : { issuer: ISSUER, subject: "project_path:deckhouse/modules:*" };
  return { oidc: { audience: AUDIENCE, keys: "env:KEYS", ...whose } };
}

const parentOf = ({ host, repository }: PushEvent) =>
  `${host}/${repository.slice(0, Math.max(0, repository.lastIndexOf("/")))}`.replace(/\/$/, "");

function edgeOf(config: RelayConfig, readSecret: (ref: SecretRef) => Promise<string>) {
  let left = { records: [] as { cluster: string; body: string }[], letters: [] as NewDeadLetter[], log: [] as string[] };
  let now = NOW;
  let isDown = false;
  const refuseIfDown = () => {
    if (isDown) throw new RelayError("QUEUE_UNAVAILABLE", "down");
  };
  const context = {
    config,
    readSecret,
    observer: logTo({ write: (line) => void left.log.push(line) }),
    now: () => now,
    async store(records: ReadonlyMap<string, readonly NewRecord[]>) {
      refuseIfDown();
      for (const [cluster, batch] of records) left.records.push(...batch.map(({ body }) => ({ cluster, body })));
    },
    async storeUnparsed(letter: NewDeadLetter) {
      refuseIfDown();
      return left.letters.push(letter) > 0;
    },
  };
  const app = createApp({ ...context, receive: (delivery) => receive(delivery, context), ready: async () => refuseIfDown() });
  return {
    app,
    async send({ hook, pathSecret, headers, body, method = "POST" }: Call): Promise<Answered> {
      const path = `/hooks/${hook}${pathSecret === null ? "" : `/${encodeURIComponent(pathSecret)}`}`;
      const hasBody = method !== "GET" && method !== "HEAD";
      const response = await app.request(path, { method, headers: { ...headers }, ...(hasBody && { body }) });
      return { status: response.status, text: await response.text() };
    },
    take(): Left {
      const taken = left;
      left = { records: [], letters: [], log: [] };
      return taken;
    },
    setNow: (date: Date) => void (now = date),
    setDown: (down: boolean) => void (isDown = down),
  };
}

/** The requests in records; a record that cannot be read is an error. */
export function requestsIn({ records }: Pick<Left, "records">): RenewRequest[] {
  return records.map(({ body }) => {
    const read = decode(body);
    if (read.kind !== "request") throw new Error(`a record that no worker can read: ${read.why}`);
    return read.request;
  });
}
