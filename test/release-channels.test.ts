/** From a push to a channel to the release that comes of it, through the real rules, the sandbox's registry and API and Deckhouse's stand-in. */
import { describe, expect, it, onTestFinished } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import { consume } from "../src/consume.ts";
import { encode } from "../src/event.ts";
import { toRelayError } from "../src/outcome.ts";
import type { NewRecord } from "../src/queue/queue.ts";
import { ERAS, type EraName, eraOf } from "../src/sandbox/deckhouse-eras.ts";
import { startSources, type UpdatePolicy } from "../src/sandbox/deckhouse-sources.ts";
import { startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { pushImage } from "../src/sandbox/registry-client.ts";
import { releaseRegistry } from "../src/sandbox/registry-release.ts";
import { startRegistry } from "../src/sandbox/registry.ts";
import { configOf, fakeObserver, requestOf } from "./support/relay.ts";
import { until } from "./support/wait.ts";

const PATH = "deckhouse/modules";

async function startWorld(era: EraName, policy: Partial<UpdatePolicy> = {}) {
  const registry = await startRegistry({ port: 0, notify: null, log: () => undefined });
  const { served, sourcesHaveInterval } = eraOf(era);
  const api = await startKubernetesApi({ token: "admin", served });
  api.setScannable(sourcesHaveInterval);
  const { store } = api;
  const repo = `localhost:${registry.port}/${PATH}`;
  const move = (version: string, channel = "alpha", module = "echo") =>
    pushImage(registry.url, `${PATH}/${module}/release`, channel, { version });
  for (const module of ["echo", "other"]) {
    await pushImage(registry.url, PATH, module);
    await move("v1.0.0", "alpha", module);
  }
  store.create("modulesources", { metadata: { name: "test" }, spec: { registry: { repo, scheme: "HTTP" } } });
  const log: string[] = [];
  const deckhouse = startSources({
    kube: { server: api.url, ca: api.ca, token: api.systemToken },
    overrides: served[0] ?? "v1alpha1",
    registry: releaseRegistry,
    policyOf: () => ({ name: "team", channel: "alpha", mode: "Auto", ...policy }),
    log: (line) => void log.push(line),
  });
  const port = await openKubernetes({
    cluster: "dev",
    kubernetes: { kind: "server", server: api.url, ca: { kind: "env", name: "CA" }, token: { kind: "env", name: "TOKEN" } },
    readSecret: async (ref) => (ref.kind === "env" && ref.name === "CA" ? api.ca : api.grant("relay", ["get", "list", "patch"])),
  });
  onTestFinished(async () => {
    port.close();
    await deckhouse.stop();
    await api.close();
    await registry.close();
  });
  const { observer, lines, outcomes } = fakeObserver();
  const waiting: string[] = [];
  const keep = (records: readonly NewRecord[]) => void waiting.push(...records.map(({ body }) => body));
  const context = {
    overrides: port,
    channels: port.channels,
    cluster: "dev",
    observer,
    circuit: createCircuit("dev", () => port.probe(), observer, toRelayError),
    queue: {
      acknowledge: async () => {},
      defer: async (moves: readonly { next: NewRecord }[]) => keep(moves.map(({ next }) => next)),
      bury: async () => {},
    },
    send: async (records: readonly NewRecord[]) => keep(records),
    now: () => new Date(),
    tuning: configOf().tuning,
    pace: async () => {},
  };
  const work = (bodies: readonly string[]) =>
    consume(
      bodies.map((body, n) => ({ id: String(n), receipt: String(n), body, receiveCount: 1, sentAt: new Date().toISOString() })),
      context,
    );
  await until(() => store.list("modulereleases").map(({ status }) => status?.["phase"])).toEqual(["Deployed", "Deployed"]);
  await until(() => store.get("modulesources", "test")?.status?.["modulesCount"]).toBe(2); // the end of the scan
  return {
    api,
    store,
    lines,
    outcomes,
    move,
    scans: (source = "test") => log.filter((line) => line.endsWith(`scans ${source}`)).length,
    phase: (name: string) => store.get("modulereleases", name)?.status?.["phase"],
    /** As the edge would store it now. */
    push: (module = "echo") => {
      const at = new Date().toISOString();
      return work([encode(requestOf({ kind: "rescan", module, tag: "alpha", receivedAt: at, pushedAt: at }))]);
    },
    /** Whatever waits is due. */
    look: () => work(waiting.splice(0)),
  };
}

describe.each(["e4", "e5"] as const)("release channels: %s", (era) => {
  it("a moved channel is scanned at once, once, and its release is told when it runs", async () => {
    const { move, push, look, scans, phase, outcomes, lines, store } = await startWorld(era);
    const [before, generation] = [scans(), store.get("modulesources", "test")?.metadata.generation ?? 0];
    await move("v1.1.0");
    await push();
    await until(() => phase("echo-v1.1.0")).toBe("Deployed");
    await look();
    expect(outcomes()).toEqual(["RESCANNED", "RELEASE_DEPLOYED"]);
    expect(lines[1]).toMatchObject({ release: "echo-v1.1.0", policy: "team" });
    expect([phase("echo-v1.0.0"), phase("other-v1.0.0")]).toEqual(["Superseded", "Deployed"]);
    expect([scans(), store.get("modulesources", "test")?.metadata.generation]).toEqual([before + 1, generation + 1]);
  });
});

describe("release channels", () => {
  it.each<[string, Partial<UpdatePolicy>, string]>([
    ["a person", { mode: "Manual" }, "kubectl annotate modulerelease echo-v1.1.0 modules.deckhouse.io/approved=true"],
    [
      "a window",
      { outside: "Release is waiting for the update window: 24 Nov 26 18:00 UTC" },
      "update window: 24 Nov 26 18:00 UTC; by the update policy team",
    ],
  ])("a release that waits for %s is told so, and waits on", async (_whom, policy, why) => {
    const { move, push, look, phase, lines, store } = await startWorld("e4", policy);
    await move("v1.1.0");
    await push();
    await until(() => phase("echo-v1.1.0")).toBe("Pending");
    await look();
    await look();
    expect(lines.at(-1)).toMatchObject({ outcome: "RELEASE_PENDING", release: "echo-v1.1.0", why: expect.stringContaining(why) });
    expect(store.get("modulereleases", "echo-v1.1.0")?.metadata.annotations).toBeUndefined();
    expect([phase("echo-v1.1.0"), phase("echo-v1.0.0")]).toEqual(["Pending", "Deployed"]);
  });

  it("an overridden module is left to its override, and its source is not scanned for it", async () => {
    const { store, move, push, scans, outcomes } = await startWorld("e4");
    store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main", scanInterval: "24h" } });
    const before = scans();
    await move("v1.1.0");
    await push();
    expect([outcomes(), scans()]).toEqual([["OVERRIDDEN"], before]);
    // a scan for another module passes it over
    await push("other");
    await until(() => scans()).toBe(before + 1);
    await until(() => store.get("modulesources", "test")?.status?.["modules"]).toMatchObject([
      { name: "echo", overridden: true },
      { name: "other" },
    ]);
    expect(store.get("modulereleases", "echo-v1.1.0")).toBeNull();
  });

  it.each(ERAS.filter((era) => !eraOf(era).sourcesHaveInterval))(
    "%s cannot be made to scan, which changes nothing and is told",
    async (era) => {
      const { store, push, scans, outcomes } = await startWorld(era);
      const [before, source] = [scans(), store.get("modulesources", "test")];
      await push();
      expect([outcomes(), scans(), store.get("modulesources", "test")]).toEqual([["RESCAN_UNSUPPORTED"], before, source]);
    },
  );

  it("an annotation makes nothing happen", async () => {
    const { store, scans } = await startWorld("e4");
    const before = scans();
    store.patch("modulesources", "test", { metadata: { annotations: { renew: "1" } } });
    store.create("modulesources", { metadata: { name: "later" }, spec: { registry: { repo: "localhost:1/none", scheme: "HTTP" } } });
    await until(() => scans("later")).toBeGreaterThan(0); // it came behind the annotation
    expect(scans()).toBe(before);
  });
});
