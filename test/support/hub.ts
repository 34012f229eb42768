/** A hub of one's own for a test: an embedded folder, lent over TLS with a certificate of its own authority, and restarted at will. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { HubAccess, SecretRef } from "../../src/config.ts";
import { startHub } from "../../src/lend.ts";
import type { Journal } from "../../src/journal/journal.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import type { Listening } from "../../src/listen.ts";
import { RelayError } from "../../src/outcome.ts";
import { type EmbeddedStore, openEmbedded } from "../../src/queue/embedded.ts";
import type { HubQueue } from "../../src/queue/hub/client.ts";
import { openRemoteHub, openRemoteJournal } from "../../src/queue/hub/remote.ts";
import type { LentJournal } from "../../src/queue/hub/journal.ts";
import type { LendableQueue } from "../../src/queue/hub/server.ts";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { clusterOf, configOf, fakeObserver } from "./relay.ts";

const env = (name: string): SecretRef => ({ kind: "env", name });
const access = (name: string): HubAccess => ({
  token: env(name),
  previousToken: env(`${name}_OLD`),
  previousTokenUntil: null,
  ca: env("CA"),
});

interface Before {
  readonly lend?: (queue: LendableQueue) => LendableQueue;
  readonly keep?: (journal: Journal) => LentJournal | null;
}

export interface TestHub {
  readonly folder: string;
  readonly url: string;
  readonly observed: ReturnType<typeof fakeObserver>;
  /** By the name of a reference; a test may change them as a rotation does. */
  readonly secrets: Map<string, string>;
  readonly readSecret: (ref: SecretRef) => Promise<string>;
  store(): EmbeddedStore;
  /** As a worker that is configured with this token. */
  open(queue?: string, token?: string): HubQueue;
  /** As a worker of these clusters, each with its own token unless one is given. */
  openJournal(queues?: readonly string[], token?: string): Journal;
  /** `lend` and `keep`: what stands before a queue, and before the journal, from then on. */
  start(before?: Before): Promise<void>;
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** Lends the queues `dev` and `stage` by the tokens in DEV and STAGE; `other` is there and not lent. */
export async function startTestHub({ tls = true } = {}): Promise<TestHub> {
  const folder = mkdtempSync(join(tmpdir(), "mpo-relay-hub-"));
  const { ca, cert, key } = await makeCertificates();
  const secrets = new Map([
    ["CA", ca],
    ["CERT", cert],
    ["KEY", key],
    ["DEV", "token-of-dev-0123456789"],
    ["STAGE", "token-of-stage-0123456789"],
    ["DEV_OLD", "old-token-of-dev-0123456789"],
    ["STAGE_OLD", "old-token-of-stage-0123456789"],
  ]);
  const readSecret = async (ref: SecretRef) => {
    const name = ref.kind === "file" ? ref.path : ref.name;
    const value = secrets.get(name);
    if (value === undefined) throw new RelayError("INTERNAL", `the secret env:${name} is not set`);
    return value;
  };
  const observed = fakeObserver();
  const embedded = { kind: "embedded", folder } as const;
  const lent = (hub: HubAccess | null) => clusterOf(embedded, { hub });
  const config = configOf({ clusters: { dev: lent(access("DEV")), stage: lent(access("STAGE")), other: lent(null) } });
  let running: { store: EmbeddedStore; journal: Journal; hub: Pick<Listening, "url" | "port" | "stop"> } | null = null;
  let port = 0;
  const remote = (queue: string, token: string) => ({
    url: hub.url,
    queue,
    access: { token: env(token), ca: tls ? env("CA") : null },
    readSecret,
  });
  const hub: TestHub = {
    folder,
    get url() {
      return `${tls ? "https" : "http"}://127.0.0.1:${port}`;
    },
    observed,
    secrets,
    readSecret,
    store: () => running?.store ?? openEmbedded(folder),
    open: (queue = "dev", token = queue.toUpperCase()) => openRemoteHub(remote(queue, token)),
    openJournal: (queues = ["dev"], token) => openRemoteJournal(queues.map((queue) => remote(queue, token ?? queue.toUpperCase()))),
    async start({ lend = (queue) => queue, keep = (journal) => journal }: Before = {}) {
      const store = openEmbedded(folder);
      const journal = openSqliteJournal(folder, { create: true });
      const listen = { host: "127.0.0.1", port };
      const started = await startHub(
        { listen, tls: tls ? { certificate: env("CERT"), key: env("KEY") } : null },
        { config, queues: { owned: (name) => lend(store.queue(name)) }, journal: keep(journal), readSecret, observer: observed.observer },
      );
      port = started.port;
      running = { store, journal, hub: started };
    },
    async stop() {
      await running?.hub.stop();
      await running?.journal.close();
      await running?.store.close();
      running = null;
    },
    async close() {
      await hub.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await hub.start();
  return hub;
}

/** One that ends with the test. */
export async function testHub(options?: { tls?: boolean }): Promise<TestHub> {
  const hub = await startTestHub(options);
  onTestFinished(() => hub.close());
  return hub;
}
