/** Each behaviour names where it is known from: deckhouse/deckhouse, deckhouse-controller/pkg/controller/module-controllers/override, v1.67 to mid 2026. */
import { afterEach, describe, expect, it } from "vitest";
import { kubernetesPort } from "../src/sandbox/deckhouse-kubernetes.ts";
import { startDeckhouse } from "../src/sandbox/deckhouse.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { pushImage, resolveDigest } from "../src/sandbox/registry-client.ts";
import { type Registry, startRegistry } from "../src/sandbox/registry.ts";

/** Long enough for a busy machine; nothing waits this long where it works. */
const until = <T>(read: () => T) => expect.poll(read, { timeout: 15_000, interval: 20 });

const MPO = "modulepulloverrides";
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

interface World {
  api: KubernetesApi;
  registry: Registry;
  /** Each resolve of a tag, as `module:tag`. */
  checks: string[];
  log: string[];
  push(module: string, tag: string, options?: { index?: boolean }): Promise<string>;
  status(name?: string): Record<string, unknown>;
  annotate(annotations: Record<string, string | null>, name?: string): void;
  restarts(): number;
  /** Runs once, in the middle of the next deploy. */
  inNextDeploy(action: () => void): void;
  stop(): Promise<void>;
}
interface Setup {
  interval?: string;
  served?: readonly ("v1alpha1" | "v1alpha2")[];
  module?: Record<string, unknown> | null;
  moduleStatus?: Record<string, unknown>;
  source?: string | null;
  deployMs?: number;
  first?: boolean;
  registryHangs?: boolean;
}

/** Stand-ins for cluster and registry, the documented example in them, and a Deckhouse. With `first`, echo's image is there and deployed. */
async function world(setup: Setup = {}): Promise<World> {
  const { interval = "24h", served = ["v1alpha2"], module = { source: "test" }, source = "test", first = true } = setup;
  const registry = await startRegistry({ port: 0, notify: null, log: () => undefined });
  const api = await startKubernetesApi({ token: "admin-token-of-the-test", served });
  cleanups.push(
    () => registry.close(),
    () => api.close(),
  );
  const { store } = api;
  const repo = `localhost:${registry.port}/deckhouse/modules`;
  if (source !== null) store.create("modulesources", { metadata: { name: source }, spec: { registry: { repo, scheme: "HTTP" } } });
  if (source !== null)
    store.patchStatus("modulesources", source, { modulesCount: 1, modules: [{ name: "echo", policy: "any" }, { name: "other" }] });
  if (module !== null) store.create("modules", { metadata: { name: "echo" }, properties: module });
  if (setup.moduleStatus) store.patchStatus("modules", "echo", setup.moduleStatus);
  const spec = { imageTag: "main", scanInterval: interval, ...(served[0] === "v1alpha1" && { source: "test" }) };
  store.create(MPO, { metadata: { name: "echo" }, spec });

  const checks: string[] = [];
  const log: string[] = [];
  let nextDeploy: () => void = () => undefined;
  const kube = kubernetesPort({ server: api.url, ca: api.ca, token: api.token });
  const here: World = {
    api,
    registry,
    checks,
    log,
    push: (name, tag, options) => pushImage(registry.url, `deckhouse/modules/${name}`, tag, options),
    status: (name = "echo") => store.get(MPO, name)?.status ?? {},
    annotate: (annotations, name = "echo") => void store.patch(MPO, name, { metadata: { annotations } }),
    restarts: () => log.filter((line) => line.includes("restarts after")).length,
    inNextDeploy: (action) => void (nextDeploy = action),
    stop: () => deckhouse.stop(),
  };
  if (first) await here.push("echo", "main");
  const deckhouse = startDeckhouse({
    era: "e3",
    kube,
    resolveDigest: (image, tag, scheme) => {
      checks.push(`${image.slice(image.lastIndexOf("/") + 1)}:${tag}`);
      return setup.registryHangs === true ? new Promise(() => undefined) : resolveDigest(image, tag, scheme);
    },
    deployMs: setup.deployMs ?? 1,
    restartMs: 1,
    log(line) {
      log.push(line);
      if (!line.includes("deploys")) return;
      const action = nextDeploy;
      nextDeploy = () => undefined;
      action();
    },
  });
  cleanups.push(
    () => kube.close(),
    () => deckhouse.stop(),
  );
  if (first && module !== null && source !== null && !setup.moduleStatus) await settled(here, 2);
  return here;
}

