/** Trouble that lasts: told when it begins, and every quarter of an hour for as long as it lasts, as the alert on it looks back twenty minutes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, onTestFinished, vi } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import type { Observer } from "../src/observe.ts";
import { RelayError, toRelayError } from "../src/outcome.ts";
import { hubGate } from "../src/queue/hub/gate.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import { createSweeper, createTroubleNews } from "../src/sweeper.ts";
import { createTaker } from "../src/take.ts";
import { noteOnOverrides } from "../src/told.ts";
import { makeCertificates } from "../src/sandbox/kubernetes/certificates.ts";
import { startHub } from "../src/lend.ts";
import type { SecretRef } from "../src/config.ts";
import { openJournals } from "../src/journals.ts";
import { watchSecrets } from "../src/secret-watch.ts";
import { configOf, fakeCluster, fakeContext, fakeObserver, requestOf, source, webhook } from "./support/relay.ts";
import { entryOf } from "../src/journal/journal.ts";

/** Nobody waits here: a pause is over at once, and a patience (`ref: false`) never. */
vi.mock("node:timers/promises", () => ({
  setTimeout: (_ms: number, _value: unknown, { ref = true } = {}) => (ref ? Promise.resolve() : new Promise(() => {})),
}));
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

const MINUTE = 60_000;
const later = (minutes: number) => vi.setSystemTime(Date.now() + minutes * MINUTE);
const entry = entryOf(requestOf(), "NUDGED", "2026-11-24T12:00:00.000Z", { nudge: 0 });

/** Each gives what shows the trouble once more; what is told goes to the observer. */
const TROUBLES: Readonly<Record<string, (observer: Observer) => Promise<() => unknown>>> = {
  "QUEUE_REFUSED: a hub that does not know our token": async (observer) => {
    const receive = async () => Promise.reject(new RelayError("QUEUE_REFUSED", "the hub refuses our token"));
    const whose = { cluster: "dev" };
    return createTaker({ queue: { receive }, observer, whose, max: 1, visibilitySeconds: 1 }, new AbortController().signal);
  },
  "CLUSTER_ERROR: an API server that answers probes, and refuses what is asked": async (observer) => {
    const circuit = createCircuit("dev", async () => {}, observer, toRelayError);
    return async () => {
      circuit.open(new RelayError("CLUSTER_ERROR", "500 failed calling webhook"));
      await circuit.probe();
    };
  },
  "CLUSTER_UNREACHABLE: an API server that is away": async (observer) => {
    const circuit = createCircuit("dev", () => Promise.reject(new RelayError("CLUSTER_UNREACHABLE", "refused")), observer, toRelayError);
    circuit.open(new RelayError("CLUSTER_UNREACHABLE", "refused"));
    return () => circuit.probe();
  },
  "FORBIDDEN: a sweep that may not list": async (observer) => {
    const { context } = fakeContext();
    const now = () => new Date();
    const list = () => Promise.reject(new RelayError("FORBIDDEN", "no right to list"));
    const circuit = createCircuit("dev", async () => {}, observer, toRelayError);
    const sweeper = createSweeper({
      ...context,
      now,
      overrides: { ...context.overrides, list },
      cluster: "dev",
      sources: [source],
      registry: { resolve: async () => null },
      observer,
      circuit,
      everyMs: 300_000,
      tellTroubles: () => {},
    });
    return () => sweeper.sweep();
  },
  "REGISTRY_UNAVAILABLE: a registry that refuses the sweep": async (observer) => {
    const tell = createTroubleNews(observer);
    return () => tell({ rows: [], troubles: [{ source, why: "401 from the registry" }] });
  },
  "EVENTS_UNAVAILABLE: Events that cannot be written": async (observer) => {
    const cluster = fakeCluster();
    cluster.failTelling(true);
    const note = noteOnOverrides(cluster.overrides, observer, async () => {}, 0);
    return () => note([entry]);
  },
  "JOURNAL_UNAVAILABLE: a journal that cannot be written": async (observer) => {
    const folder = await mkdtemp(join(tmpdir(), "lasting-"));
    const { note, close } = await openJournals({ ...configOf(), journal: { kind: "embedded", folder } }, { observer, patienceMs: 10_000 });
    await close();
    await rm(folder, { recursive: true });
    return () => note([entry]);
  },
  "SECRET_MISSING: a webhook's secret that is not there": async (observer) => {
    const config = configOf({ webhooks: { registry: webhook } });
    const watch = watchSecrets(config, () => Promise.reject(new RelayError("INTERNAL", "the secret env:SECRET is not set")), observer);
    return () => watch();
  },
  "OLD_SECRET: a worker that still shows the previous hub token": async (observer) => gate(observer, "previous"),
  "OLD_SECRET_MISSING: a previous hub token that is gone": async (observer) => gate(observer, "missing"),
  "SECRET_MISSING: a hub token that is gone": async (observer) => gate(observer, "none"),
};

