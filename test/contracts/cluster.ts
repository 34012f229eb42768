/**
 * What the cluster port promises, on whatever API server stands behind it: the sandbox's stand-in here, a real kube-apiserver in test/e2e.
 * Faults that only a stand-in can be told to make are in test/cluster-sandbox.test.ts.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Overrides } from "../../src/cluster/overrides.ts";
import type { ErrorCode } from "../../src/outcome.ts";
import { waited } from "../support/wait.ts";

export type Version = "v1alpha1" | "v1alpha2";
export interface SeenEvent {
  readonly type: string;
  readonly labels: Readonly<Record<string, string>>;
}
export interface AdminView {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}
/** What an administrator does beside the relay, by whichever version is served. */
export interface Admin {
  /** `source` counts where v1alpha1 is served; `manager` writes it, else the client of an administrator. Resolves once the override can be read. */
  create(
    name: string,
    spec: { imageTag: string; source?: string; scanInterval?: string },
    metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> },
    manager?: string,
  ): Promise<void>;
  /** Merge patch of the main resource. */
  patch(name: string, patch: Record<string, unknown>, manager?: string): Promise<void>;
  patchStatus(name: string, status: Record<string, unknown>): Promise<void>;
  /** Merges into `spec` what the definition does not allow, as it was stored before the definition changed. */
  spoil(name: string, spec: Record<string, unknown>): Promise<void>;
  read(name: string): Promise<AdminView>;
  delete(name: string): Promise<void>;
  /** Collects the events of one override from now on; resolves once the watch stands. */
  watch(name: string): Promise<{ readonly events: readonly SeenEvent[]; stop(): void }>;
}
export interface ClusterUnderTest {
  /** As a service account with the rights of infra/cluster: get, list and patch of overrides, nothing else. A new client with each call. */
  open(): Promise<Overrides>;
  /** As one that may only get. */
  openReader(): Promise<Overrides>;
  /** With a bearer token that the server does not know. */
  openStranger(): Promise<Overrides>;
  readonly admin: Admin;
  /** The Events about an override, as `kubectl describe` finds them: by kind, name and UID. */
  events(name: string): Promise<readonly { readonly type: string; readonly reason: string; readonly message: string }[]>;
  /** What an administrator sees as the UID of the namespace kube-system. */
  uid(): Promise<string>;
  /** Changes which versions of the kind are served; resolves once the server does so. Starts with v1alpha2 (or both); from v1alpha1 to v1alpha2 the objects stay. */
  serve(versions: readonly Version[]): Promise<void>;
  close(): Promise<void>;
}

/** Rejects with this code, and gives the error. */
export async function failure(promise: Promise<unknown>, code: ErrorCode): Promise<Error & { retryAfterSeconds?: number | null }> {
  const error: unknown = await promise.then(
    () => expect.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ name: "RelayError", code });
  if (!(error instanceof Error)) expect.fail("no Error was thrown");
  return error;
}