/** Until the override was checked that often: once and again after the restart for a deploy. */
async function settled(here: World, checks: number) {
  await until(() => here.checks.length).toBe(checks);
  await until(() => here.status()["message"]).toMatch(/^Ready$|error/);
}

describe("what triggers a check", () => {
  it("creation, and every override anew after a start (the informer delivers Create events, which pass both predicates)", async () => {
    const here = await world();
    expect(here.checks).toEqual(["echo:main", "echo:main"]);
    here.api.store.create(MPO, { metadata: { name: "other" }, spec: { imageTag: "x" } });
    await until(() => here.status("other")["message"]).toBe("The module not found");
  });

  it("a change of any annotation, whatever its key (predicate Or(GenerationChanged, AnnotationChanged))", async () => {
    const here = await world();
    here.annotate({ "mpo-relay/key": "one" });
    await until(() => here.checks.length).toBe(3);
    here.annotate({ renew: "two" });
    await until(() => here.checks.length).toBe(4);
    here.annotate({ "mpo-relay/key": null });
    await until(() => here.checks.length).toBe(5);
  });

  it("a change of spec (the generation moves)", async () => {
    const here = await world();
    const digest = await here.push("echo", "next");
    here.api.store.patch(MPO, "echo", { spec: { imageTag: "next" } });
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it("neither a status nor a label (no generation moves by them), nor the same annotation again (no write at all)", async () => {
    const here = await world();
    here.annotate({ renew: "one" });
    await until(() => here.checks.length).toBe(3);
    here.api.store.patchStatus(MPO, "echo", { weight: 900 });
    here.api.store.patch(MPO, "echo", { metadata: { labels: { renew: "" } } });
    here.annotate({ renew: "one" });
    // one watch and one worker: what those triggered would be checked before this one is
    here.api.store.create(MPO, { metadata: { name: "other" }, spec: { imageTag: "x" } });
    await until(() => here.status("other")["message"]).toBe("The module not found");
    expect(here.checks.length).toBe(3);
  });

  it("the scan interval (RequeueAfter spec.scanInterval)", async () => {
    const here = await world({ interval: "1s" });
    const digest = await here.push("echo", "main");
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });
});

describe("what a check does", () => {
  it("leaves everything as it is where the digest is the same: no deploy, no restart, and updatedAt stays", async () => {
    const here = await world();
    here.api.store.patchStatus(MPO, "echo", { updatedAt: "2020-01-01T00:00:00Z" });
    const before = here.status();
    here.annotate({ renew: "again" });
    await until(() => here.checks.length).toBe(3);
    here.annotate({ renew: "and again" });
    await until(() => here.checks.length).toBe(4);
    expect(here.status()).toEqual(before);
    expect(here.restarts()).toBe(1);
    expect(here.api.store.get(MPO, "echo")?.metadata.annotations).toEqual({ renew: "and again" });
  });

  it("deploys a new digest: status, then the bare `renew` goes and all other annotations stay, then a restart", async () => {
    const here = await world();
    const digest = await here.push("echo", "main");
    here.annotate({ renew: "key", "mpo-relay/key": "key", "modules.deckhouse.io/deployed-on": "node" });
    await until(() => here.restarts()).toBe(2);
    expect(here.status()).toMatchObject({ imageDigest: digest, message: "Ready" });
    expect(here.status()["updatedAt"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const annotations = { "mpo-relay/key": "key", "modules.deckhouse.io/deployed-on": "node" };
    expect(here.api.store.get(MPO, "echo")?.metadata.annotations).toEqual(annotations);
    await until(() => here.checks.length).toBe(4);
  });

  it("follows an index to its linux/amd64 child, whose digest stands in the status (remote.Image of go-containerregistry)", async () => {
    const here = await world();
    const index = await here.push("echo", "main", { index: true });
    here.annotate({ renew: "key" });
    await until(() => here.restarts()).toBe(2);
    expect(here.status()["imageDigest"]).not.toBe(index);
    expect(here.registry.resolve("deckhouse/modules/echo", String(here.status()["imageDigest"]))).toBe(here.status()["imageDigest"]);
  });

  it("writes `overridden: true` into the ModuleSource and keeps the other entries (status.modules of the CRD)", async () => {
    const here = await world();
    expect(here.api.store.get("modulesources", "test")?.status).toEqual({
      modulesCount: 1,
      modules: [{ name: "echo", policy: "any", overridden: true }, { name: "other" }],
    });
  });

  it("says `Download error: …` and tries again only after the interval, or at the next trigger", async () => {
    const here = await world({ first: false });
    await until(() => here.status()["message"]).toMatch(/^Download error: GET http:.*: MANIFEST_UNKNOWN: manifest unknown$/);
    const digest = await here.push("echo", "main");
    here.api.store.create(MPO, { metadata: { name: "other" }, spec: { imageTag: "x" } });
    await until(() => here.status("other")["message"]).toBe("The module not found");
    expect(here.checks).toEqual(["echo:main"]);
    here.annotate({ renew: "key" });
    await until(() => here.status()).toMatchObject({ imageDigest: digest, message: "Ready" });
  });

  it("clears the message once the registry answers again, without a deploy", async () => {
    const here = await world();
    const digest = here.status()["imageDigest"];
    here.api.store.patchStatus(MPO, "echo", { message: "Download error: unexpected EOF" });
    here.annotate({ renew: "key" });
    await until(() => here.status()).toMatchObject({ imageDigest: digest, message: "Ready" });
    expect(here.restarts()).toBe(1);
  });

  it("does not lose what comes while its one worker is busy, nor what is written during the restart after", async () => {
    const here = await world({ deployMs: 50 });
    const pushes: Promise<string>[] = [];
    here.inNextDeploy(() => {
      pushes.push(here.push("echo", "main"));
      void pushes[0]?.then(() => here.annotate({ renew: "second" }));
    });
    const first = await here.push("echo", "main");
    here.annotate({ renew: "first" });
    await until(() => pushes.length).toBe(1);
    const digest = await pushes[0];
    expect(digest).not.toBe(first);
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it("restarts also where its status write failed, and so deploys twice when patched during a deploy (the restart is a deferred call)", async () => {
    const here = await world();
    const digest = await here.push("echo", "main");
    here.inNextDeploy(() => here.annotate({ renew: "second" }));
    here.annotate({ renew: "first" });
    await until(() => here.restarts()).toBe(3);
    expect(here.status()["imageDigest"]).toBe(digest);
    expect(here.log.filter((line) => line.includes("patched during the deploy"))).toHaveLength(1);
  });
});

describe("the gates before a check (constants ModulePullOverrideMessage… of v1alpha2)", () => {
  it.each<[string, Setup]>([
    ["The module not found", { module: null }],
    ["The module is embedded", { module: { source: "Embedded" } }],
    ["The module disabled", { moduleStatus: { conditions: [{ type: "EnabledByModuleConfig", status: "False" }] } }],
    ["The module does not have an active source", { module: {} }],
    ["The source not found", { source: null }],
  ])("%s", async (message, setup) => {
    const here = await world({ ...setup, first: false });
    await until(() => here.status()["message"]).toBe(message);
    expect(here.checks).toEqual([]);
  });
});

describe("a cluster in trouble", () => {
  it("goes on after the watch was cut, and after its history was forgotten", async () => {
    const here = await world();
    here.api.faults.cutWatches();
    here.api.faults.expireHistory();
    const digest = await here.push("echo", "main");
    here.annotate({ renew: "key" });
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it("goes on after the API was away, and works with the version that is served then", async () => {
    const here = await world({ served: ["v1alpha1"] });
    await here.api.stop();
    const digest = await here.push("echo", "main");
    here.annotate({ renew: "key" });
    here.api.setServed(["v1alpha2"]);
    await here.api.start();
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it("tries again with back-off where the API refuses (an error returned from Reconcile)", async () => {
    const here = await world();
    const digest = await here.push("echo", "main");
    here.api.faults.next(2, "500", { method: "GET" });
    here.annotate({ renew: "key" });
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it("forgets an override that is gone", async () => {
    const here = await world();
    here.api.store.delete(MPO, "echo");
    here.api.store.create(MPO, { metadata: { name: "echo" }, spec: { imageTag: "main" } });
    await until(() => here.status()["message"]).toBe("Ready");
  });

  it("ends at once in the middle of a deploy", async () => {
    const here = await world({ deployMs: 3_600_000, first: false });
    await here.push("echo", "main");
    here.annotate({ renew: "key" });
    await until(() => here.log.length).toBe(1);
    await here.stop();
    expect(here.status()["imageDigest"]).toBeUndefined();
  });

  it("ends at once in the middle of a request that hangs", async () => {
    const here = await world({ first: false, registryHangs: true });
    await until(() => here.checks.length).toBe(1);
    await here.stop();
    expect(here.status()).toEqual({});
  });
});
