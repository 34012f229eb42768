import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { RelayConfig } from "../src/config.ts";
import { type Relay, startRelay } from "../src/relay.ts";
import { type Fault, type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { clusterOf, configOf, digestOf, fakeObserver, webhook } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

const MPO = "modulepulloverrides";
const SECRET = "correct-horse-battery";

let api: KubernetesApi;
let folder: string;
let relay: Relay | null = null;
let observed = fakeObserver();

function config(part: Partial<RelayConfig> = {}): RelayConfig {
  const queue = { kind: "embedded", folder: join(folder, "queue") } as const;
  const kubernetes = {
    kind: "server",
    server: api.url,
    ca: { kind: "env", name: "RELAY_TEST_CA" },
    token: { kind: "env", name: "RELAY_TEST_TOKEN" },
  } as const;
  return configOf({
    webhooks: { registry: { ...webhook, secret: { kind: "env", name: "RELAY_TEST_SECRET" } } },
    clusters: { dev: clusterOf(queue, { kubernetes }) },
    unparsed: queue,
    tuning: { cooldownMs: 200, looksMs: [100, 200, 400, 800, 1600, 3200], patchesPerSecond: 1000, sweepMs: 0 },
    ...part,
  });
}
const start = async (options: { roles?: ("edge" | "consumer")[] } = {}) =>
  (relay = await startRelay({ config: config(), observer: observed.observer, ...options }));
const stop = async () => {
  await relay?.stop();
  relay = null;
};

async function push(id: string, digest = digestOf("a"), module = "echo"): Promise<number> {
  const target = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest,
    repository: `deckhouse/modules/${module}`,
    tag: "main",
  };
  const event = { id, timestamp: new Date().toISOString(), action: "push", target, request: { host: "registry.example.com" } };
  const body = JSON.stringify({ events: [event] });
  const response = await fetch(`${relay?.url}/hooks/registry`, { method: "POST", body, headers: { authorization: `Bearer ${SECRET}` } });
  await response.arrayBuffer();
  return response.status;
}
const annotation = (module = "echo") => api.store.get(MPO, module)?.metadata.annotations?.["mpo-relay/digest"];
const outcomes = (outcome: string) => observed.lines.filter((line) => line.outcome === outcome);
const nudged = (times: number) => vi.waitFor(() => expect(outcomes("NUDGED")).toHaveLength(times), waited);