async function gate(observer: Observer, what: "previous" | "missing" | "none") {
  const token = { kind: "env", name: "NEW" } as const;
  const previousToken = { kind: "env", name: "OLD" } as const;
  const values: Record<string, string> = what === "none" ? {} : what === "missing" ? { NEW: "new" } : { NEW: "new", OLD: "old" };
  const readSecret = async (ref: { kind: string; name?: string; path?: string }) => {
    const value = values[ref.name ?? ""];
    if (value === undefined) throw new RelayError("INTERNAL", `the secret env:${ref.name} is not set`);
    return value;
  };
  const access = { token, previousToken, previousTokenUntil: null, ca: null };
  const folder = await mkdtemp(join(tmpdir(), "lasting-"));
  const store = openEmbedded(folder);
  onTestFinished(async () => {
    await store.close();
    await rm(folder, { recursive: true });
  });
  const queue = store.queue("dev");
  const { fetch } = hubGate({ lent: new Map([["dev", { queue, access }]]), journal: null, readSecret, observer });
  const authorization = `Bearer ${what === "previous" ? "old" : "new"}`;
  return async () =>
    fetch(new Request("http://hub/queues/dev/ready", { method: "POST", body: "{}", headers: { authorization } }), "10.0.0.1");
}

it.each(Object.entries(TROUBLES))("%s", async (name, begin) => {
  const code = name.split(":")[0];
  const log = fakeObserver();
  const again = await begin(log.observer);
  const told = () => log.codes().filter((each) => each === code).length;
  await again();
  expect(told()).toBe(1);
  later(14);
  for (let n = 0; n < 20; n += 1) await again();
  expect(told()).toBe(1);
  later(1);
  await again();
  await again();
  expect(told()).toBe(2);
});

it("HUB_CERTIFICATE: a new certificate that cannot be read", async () => {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  const { observer, codes } = fakeObserver();
  const own = await makeCertificates();
  let file: string | null = own.cert;
  const readSecret = async ({ kind }: SecretRef) => {
    if (kind !== "file") return own.key;
    if (file === null) throw new RelayError("INTERNAL", "the secret file:hub.crt cannot be read (ENOENT)");
    return file;
  };
  const tls = { certificate: { kind: "file", path: "hub.crt" }, key: { kind: "env", name: "KEY" } } as const;
  const hub = { listen: { host: "127.0.0.1", port: 0 }, tls };
  const { stop } = await startHub(hub, { config: configOf(), queues: { owned: () => null }, journal: null, readSecret, observer });
  onTestFinished(stop);
  file = null;
  await vi.advanceTimersByTimeAsync(14 * MINUTE);
  expect(codes()).toEqual(["HUB_CERTIFICATE"]);
  await vi.advanceTimersByTimeAsync(2 * MINUTE);
  expect(codes()).toEqual(["HUB_CERTIFICATE", "HUB_CERTIFICATE"]);
});

it("a hub that is updated, or a service's hiccup, is a line in the log; after a minute it is an alarm", async () => {
  const { observer, outcomes, codes } = fakeObserver();
  let isAway = true;
  const receive = async () => (isAway ? Promise.reject(new RelayError("QUEUE_UNAVAILABLE", "ECONNREFUSED")) : []);
  const whose = { cluster: "dev" };
  const take = createTaker({ queue: { receive }, observer, whose, max: 1, visibilitySeconds: 1 }, new AbortController().signal);
  await take();
  later(0.9);
  await take();
  expect([outcomes(), codes()]).toEqual([["QUEUE_SILENT"], []]);
  isAway = false;
  await take();
  expect(outcomes()).toEqual(["QUEUE_SILENT", "QUEUE_ANSWERS"]);
  isAway = true;
  await take();
  later(1);
  await take();
  expect([outcomes().length, codes()]).toEqual([3, ["QUEUE_UNAVAILABLE"]]);
});