export function clusterContract(name: string, setup: () => Promise<ClusterUnderTest>): void {
  describe(`cluster: ${name}`, { shuffle: false }, () => {
    let cluster: ClusterUnderTest;
    let overrides: Overrides;
    beforeAll(async () => {
      cluster = await setup();
      overrides = await cluster.open();
    }, 60_000);
    afterAll(async () => {
      overrides?.close();
      await cluster?.close();
    });
    const read = async (module: string) => (await overrides.get(module)) ?? expect.fail(`no override ${module}`);

    it("reads an override by the newest served version", async () => {
      await cluster.admin.create("echo", { imageTag: "main", source: "test", scanInterval: "24h" });
      const digest = `sha256:${"a".repeat(64)}`;
      await cluster.admin.patchStatus("echo", { message: "Ready", imageDigest: digest, updatedAt: "2026-01-02T03:04:05Z" });
      expect(await overrides.get("echo")).toEqual({
        name: "echo",
        apiVersion: "v1alpha2",
        resourceVersion: (await cluster.admin.read("echo")).resourceVersion,
        imageTag: "main",
        source: null,
        scanInterval: "24h",
        annotations: {},
        keeper: null,
        taggedAt: expect.toSatisfy((time) => time === null || !Number.isNaN(Date.parse(time))), // an API server notes it
        odd: null,
        status: { message: "Ready", imageDigest: digest, updatedAt: "2026-01-02T03:04:05Z" },
      });
    });

    it("gives an empty status where Deckhouse has not looked yet", async () => {
      await cluster.admin.create("fresh", { imageTag: "main", source: "test" });
      expect((await read("fresh")).status).toEqual({ message: "", imageDigest: null, updatedAt: null });
    });

    it("gives null for an override that is not there", async () => {
      expect(await overrides.get("nobody")).toBeNull();
    });

    it("annotates, and leaves everything else alone", async () => {
      const kept = { "modules.deckhouse.io/deployed-on": "node-1", other: "x" };
      await cluster.admin.create("kept", { imageTag: "main", source: "test" }, { annotations: kept, labels: { team: "a" } });
      const before = await cluster.admin.read("kept");
      const patched = await overrides.annotate(await read("kept"), { renew: "key1", "mpo-relay/key": "key1" });
      const after = await cluster.admin.read("kept");
      expect(after.annotations).toEqual({ ...kept, renew: "key1", "mpo-relay/key": "key1" });
      expect(after.labels).toEqual(before.labels);
      expect(after.generation).toBe(before.generation);
      expect(after.resourceVersion).not.toBe(before.resourceVersion);
      expect(patched).toEqual(await read("kept"));
    });

    it("writes nothing when nothing changes", async () => {
      await cluster.admin.create("same", { imageTag: "main", source: "test" });
      const first = await overrides.annotate(await read("same"), { renew: "key1" });
      const watch = await cluster.admin.watch("same");
      const second = await overrides.annotate(first ?? expect.fail("gone"), { renew: "key1" });
      expect(second?.resourceVersion).toBe(first?.resourceVersion);
      await overrides.annotate(second ?? expect.fail("gone"), { renew: "key2" });
      await vi.waitUntil(() => watch.events.length > 0, waited);
      expect(watch.events.map((event) => event.type)).toEqual(["MODIFIED"]);
      watch.stop();
    });

    it("deletes an annotation with null", async () => {
      await cluster.admin.create("less", { imageTag: "main", source: "test" }, { annotations: { a: "1", b: "2" } });
      const patched = await overrides.annotate(await read("less"), { a: null, c: "3" });
      expect(patched?.annotations).toEqual({ b: "2", c: "3" });
    });

    it("refuses to patch what changed meanwhile, and can after a new look", async () => {
      await cluster.admin.create("moved", { imageTag: "main", source: "test" });
      const old = await read("moved");
      await cluster.admin.patch("moved", { spec: { imageTag: "other" } });
      await failure(overrides.annotate(old, { renew: "key1" }), "CONFLICT");
      expect((await cluster.admin.read("moved")).annotations).toEqual({});
      expect((await overrides.annotate(await read("moved"), { renew: "key1" }))?.imageTag).toBe("other");
    });

    it("sets the scan interval and what it remembers of it in one write, and takes both back", async () => {
      await cluster.admin.create("slow", { imageTag: "main", source: "test", scanInterval: "15s" }, { annotations: { kept: "x" } });
      const before = await cluster.admin.read("slow");
      const watch = await cluster.admin.watch("slow");
      const set = await overrides.setScanInterval(await read("slow"), "12h", { "mpo-relay/scan-interval": "15s" });
      expect(set).toMatchObject({ scanInterval: "12h", imageTag: "main", annotations: { kept: "x", "mpo-relay/scan-interval": "15s" } });
      expect((await cluster.admin.read("slow")).generation).toBe(before.generation + 1);
      const back = await overrides.setScanInterval(set ?? expect.fail("gone"), "15s", { "mpo-relay/scan-interval": null });
      expect(back).toMatchObject({ scanInterval: "15s", annotations: { kept: "x" } });
      expect(back).toEqual(await read("slow"));
      await vi.waitUntil(() => watch.events.length >= 2);
      expect(watch.events.map(({ type, labels }) => [type, labels])).toEqual([
        ["MODIFIED", {}],
        ["MODIFIED", {}],
      ]);
      watch.stop();
    });

    it("leaves the scan interval to Deckhouse's default where it is taken away", async () => {
      await cluster.admin.create("unset", { imageTag: "main", source: "test", scanInterval: "12h" });
      expect((await overrides.setScanInterval(await read("unset"), null, {}))?.scanInterval).toBe("15s");
    });

    it("sets no scan interval of what changed meanwhile, nor one that Deckhouse cannot read", async () => {
      await cluster.admin.create("edited", { imageTag: "main", source: "test", scanInterval: "15s" });
      const old = await read("edited");
      await cluster.admin.patch("edited", { spec: { scanInterval: "1m" } });
      await failure(overrides.setScanInterval(old, "12h", { a: "1" }), "CONFLICT");
      await failure(overrides.setScanInterval(await read("edited"), "12 hours", { a: "1" }), "INVALID");
      expect(await read("edited")).toMatchObject({ scanInterval: "1m", annotations: {} });
    });

    it("says which GitOps tool keeps the scan interval, until a person takes it over", async () => {
      const spec = { imageTag: "main", source: "test", scanInterval: "15s" };
      await cluster.admin.create("argo", spec, {}, "argocd-controller");
      await cluster.admin.create("flux", spec, { labels: { "kustomize.toolkit.fluxcd.io/name": "apps" } });
      await cluster.admin.create("tagged", spec, {}, "kubectl-create");
      await cluster.admin.patch("tagged", { spec: { imageTag: "other" } }, "helm");
      expect((await read("argo")).keeper).toBe("Argo CD");
      expect((await read("flux")).keeper).toBe("Flux");
      expect((await read("tagged")).keeper).toBeNull();
      await cluster.admin.patch("tagged", { spec: { scanInterval: "1m" } }, "helm");
      expect((await read("tagged")).keeper).toBe("Helm");
      await cluster.admin.patch("argo", { spec: { scanInterval: "1m" } }, "kubectl-edit");
      expect((await read("argo")).keeper).toBeNull();
    });

    it("gives null when the override went away before the patch", async () => {
      await cluster.admin.create("gone", { imageTag: "main", source: "test" });
      const seen = await read("gone");
      await cluster.admin.delete("gone");
      expect(await overrides.annotate(seen, { renew: "key1" })).toBeNull();
    });

    it("lists, where that is granted", async () => {
      const names = (await overrides.list()).map((override) => override.name);
      expect(names).toEqual(expect.arrayContaining(["echo", "kept"]));
      const reader = await cluster.openReader();
      await failure(reader.list(), "FORBIDDEN");
      reader.close();
    });

    it("gives those too that are stored in another form than their definition allows, and says what cannot be read of them", async () => {
      for (const name of ["wrong", "tagless"])
        await cluster.admin.create(name, { imageTag: "main", source: "test" }, { annotations: { kept: "x" } });
      await cluster.admin.spoil("wrong", { scanInterval: 15 });
      await cluster.admin.spoil("tagless", { imageTag: null });
      const listed = new Map((await overrides.list()).map((override) => [override.name, override]));
      const kept = { annotations: { kept: "x" }, apiVersion: "v1alpha2" };
      expect(listed.get("wrong")).toMatchObject({
        ...kept,
        imageTag: "main",
        scanInterval: null,
        odd: expect.stringContaining("spec.scanInterval"),
      });
      expect(listed.get("tagless")).toMatchObject({
        ...kept,
        imageTag: "",
        scanInterval: "15s",
        odd: expect.stringContaining("spec.imageTag"),
      });
      expect(listed.get("echo")).toMatchObject({ imageTag: "main", odd: null });
      for (const name of ["wrong", "tagless"]) {
        expect(await overrides.get(name)).toEqual(listed.get(name));
        await cluster.admin.delete(name);
      }
    });

    it("says which cluster it is", async () => {
      expect(await overrides.uid()).toBe(await cluster.uid());
    });

    it("answers a probe", async () => {
      await expect(overrides.probe()).resolves.toBeUndefined();
    });

    it("tells of an override where kubectl describe looks, and the same thing once", async () => {
      await cluster.admin.create("told", { imageTag: "main", source: "test" });
      const event = { type: "Warning", reason: "Refused", message: "Deckhouse says: „no“\u{1f600}" } as const;
      await overrides.tell("told", { ...event, id: "key1.0.refused" });
      await overrides.tell("told", { ...event, id: "key1.0.refused" });
      await overrides.tell("told", { ...event, id: "key1.1.refused", message: "x".repeat(5000) });
      const told = await cluster.events("told");
      expect(told.map(({ type, reason }) => `${type} ${reason}`)).toEqual(["Warning Refused", "Warning Refused"]);
      expect(told.map(({ message }) => message).toSorted()).toEqual([event.message, "x".repeat(1024)].toSorted());
      await overrides.tell("nobody-there", { ...event, id: "key1.0.refused" });
      expect(await cluster.events("nobody-there")).toEqual([]);
      await failure((await cluster.openReader()).tell("told", { ...event, id: "key2.0.refused" }), "FORBIDDEN");
    });

    it("gives null for the state of a Module that is not there, or may not be seen", async () => {
      expect(await overrides.state("nothing")).toBeNull();
    });

    it("says FORBIDDEN for what RBAC refuses", async () => {
      const reader = await cluster.openReader();
      const seen = (await reader.get("echo")) ?? expect.fail("no override echo");
      await failure(reader.setScanInterval(seen, "12h", {}), "FORBIDDEN");
      const error = await failure(reader.annotate(seen, { renew: "key1" }), "FORBIDDEN");
      expect(error.message).toContain("cannot patch resource");
      reader.close();
    });

    it("says FORBIDDEN_BY_POLICY for what an admission policy refuses", async () => {
      await cluster.admin.create("guarded", { imageTag: "main", source: "test" }, { labels: { heritage: "deckhouse" } });
      const error = await failure(overrides.annotate(await read("guarded"), { renew: "key1" }), "FORBIDDEN_BY_POLICY");
      expect(error.message).toContain("ValidatingAdmissionPolicy");
    });

    it("says INVALID for a patch that the server calls invalid", async () => {
      await failure(overrides.annotate(await read("echo"), { "no such/key/at all": "x" }), "INVALID");
    });

    it("says CLUSTER_UNAUTHORIZED for a token that nobody knows", async () => {
      const stranger = await cluster.openStranger();
      await failure(stranger.get("echo"), "CLUSTER_UNAUTHORIZED");
      await failure(stranger.probe(), "CLUSTER_UNAUTHORIZED");
      stranger.close();
    });

    // From here on the served versions change: these stay last, and in this order.
    it("sends the label pulse where v1alpha1 alone is served", async () => {
      await cluster.serve(["v1alpha1"]);
      await cluster.admin.create("old", { imageTag: "main", source: "test" });
      const old = await cluster.open();
      const seen = (await old.get("old")) ?? expect.fail("no override old");
      expect(seen).toMatchObject({ apiVersion: "v1alpha1", source: "test" });
      const watch = await cluster.admin.watch("old");
      const patched = await old.annotate(seen, { renew: "key1", "mpo-relay/key": "key1" });
      expect(patched?.annotations).toEqual({ renew: "key1", "mpo-relay/key": "key1" });
      await vi.waitUntil(() => watch.events.length >= 2, waited);
      expect(watch.events.map(({ type, labels }) => [type, labels["renew"]])).toEqual([
        ["MODIFIED", "key1"],
        ["MODIFIED", undefined],
      ]);
      const slow = await old.setScanInterval(patched ?? expect.fail("gone"), "12h", { note: "x" });
      expect(slow).toMatchObject({ apiVersion: "v1alpha1", source: "test", scanInterval: "12h" });
      await vi.waitUntil(() => watch.events.length >= 3);
      expect(watch.events[2]?.labels).toEqual({});
      watch.stop();
      old.close();
    });

    it("follows a running server from v1alpha1 to v1alpha2", async () => {
      const running = await cluster.open();
      const seen = (await running.get("old")) ?? expect.fail("no override old");
      await cluster.serve(["v1alpha2"]);
      await failure(running.annotate(seen, { renew: "key2" }), "API_VERSION_GONE");
      const again = (await running.get("old")) ?? expect.fail("no override old");
      expect(again).toMatchObject({ apiVersion: "v1alpha2", imageTag: "main" });
      expect((await running.annotate(again, { renew: "key2" }))?.annotations["renew"]).toBe("key2");
      running.close();
    });
  });
}
