/**
 * What Deckhouse does in every era, shown by e3, which most clusters run. Each behaviour names where it is known from: deckhouse/deckhouse,
 * deckhouse-controller/pkg/controller/module-controllers/override/controller.go. What differs is in deckhouse-eras.test.ts.
 */
import { afterEach, describe, expect, it } from "vitest";
import { caughtUp, MPO, type Setup, startWorld, type World } from "./support/deckhouse.ts";
import { until } from "./support/wait.ts";

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function world(setup: Setup = {}): Promise<World> {
  const here = await startWorld(setup);
  cleanups.push(() => here.stop());
  return here;
}

describe("what triggers a check", () => {
  it("creation, and every override anew after a start (the informer delivers Create events, which pass both predicates)", async () => {
    const here = await world();
    expect(here.checks).toEqual(["echo:main", "echo:main"]);
    await caughtUp(here, "other");
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
    await caughtUp(here, "other");
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

  it("believes a mirror that serves the old manifest once more, and sees the new one at the next trigger alone", async () => {
    let stale: string | null = null;
    const here = await world({
      mirror: async (ask) => {
        const digest = stale ?? (await ask());
        stale = null;
        return digest;
      },
    });
    const old = here.status()["imageDigest"];
    const digest = await here.push("echo", "main");
    stale = String(old);
    here.annotate({ renew: "key" });
    await until(() => here.checks.length).toBe(3);
    await caughtUp(here, "other");
    expect(here.status()).toMatchObject({ imageDigest: old, message: "Ready" });
    here.annotate({ renew: "key.1" });
    await until(() => here.status()["imageDigest"]).toBe(digest);
  });

  it("says `Download error: …` and tries again only after the interval, or at the next trigger", async () => {
    const here = await world({ first: false });
    await until(() => here.status()["message"]).toMatch(/^Download error: GET http:.*: MANIFEST_UNKNOWN: manifest unknown$/);
    const digest = await here.push("echo", "main");
    await caughtUp(here, "other");
    expect(here.checks).toEqual(["echo:main"]);
    here.annotate({ renew: "key" });
    await until(() => here.status()).toMatchObject({ imageDigest: digest, message: "Ready" });
  });

  it("clears the message once the registry answers again, with a new updatedAt and without a deploy", async () => {
    const here = await world();
    const digest = here.status()["imageDigest"];
    here.api.store.patchStatus(MPO, "echo", { message: "Download error: unexpected EOF", updatedAt: "2020-01-01T00:00:00Z" });
    here.annotate({ renew: "key" });
    await until(() => here.status()).toMatchObject({ imageDigest: digest, message: "Ready" });
    expect(here.status()["updatedAt"]).not.toBe("2020-01-01T00:00:00Z");
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
    ["The module is embedded", { module: { properties: { source: "Embedded" } } }],
    ["The module disabled", { conditions: { EnabledByModuleConfig: "False" } }],
    ["The module does not have an active source", { module: {} }],
    ["The source not found", { source: false }],
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
    await until(() => here.api.store.get(MPO, "echo")).toBeNull();
    here.createOverride("echo", "main");
    await until(() => here.status()["message"]).toBe("Ready");
  });

  it("ends at once in the middle of a deploy", async () => {
    const here = await world({ deployMs: 3_600_000, first: false });
    await here.push("echo", "main");
    here.annotate({ renew: "key" });
    await until(() => here.deploys()).toBe(1); // a check before the push may have said in the log that there is no image
    await here.stop();
    expect(here.status()["imageDigest"]).toBeUndefined();
  });

  it("ends at once in the middle of a request that hangs", async () => {
    const here = await world({ first: false, mirror: () => new Promise(() => undefined) });
    await until(() => here.checks.length).toBe(1);
    await here.stop();
    expect(here.status()).toEqual({});
  });
});
