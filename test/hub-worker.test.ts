/** A relay that lends, and a worker in a cluster of its own: the whole way of a push, and what the worker does where something is not as configured. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ClusterConfig, HubAccess, RelayConfig } from "../src/config.ts";
import { encode } from "../src/event.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import { openFolder } from "../src/queue/folder.ts";
import { type Relay, startRelay } from "../src/relay.ts";
import { makeCertificates } from "../src/sandbox/kubernetes/certificates.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { mpoRelay } from "./support/cli.ts";
import { clusterOf, configOf, digestOf, fakeObserver, requestOf, webhook } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

/** Whoever waits a minute for an alarm in earnest is tested in lasting.test.ts. */
vi.mock("../src/limits.ts", async (original) => ({ ...(await original<object>()), QUEUE_TOLD_AFTER_MS: 0 }));

const MPO = "modulepulloverrides";
const SECRET = "correct-horse-battery";
const TOKEN = "token-of-dev-0123456789";
const ELSEWHERE = "00000000-0000-4000-8000-000000000000";

let api: KubernetesApi;
let folder: string;
let ca: string;
let relays: Relay[] = [];
const [atHub, atWorker] = [fakeObserver(), fakeObserver()];

const env = (name: string) => ({ kind: "env", name }) as const;
const access: HubAccess = { token: env("HUB_TOKEN"), previousToken: null, previousTokenUntil: null, ca: null };