beforeEach(async () => {
  api = await startKubernetesApi({ token: "admin-token-of-the-test" });
  folder = mkdtempSync(join(tmpdir(), "mpo-relay-test-"));
  observed = fakeObserver();
  vi.stubEnv("RELAY_TEST_CA", api.ca);
  vi.stubEnv("RELAY_TEST_TOKEN", api.grant("relay", ["get", "patch"]));
  vi.stubEnv("RELAY_TEST_SECRET", SECRET);
  for (const name of ["echo", "hello-world"])
    api.store.create(MPO, { metadata: { name }, spec: { imageTag: "main", scanInterval: "24h" } });
});
afterEach(async () => {
  await stop();
  await api.close();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

it("a push becomes a nudged override, and its effect is reported when Deckhouse shows it", async () => {
  await start();
  expect(await push("1")).toBe(202);
  await nudged(1);
  expect(annotation()).toBe(digestOf("a"));
  api.store.patchStatus(MPO, "echo", { imageDigest: digestOf("a"), message: "Ready", updatedAt: "2026-11-24T12:00:00Z" });
  await vi.waitFor(() => expect(outcomes("PICKED_UP")).toHaveLength(1), waited);
});

it("what was acknowledged while no consumer ran is applied by the next one", async () => {
  await start({ roles: ["edge"] });
  expect(await push("1")).toBe(202);
  await stop();
  await start();
  await nudged(1);
});

it("stopping settles what is in hand: nothing is received twice afterwards", async () => {
  await start();
  await push("1");
  await nudged(1);
  await stop();
  await start();
  await push("2", digestOf("b"), "hello-world");
  await vi.waitFor(() => expect(annotation("hello-world")).toBe(digestOf("b")), waited);
  for (const line of observed.lines.filter((each) => each.event === "record")) expect(line["receiveCount"]).toBe(1);
});

describe("a fault of the API server", () => {
  const faults: [Fault, string][] = [
    ["429", "CLUSTER_BUSY"],
    ["429-plain", "CLUSTER_BUSY"],
    ["500", "CLUSTER_ERROR"],
    ["503", "CLUSTER_ERROR"],
    ["reset", "CLUSTER_UNREACHABLE"],
    ["401", "CLUSTER_UNAUTHORIZED"],
    ["html", "CLUSTER_ERROR"],
  ];
  it.each(faults)("%s opens the circuit: records wait, receive counts stay, nothing is lost", async (fault, code) => {
    await start();
    api.faults.next(Number.POSITIVE_INFINITY, fault);
    for (const n of [1, 2, 3]) expect(await push(String(n), digestOf(String(n)))).toBe(202);
    await vi.waitFor(() => expect(observed.codes()).toContain(code), waited);
    expect(annotation()).toBeUndefined();
    api.faults.clear();
    await vi.waitFor(() => expect(annotation()).toBe(digestOf("3")), waited);
    expect(observed.codes().filter((each) => each === code)).toHaveLength(1); // told once
    for (const line of observed.lines.filter((each) => each.event === "record")) expect(line["receiveCount"]).toBe(1);
  });

  it("a stopped server: the same, and the edge goes on acknowledging", async () => {
    await start();
    await api.stop();
    expect(await push("1")).toBe(202);
    await vi.waitFor(() => expect(observed.codes()).toEqual(["CLUSTER_UNREACHABLE"]), waited);
    expect((await fetch(`${relay?.url}/readyz`)).status).toBe(200);
    await api.start();
    await nudged(1);
  });

  it("403 by RBAC concerns one record: the others go on", async () => {
    await start();
    api.faults.next(1, "403-rbac", { method: "PATCH" });
    await push("1");
    await vi.waitFor(() => expect(observed.outcomes()).toContain("FORBIDDEN"), waited);
    await push("2", digestOf("b"), "hello-world");
    await vi.waitFor(() => expect(annotation("hello-world")).toBe(digestOf("b")), waited);
  });

  it("403 by an admission policy is buried at once", async () => {
    await start();
    api.store.patch(MPO, "echo", { metadata: { labels: { heritage: "deckhouse" } } });
    await push("1");
    await vi.waitFor(() => expect(observed.codes()).toEqual(["FORBIDDEN_BY_POLICY"]), waited);
  });

  it("an API version that is no longer served is discovered anew, nothing is skipped", async () => {
    api.setServed(["v1alpha1"]);
    api.store.delete(MPO, "echo");
    api.store.create(MPO, { metadata: { name: "echo" }, spec: { imageTag: "main", source: "test" } });
    await start();
    await push("1");
    await nudged(1);
    api.store.patchStatus(MPO, "echo", { imageDigest: digestOf("a"), message: "Ready", updatedAt: "2026-11-24T12:00:00Z" });
    api.setServed(["v1alpha2"]);
    await push("2", digestOf("b"));
    await vi.waitFor(() => expect(annotation()).toBe(digestOf("b")), waited);
    expect(outcomes("NOT_OVERRIDDEN")).toEqual([]);
  });
});

it("a second process on the same queue folder is refused, and told what to do", async () => {
  await start();
  await expect(startRelay({ config: config(), observer: observed.observer })).rejects.toThrow(/in use by another process/);
});

it("stops although a request never comes to its end", async () => {
  await start({ roles: ["edge"] });
  const socket = connect(relay?.port ?? 0, "127.0.0.1");
  const cut = new Promise((resolve) => socket.on("close", resolve).on("error", () => {}));
  await new Promise<void>((resolve) =>
    socket.write("POST /hooks/registry HTTP/1.1\r\nhost: edge\r\ncontent-length: 100\r\n\r\nhalf of it", () => resolve()),
  );
  expect(await push("1")).toBe(202); // so the half one was read too
  await stop();
  await cut;
});

it("a port that is taken is an error that names it", async () => {
  await start();
  const taken = config({ listen: { host: "127.0.0.1", port: relay?.port ?? 0 } });
  const elsewhere = { kind: "embedded", folder: join(folder, "other") } as const;
  const dev = clusterOf(elsewhere);
  await expect(startRelay({ config: { ...taken, clusters: { dev }, unparsed: elsewhere }, observer: observed.observer })).rejects.toThrow(
    `cannot listen on 127.0.0.1:${relay?.port}: the port is taken`,
  );
});

it("a cluster whose credential cannot be read keeps nobody else from starting: its records wait, and an alarm tells", async () => {
  vi.stubEnv("RELAY_TEST_TOKEN", "");
  await start();
  expect(observed.codes()).toEqual(["CLUSTER_UNAUTHORIZED"]);
  expect(await push("1")).toBe(202);
  vi.stubEnv("RELAY_TEST_TOKEN", api.grant("relay", ["get", "patch"]));
  await nudged(1);
});

it("a webhook's secret that is missing is told at start; its deliveries get 503 until it is there", async () => {
  vi.stubEnv("RELAY_TEST_SECRET", "");
  await start();
  expect(observed.alarms).toMatchObject([
    { code: "SECRET_MISSING", webhook: "registry", why: expect.stringContaining("RELAY_TEST_SECRET") },
  ]);
  expect(await push("1")).toBe(503);
  vi.stubEnv("RELAY_TEST_SECRET", SECRET);
  expect(await push("1")).toBe(202);
});
