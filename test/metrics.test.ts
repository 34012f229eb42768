/** Metrics of the Node processes: what a line counts for, what a scrape may cost and hold, and a running relay that is scraped. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import { loadConfig } from "../src/config.ts";
import { consume } from "../src/consume.ts";
import { encode } from "../src/event.ts";
import { openMetrics } from "../src/metrics/admin.ts";
import { OTHER, samplesOf, samplesOfAlarm } from "../src/metrics/measure.ts";
import { createMeters } from "../src/metrics/prometheus.ts";
import { createReadings } from "../src/metrics/readings.ts";
import { METRICS } from "../src/metrics/table.ts";
import type { OutcomeLine } from "../src/observe.ts";
import { RelayError, toRelayError } from "../src/outcome.ts";
import { receive } from "../src/receive.ts";
import { startRelay } from "../src/relay.ts";
import { kubernetesPort } from "../src/sandbox/deckhouse-kubernetes.ts";
import { startDeckhouse } from "../src/sandbox/deckhouse.ts";
import { startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { pushImage, resolveDigest } from "../src/sandbox/registry-client.ts";
import { startRegistry } from "../src/sandbox/registry.ts";
import { at, clusterOf, configOf, digestOf, fakeContext, fakeObserver, requestOf, webhook } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

const named = configOf();
const delivery = (outcome: string, rest: object = {}): OutcomeLine => ({ event: "delivery", outcome, webhook: "registry", ...rest });
const record = (outcome: string, rest: object = {}): OutcomeLine => ({
  event: "record",
  outcome,
  cluster: "dev",
  webhook: "registry",
  ...rest,
});

describe("a line counts for", () => {
  it.each<[string, OutcomeLine, object[]]>([
    [
      "a stored push, and how long that took",
      delivery("QUEUED", { ms: 12 }),
      [
        { metric: "deliveries", labels: { webhook: "registry", decision: "queued", reason: "QUEUED" }, value: 1 },
        { metric: "receiveToQueued", labels: { webhook: "registry" }, value: 0.012 },
      ],
    ],
    [
      "a skipped one",
      delivery("NOISE_TAG"),
      [{ metric: "deliveries", labels: { webhook: "registry", decision: "skipped", reason: "NOISE_TAG" }, value: 1 }],
    ],
    ["as many as it stands for", delivery("NO_TAG", { more: 40 }), [expect.objectContaining({ value: 40 })]],
    [
      "a refused call to a webhook that nobody configured",
      delivery("UNKNOWN_WEBHOOK", { webhook: null }),
      [{ metric: "deliveries", labels: { webhook: OTHER, decision: "refused", reason: "UNKNOWN_WEBHOOK" }, value: 1 }],
    ],
    [
      "a failed delivery",
      delivery("QUEUE_UNAVAILABLE"),
      [{ metric: "deliveries", labels: { webhook: "registry", decision: "failed", reason: "QUEUE_UNAVAILABLE" }, value: 1 }],
    ],
    [
      "a nudge, and how long after the delivery",
      record("NUDGED", { nudge: 0, receivedAt: at(0), patchedAt: at(1.5) }),
      [
        { metric: "records", labels: { cluster: "dev", outcome: "NUDGED" }, value: 1 },
        { metric: "receiveToPatched", labels: { cluster: "dev" }, value: 1.5 },
      ],
    ],
    [
      "a repeated nudge alone",
      record("NUDGED", { nudge: 1, receivedAt: at(0), patchedAt: at(60) }),
      [expect.objectContaining({ value: 1 })],
    ],
    [
      "a pick-up, never before its push",
      record("PICKED_UP", { pushToPickedUpMs: -40 }),
      [expect.objectContaining({ metric: "records" }), { metric: "pushToPickedUp", labels: { cluster: "dev" }, value: 0 }],
    ],
    [
      "a pick-up of what the sweep found, of which no push's time is known",
      record("PICKED_UP", { webhook: "(sweep)", pushToPickedUpMs: 400_000 }),
      [{ metric: "records", labels: { cluster: "dev", outcome: "PICKED_UP" }, value: 1 }],
    ],
    [
      "the overrides of a sweep",
      { event: "process", outcome: "SWEPT", cluster: "dev", overrides: 6, push: 3, polling: 2, behind: 1, unserved: 0, unknown: 0 },
      [3, 2, 1, 0, 0].map((value) => expect.objectContaining({ metric: "overrides", value })),
    ],
    [
      "how long the same image has been waited for",
      { event: "process", outcome: "SWEPT", cluster: "dev", behindSeconds: 600 },
      [{ metric: "overridesBehind", labels: { cluster: "dev" }, value: 600 }],
    ],
    ["nothing", { event: "process", outcome: "STARTED" }, []],
    ["nothing", { event: "adoption", outcome: "ADOPTED", cluster: "dev" }, []],
  ])("%s", (_what, line, samples) => {
    expect(samplesOf(line, named)).toEqual(samples);
  });

  it.each([
    ["webhook", delivery("QUEUED", { webhook: "constructor" })],
    ["outcome of a delivery", delivery("toString")],
    ["cluster", record("NUDGED", { cluster: "elsewhere" })],
    ["outcome of a record", record("A_CODE_OF_NOBODY")],
  ])("a %s that is none of ours as %s", (_what, line) => {
    expect(samplesOf(line, named).flatMap(({ labels }) => Object.values(labels))).toContain(OTHER);
  });

  it("an alarm by its code", () => {
    expect(samplesOfAlarm("WEBHOOK_SILENT")).toEqual([{ metric: "alarms", labels: { code: "WEBHOOK_SILENT" }, value: 1 }]);
  });
});

const seriesOf = (text: string) => text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));

it("10,000 pushes of 1,000 modules, and calls to 1,000 webhooks that are none, make no series more than one of each", async () => {
  const secrets = { SECRET: "a-secret-of-the-test" };
  const config = configOf({ clusters: { dev: clusterOf({ kind: "embedded", folder: "/nowhere" }) } });
  const meters = createMeters(config);
  const context = {
    config,
    observer: meters.observer,
    store: async () => {},
    storeUnparsed: async () => true,
    readSecret: async () => secrets.SECRET,
    now: () => new Date(at(0)),
  };
  const push = async (n: number, to = "registry") => {
    const target = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digestOf("a"), tag: `tag-${n}` };
    const event = { id: `${n}`, timestamp: at(0), action: "push", request: { host: "registry.example.com" } };
    const body = JSON.stringify({ events: [{ ...event, target: { ...target, repository: `deckhouse/modules/module-${n % 1000}` } }] });
    const headers = { authorization: `Bearer ${secrets.SECRET}` };
    const { outcome } = await receive({ webhook: to, pathSecret: null, headers, body: Buffer.from(body) }, context);
    const about = { key: `key-${n}`, module: `module-${n % 1000}`, tag: `tag-${n}`, webhook: `webhook-${n}`, receivedAt: at(0) };
    meters.observer.outcome(record("NUDGED", { ...about, nudge: 0, patchedAt: at(1) }));
    meters.observer.outcome(record("PICKED_UP", { ...about, pushToPickedUpMs: 9_000 }));
    return outcome.kind;
  };
  expect(await push(0)).toBe("done");
  expect(await push(0, "unknown")).toBe("failed");
  const before = seriesOf(await meters.text()).length;
  for (let n = 1; n < 10_000; n += 1) await push(n);
  for (let n = 0; n < 1_000; n += 1) await push(n, `unknown-${n}`);
  const text = await meters.text();
  expect(seriesOf(text)).toHaveLength(before);
  expect(text).toContain(`mpo_relay_deliveries_total{webhook="registry",decision="queued",reason="QUEUED"} 10000`);
  expect(text).toContain(`mpo_relay_deliveries_total{webhook="(other)",decision="refused",reason="UNKNOWN_WEBHOOK"} 1001`);
  expect(text).not.toMatch(/module-|tag-|unknown-/);
});

it("an API server that answers each probe and fails each patch is one whose records fail, though its circuit reads as closed", async () => {
  const { context, cluster } = fakeContext();
  const { observer, readings, fetch: scrape } = openMetrics(named);
  const circuit = createCircuit("dev", () => cluster.overrides.probe(), observer, toRelayError);
  readings.circuit("dev", circuit);
  const overrides = { ...context.overrides, annotate: () => Promise.reject(new RelayError("CLUSTER_ERROR", "500 failed calling webhook")) };
  const queue = { acknowledge: async () => {}, defer: async () => {}, bury: () => expect.fail("nothing is given up") };
  const failing = { ...context, overrides, cluster: "dev", queue, observer, circuit };
  const pushed = { id: "1", receipt: "r", body: encode(requestOf()), receiveCount: 1, sentAt: at(0) };
  for (let n = 0; n < 3; n += 1) {
    await consume([pushed], failing);
    await circuit.probe();
  }
  const text = await (await scrape(new Request("http://127.0.0.1/metrics"))).text();
  expect(text).toContain('mpo_relay_circuit_open{cluster="dev"} 0\n');
  expect(text).toContain('mpo_relay_records_total{cluster="dev",outcome="CLUSTER_ERROR"} 3\n');
  expect(text).toContain('mpo_relay_records_total{cluster="dev",outcome="NUDGED"} 0\n');
});

describe("a scrape", () => {
  const queueOf = (depth: () => Promise<{ records: number; oldestSeconds: number | null }>) => ({ depth: vi.fn(depth) });
  function readings() {
    let now = 0;
    const known = new Map<string, number | null>();
    const created = createReadings({ set: (metric, { cluster }, value) => known.set(`${metric} ${cluster}`, value) }, () => now, 20);
    return { ...created, known, wait: (seconds: number) => (now += seconds * 1000) };
  }

  it("asks a queue once in a while, however often it comes", async () => {
    const { queue, read, known, wait } = readings();
    const asked = queueOf(async () => ({ records: asked.depth.mock.calls.length, oldestSeconds: 7 }));
    queue("dev", asked);
    await Promise.all([read(), read(), read()]);
    wait(14);
    await read();
    expect(asked.depth).toHaveBeenCalledTimes(1);
    expect(Object.fromEntries(known)).toEqual({ "queueRecords dev": 1, "queueOldest dev": 7 });
    wait(1);
    await read();
    expect(known.get("queueRecords dev")).toBe(2);
  });

  it("knows that nothing is old in an empty queue, and not how old the oldest is where the queue does not tell", async () => {
    const { queue, read, known } = readings();
    queue(
      "empty",
      queueOf(async () => ({ records: 0, oldestSeconds: null })),
    );
    queue(
      "sqs",
      queueOf(async () => ({ records: 3, oldestSeconds: null })),
    );
    await read();
    expect([known.get("queueOldest empty"), known.get("queueOldest sqs")]).toEqual([0, null]);
  });

  it("does not wait for a queue that hangs, asks it nothing more meanwhile, and leaves it out when its last answer is old", async () => {
    const { queue, read, known, wait } = readings();
    let answer: (depth: { records: number; oldestSeconds: number | null }) => void = () => {};
    const asked = queueOf(() => new Promise((resolve) => (answer = resolve)));
    queue("dev", asked);
    const first = read();
    answer({ records: 5, oldestSeconds: 1 });
    await first;
    wait(15);
    await read();
    expect(known.get("queueRecords dev")).toBe(5);
    wait(45);
    await read();
    expect(asked.depth).toHaveBeenCalledTimes(2);
    expect(known.get("queueRecords dev")).toBeNull();
    answer({ records: 6, oldestSeconds: 1 });
    await read();
    expect(known.get("queueRecords dev")).toBe(6);
  });

  it("goes on where one queue fails, and shows a circuit as it is", async () => {
    const { queue, deadLetters, circuit, read, known } = readings();
    queue(
      "away",
      queueOf(() => Promise.reject(new RelayError("QUEUE_UNAVAILABLE", "no answer"))),
    );
    deadLetters("dev", { count: async () => 2 });
    const breaker: { error: RelayError | null } = { error: null };
    circuit("dev", breaker);
    await read();
    expect(known.get("deadLetters dev")).toBe(2);
    expect(known.get("queueRecords away")).toBeNull();
    expect(known.get("circuitOpen dev")).toBe(0);
    breaker.error = new RelayError("CLUSTER_BUSY", "429");
    await read();
    expect(known.get("circuitOpen dev")).toBe(1);
  });

  it.each([
    ["GET", "/", 404],
    ["POST", "/metrics", 405],
    ["HEAD", "/metrics", 200],
  ])("%s %s: %i", async (method, path, status) => {
    const { fetch: answer } = openMetrics(named);
    expect((await answer(new Request(`http://127.0.0.1${path}`, { method }))).status).toBe(status);
  });
});

describe("a running relay", () => {
  const stops: (() => Promise<unknown> | void)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0).toReversed()) await stop();
  });
  const MPO = "modulepulloverrides";
  const PATH = "deckhouse/modules";
  const SECRET = "correct-horse-battery-of-the-webhook";

  async function start() {
    const folder = await mkdtemp(join(tmpdir(), "mpo-relay-metrics-"));
    stops.push(() => rm(folder, { recursive: true, force: true }));
    const registry = await startRegistry({ port: 0, notify: null, log: () => {} });
    stops.push(() => registry.close());
    const api = await startKubernetesApi({ token: "admin-token-of-the-test" });
    stops.push(() => api.close());
    const repo = `localhost:${registry.port}/${PATH}`;
    api.store.create("modulesources", { metadata: { name: "test" }, spec: { registry: { repo, scheme: "HTTP" } } });
    await pushImage(registry.url, `${PATH}/echo`, "main");
    api.store.create("modules", { metadata: { name: "echo" }, properties: { source: "test", availableSources: ["test"] } });
    api.store.create(MPO, { metadata: { name: "echo" }, spec: { imageTag: "main", scanInterval: "24h" } });
    const kube = kubernetesPort({ server: api.url, ca: api.ca, token: api.systemToken });
    stops.push(() => kube.close());
    const deckhouse = startDeckhouse({ era: "e3", kube, resolveDigest, deployMs: 20, restartMs: 20, log: () => {} });
    stops.push(() => deckhouse.stop());
    const token = api.grant("relay", ["get", "list", "patch"]);
    for (const [name, text] of Object.entries({ ca: api.ca, token, secret: SECRET })) await writeFile(join(folder, name), text);
    const file = join(folder, "relay.json");
    const kubernetes = { server: api.url, ca: "file:ca", token: "file:token" };
    const written = {
      webhooks: { registry: { provider: "distribution", secret: "file:secret" } },
      sources: [{ repo, name: "test", registry: { plainHttp: true } }],
      clusters: { dev: { queue: "embedded:./queue", events: false, kubernetes } },
      listen: "127.0.0.1:0",
      admin: 0,
      tuning: { cooldown: "100ms", looks: ["200ms", "400ms", "800ms", "1600ms"], sweep: "5m" },
    };
    await writeFile(file, JSON.stringify(written));
    const loaded = await loadConfig({ file });
    const { observer, outcomes } = fakeObserver();
    const relay = await startRelay({ config: loaded.ok ? loaded.config : expect.fail(JSON.stringify(loaded.problems)), observer });
    stops.push(() => relay.stop());
    const push = async (secret = SECRET) => {
      const digest = secret === SECRET ? await pushImage(registry.url, `${PATH}/echo`, "main") : digestOf("a");
      const target = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, repository: `${PATH}/echo`, tag: "main" };
      const event = {
        id: digest,
        timestamp: new Date().toISOString(),
        action: "push",
        target,
        request: { host: `localhost:${registry.port}` },
      };
      const headers = { authorization: `Bearer ${secret}` };
      return (await fetch(`${relay.url}/hooks/registry`, { method: "POST", body: JSON.stringify({ events: [event] }), headers })).status;
    };
    return { relay, push, outcomes, secrets: [SECRET, token, api.ca.split("\n")[1] ?? "", folder] };
  }

  it("shows every metric of the table after a push, on its own listener alone, and no secret; stopping closes it", async () => {
    const { relay, push, outcomes, secrets } = await start();
    expect(await push("a-secret-that-is-wrong-and-shows-nowhere")).toBe(401);
    expect(await push()).toBe(202);
    await vi.waitFor(() => expect(outcomes()).toEqual(expect.arrayContaining(["NUDGED", "PICKED_UP", "SWEPT"])), waited);
    const address = `${relay.adminUrl}/metrics`;
    const response = await fetch(address);
    const text = await response.text();
    expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
    const series = seriesOf(text);
    const missing = Object.values(METRICS).filter(({ name }) => !series.some((line) => new RegExp(`^${name}(?:_bucket)?\\{`).test(line)));
    expect(missing).toEqual([]);
    for (const line of [
      `mpo_relay_deliveries_total{webhook="registry",decision="queued",reason="QUEUED"} 1`,
      `mpo_relay_deliveries_total{webhook="registry",decision="refused",reason="AUTH_FAILED"} 1`,
      `mpo_relay_records_total{cluster="dev",outcome="NUDGED"} 1`,
      `mpo_relay_receive_to_queued_seconds_count{webhook="registry"} 1`,
      `mpo_relay_receive_to_patched_seconds_count{cluster="dev"} 1`,
      `mpo_relay_push_to_picked_up_seconds_count{cluster="dev"} 1`,
      `mpo_relay_alarms_total{code="CLUSTER_UNREACHABLE"} 0`,
      `mpo_relay_dead_letters{cluster="unparsed"} 0`,
      `mpo_relay_circuit_open{cluster="dev"} 0`,
    ])
      expect(series).toContain(line);
    for (const secret of [...secrets, "shows-nowhere"]) expect(text).not.toContain(secret);
    expect((await fetch(`${relay.url}/metrics`)).status).toBe(404);
    await relay.stop();
    await expect(fetch(address)).rejects.toThrow("fetch failed");
  });

  it("opens no listener that nobody configured", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mpo-relay-metrics-"));
    stops.push(() => rm(folder, { recursive: true, force: true }));
    const queue = { kind: "embedded", folder } as const;
    const config = configOf({ webhooks: { registry: { ...webhook, secret: null, insecure: true } }, clusters: { dev: clusterOf(queue) } });
    const { observer, lines } = fakeObserver();
    const relay = await startRelay({ config, observer });
    stops.push(() => relay.stop());
    expect(relay.adminUrl).toBeNull();
    expect(lines.find(({ outcome }) => outcome === "STARTED")).not.toHaveProperty("adminPort");
  });
});