beforeEach(async () => {
  api = await startKubernetesApi({ token: "admin-token-of-the-test" });
  api.store.create(MPO, { metadata: { name: "echo" }, spec: { imageTag: "main", scanInterval: "24h" } });
  folder = mkdtempSync(join(tmpdir(), "mpo-relay-hub-"));
  const made = await makeCertificates();
  ({ ca } = made);
  const values = { HUB_TOKEN: TOKEN, HUB_CERT: made.cert, HUB_KEY: made.key, HUB_CA: ca, HOOK: SECRET };
  for (const [name, value] of Object.entries(values)) vi.stubEnv(name, value);
  vi.stubEnv("KUBE_CA", api.ca);
  vi.stubEnv("KUBE_TOKEN", api.grant("relay", ["get", "patch"]));
  for (const { lines, alarms } of [atHub, atWorker]) [lines.length, alarms.length] = [0, 0];
});
afterEach(async () => {
  for (const relay of relays.toReversed()) await relay.stop();
  relays = [];
  await api.close();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

async function start(config: RelayConfig, observed: ReturnType<typeof fakeObserver>, roles?: ("edge" | "consumer")[]): Promise<Relay> {
  const relay = await startRelay({ config, observer: observed.observer, ...(roles && { roles }) });
  relays.push(relay);
  return relay;
}
const stop = async (relay: Relay) => {
  relays = relays.filter((each) => each !== relay);
  await relay.stop();
};

function hubConfig(port = 0): RelayConfig {
  const queue = { kind: "embedded", folder: join(folder, "queue") } as const;
  return configOf({
    webhooks: { registry: { ...webhook, secret: env("HOOK") } },
    clusters: { dev: clusterOf(queue, { hub: access }) },
    unparsed: queue,
    journal: queue,
    hub: { listen: { host: "127.0.0.1", port }, tls: { certificate: env("HUB_CERT"), key: env("HUB_KEY") } },
  });
}
function workerConfig(url: string, part: Partial<ClusterConfig> = {}): RelayConfig {
  const kubernetes = { kind: "server", server: api.url, ca: env("KUBE_CA"), token: env("KUBE_TOKEN") } as const;
  const hub = { ...access, ca: env("HUB_CA") };
  return configOf({
    webhooks: {},
    sources: [],
    journal: { kind: "hub" },
    clusters: {
      dev: clusterOf({ kind: "hub", url }, { kubernetes, hub, uid: api.uid, ...part }),
    },
    tuning: { cooldownMs: 200, looksMs: [100, 200, 400, 800, 1600, 3200], patchesPerSecond: 1000, sweepMs: 0 },
  });
}
const urlOf = ({ hubUrl }: Relay) => hubUrl ?? expect.fail("no hub");

async function push(relay: Relay, id: string, digest: string): Promise<number> {
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const target = { mediaType, digest, repository: "deckhouse/modules/echo", tag: "main" };
  const event = { id, timestamp: new Date().toISOString(), action: "push", target, request: { host: "registry.example.com" } };
  const headers = { authorization: `Bearer ${SECRET}` };
  return (await fetch(`${relay.url}/hooks/registry`, { method: "POST", body: JSON.stringify({ events: [event] }), headers })).status;
}
const annotation = () => api.store.get(MPO, "echo")?.metadata.annotations?.["mpo-relay/digest"];
const nudgedTo = (digest: string) => vi.waitFor(() => expect(annotation()).toBe(digest), waited);

const probedAgain = () => {
  const { requests } = api.counters();
  return vi.waitFor(() => expect(api.counters().requests).toBeGreaterThan(requests), waited);
};

it("a push reaches a cluster that only its worker can reach, and its effect is looked for", async () => {
  const hub = await start(hubConfig(), atHub);
  await start(workerConfig(urlOf(hub)), atWorker, ["consumer"]);
  expect(await push(hub, "1", digestOf("a"))).toBe(202);
  await nudgedTo(digestOf("a"));
  api.store.patchStatus(MPO, "echo", { imageDigest: digestOf("a"), message: "Ready", updatedAt: "2026-11-24T12:00:00Z" });
  await vi.waitFor(() => expect(atWorker.outcomes()).toContain("PICKED_UP"), waited);
  expect([atHub.codes(), atWorker.codes()]).toEqual([[], []]);
  const journal = openSqliteJournal(join(folder, "queue"), { create: false });
  // the worker's log line comes before its entry, which travels to the hub
  await vi.waitFor(async () => {
    const stages = (await journal.read({ limit: 9 })).map(({ stage, cluster, webhook: by }) => ({ stage, cluster, by }));
    expect(stages.toReversed()).toEqual(["QUEUED", "NUDGED", "PICKED_UP"].map((stage) => ({ stage, cluster: "dev", by: "registry" })));
  }, waited);
  await journal.close();
});

it("a hub that is away is told of once; what it takes when it is back is applied", async () => {
  const first = await start(hubConfig(), atHub);
  const url = urlOf(first);
  await start(workerConfig(url), atWorker, ["consumer"]);
  expect(await push(first, "1", digestOf("a"))).toBe(202);
  await nudgedTo(digestOf("a"));
  api.store.patchStatus(MPO, "echo", { imageDigest: digestOf("a"), message: "Ready", updatedAt: "2026-11-24T12:00:00Z" });
  const queue = await openFolder(join(folder, "queue"), "dev");
  await vi.waitFor(async () => expect(await queue.depth()).toMatchObject({ records: 0 }), waited);
  await queue.close();
  await stop(first);
  await vi.waitFor(() => expect(atWorker.codes()).toEqual(["QUEUE_UNAVAILABLE"]), waited);
  const second = await start(hubConfig(Number(new URL(url).port)), atHub);
  expect(await push(second, "2", digestOf("b"))).toBe(202);
  await nudgedTo(digestOf("b"));
  expect(atWorker.outcomes().filter((outcome) => outcome === "QUEUE_ANSWERS")).toHaveLength(1);
  expect(atWorker.codes()).toEqual(["QUEUE_UNAVAILABLE"]);
});

it("a token that the hub does not know is told of once, with what to do; with the right one the worker goes on", async () => {
  const hub = await start(hubConfig(), atHub);
  vi.stubEnv("WORKER_TOKEN", "a-token-of-nobody-0123456789");
  await start(workerConfig(urlOf(hub), { hub: { ...access, token: env("WORKER_TOKEN"), ca: env("HUB_CA") } }), atWorker, ["consumer"]);
  expect(await push(hub, "1", digestOf("a"))).toBe(202);
  await vi.waitFor(() => expect(atWorker.alarms).toHaveLength(1), waited);
  expect(atWorker.alarms).toMatchObject([
    { code: "QUEUE_REFUSED", cluster: "dev", what: expect.stringContaining("Compare hubToken here") },
  ]);
  vi.stubEnv("WORKER_TOKEN", TOKEN);
  await nudgedTo(digestOf("a"));
  expect(JSON.stringify([atHub, atWorker])).not.toMatch(/token-of/);
});

describe("the cluster's UID", () => {
  it("of another cluster: a worker does not start", async () => {
    const hub = await start(hubConfig(), atHub);
    await push(hub, "1", digestOf("a"));
    const config = workerConfig(urlOf(hub), { uid: ELSEWHERE });
    const starting = startRelay({ config, observer: atWorker.observer, roles: ["consumer"] });
    await expect(starting).rejects.toMatchObject({
      code: "OTHER_CLUSTER",
      message: `the kube-system of dev has the UID ${api.uid}, the configuration says ${ELSEWHERE}`,
    });
    expect(annotation()).toBeUndefined();
  });

  it("of another cluster, beside an edge: it goes on acknowledging, and consumes nothing", async () => {
    const config = hubConfig();
    const { kubernetes } = workerConfig("").clusters["dev"] ?? expect.fail("no cluster");
    const dev = { ...(config.clusters["dev"] ?? expect.fail("no cluster")), kubernetes, uid: ELSEWHERE };
    const relay = await start({ ...config, clusters: { dev } }, atHub);
    expect(await push(relay, "1", digestOf("a"))).toBe(202);
    await probedAgain();
    expect([atHub.codes(), annotation()]).toEqual([["OTHER_CLUSTER"], undefined]);
  });

  it.each([
    ["403-rbac", "CLUSTER_UNVERIFIED"],
    ["503", "CLUSTER_ERROR"],
    ["reset", "CLUSTER_UNREACHABLE"],
    ["404-plain", "API_VERSION_GONE"],
  ] as const)("that cannot be seen (%s): records wait, untouched, until it can", async (fault, code) => {
    const hub = await start(hubConfig(), atHub);
    api.faults.next(Infinity, fault);
    await start(workerConfig(urlOf(hub)), atWorker, ["consumer"]);
    expect(await push(hub, "1", digestOf("a"))).toBe(202);
    expect(atWorker.codes()).toEqual([code]);
    await probedAgain();
    api.faults.clear();
    await nudgedTo(digestOf("a"));
    expect(atWorker.codes()).toEqual([code]);
    for (const line of atWorker.lines.filter(({ event }) => event === "record")) expect(line["receiveCount"]).toBe(1);
  });

  it("is looked at again after an outage: what answers then may be another cluster", async () => {
    const hub = await start(hubConfig(), atHub);
    await start(workerConfig(urlOf(hub)), atWorker, ["consumer"]);
    await push(hub, "1", digestOf("a"));
    await nudgedTo(digestOf("a"));
    const own = api.uid;
    api.setUid(ELSEWHERE);
    api.faults.next(1, "503");
    await push(hub, "2", digestOf("b"));
    await vi.waitFor(() => expect(atWorker.codes()).toEqual(["CLUSTER_ERROR", "OTHER_CLUSTER"]), waited);
    expect(annotation()).toBe(digestOf("a"));
    api.setUid(own);
    await nudgedTo(digestOf("b"));
  });
});

describe("the command line", () => {
  const file = (config: unknown) => {
    const path = join(folder, "worker.json");
    writeFileSync(path, JSON.stringify(config));
    return path;
  };
  const workerFile = (url: string, uid: string) =>
    file({
      clusters: {
        dev: {
          queue: `hub:${url}`,
          hubToken: "env:HUB_TOKEN",
          hubCa: "env:HUB_CA",
          kubernetes: { server: api.url, ca: "env:KUBE_CA", token: "env:KUBE_TOKEN" },
          uid,
        },
      },
    });

  it("worker ends with 2 on another cluster, and says what to compare", async () => {
    const hub = await start(hubConfig(), atHub);
    const said = await mpoRelay(["worker", "--config", workerFile(urlOf(hub), ELSEWHERE), "--cluster", "dev"], process.env);
    expect(said.exitCode).toBe(2);
    expect(said.err).toContain(`the kube-system of dev has the UID ${api.uid}, the configuration says ${ELSEWHERE}`);
    expect(said.err).toContain("kubectl get namespace kube-system -o jsonpath={.metadata.uid}");
  });

  it("dlq works from the worker's side, by the worker's token", async () => {
    const store = openEmbedded(join(folder, "queue"));
    const letter = { code: "INVALID", text: "why", attempts: 1, firstAt: "2026-11-24T12:00:00Z", lastAt: "2026-11-24T12:00:00Z" };
    await store.queue("dev").deadLetters.put({ ...letter, body: encode(requestOf()) });
    await store.close();
    const hub = await start(hubConfig(), atHub);
    const config = workerFile(urlOf(hub), api.uid);
    expect((await mpoRelay(["dlq", "list", "--config", config], process.env)).out).toContain("echo:main");
    expect(await mpoRelay(["dlq", "redrive", "--all", "--config", config], process.env)).toMatchObject({ exitCode: 0 });
    expect((await mpoRelay(["dlq", "list", "--config", config], process.env)).out).toContain("no dead letters");
    const refused = await mpoRelay(["dlq", "list", "--config", config], { ...process.env, HUB_TOKEN: "a-token-of-nobody-0123456789" });
    expect(refused).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining(
        "refuses our token for this queue (status 401): clusters.dev.hubToken must name the same token here and there",
      ),
    });
  });

  it("history works from the worker's side, by the worker's token", async () => {
    const hub = await start(hubConfig(), atHub);
    expect(await push(hub, "1", digestOf("a"))).toBe(202);
    const config = workerFile(urlOf(hub), api.uid);
    expect(await mpoRelay(["history", "--config", config], process.env)).toMatchObject({
      exitCode: 0,
      out: expect.stringMatching(/echo:main +dev +QUEUED/),
    });
    const refused = await mpoRelay(["history", "--config", config], { ...process.env, HUB_TOKEN: "a-token-of-nobody-0123456789" });
    expect(refused).toMatchObject({ exitCode: 1, err: expect.stringContaining("clusters.dev.hubToken must name the same token") });
  });

  it("check names hub, queue and references that cannot be read", async () => {
    const config = file({
      clusters: { dev: { queue: "embedded:", hubToken: "env:HUB_TOKEN" } },
      hub: { listen: "127.0.0.1:8443", certificate: "env:HUB_CERT", key: "env:NO_KEY" },
    });
    const said = await mpoRelay(["check", "--config", config], { HUB_TOKEN: "short", HUB_CERT: "x" });
    expect(said.exitCode).toBe(0);
    expect(said.out).toMatch(/dev: embedded queue in .*, lent, consumed elsewhere\n[^]*hub +127\.0\.0\.1:8443/);
    expect(said.err).toContain("clusters.dev.hubToken: the secret env:HUB_TOKEN has only 5 characters");
    expect(said.err).toContain("hub.key: the secret env:NO_KEY is not set");
  });
});
