/** What the port of sources and releases promises, on whatever API server stands behind it: the sandbox's stand-in, a real kube-apiserver in test/e2e. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ClusterPort } from "../../src/cluster/channels.ts";
import { failure } from "./cluster.ts";

/** The one source that the rights of infra/cluster/rescan name. */
export const SOURCE = "my-modules";
/** What must not leave the adapter. */
const CREDENTIAL = "cmVnaXN0cnktY3JlZGVudGlhbA==";

export interface SourceView {
  readonly metadata: { readonly resourceVersion: string; readonly generation: number; readonly [field: string]: unknown };
  readonly spec: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}
/** What an administrator does beside the relay. */
export interface ChannelsAdmin {
  /** A ModuleSource of that name and no other object before it. */
  source(spec: object, labels?: Readonly<Record<string, string>>): Promise<void>;
  read(): Promise<SourceView>;
  patch(spec: object): Promise<void>;
  remove(): Promise<void>;
  release(name: string, labels: Readonly<Record<string, string>>, spec: object, status?: object): Promise<void>;
}
export interface ChannelsUnderTest {
  /** With the rights of infra/cluster: base and rescan. */
  open(): Promise<ClusterPort>;
  /** With those of base alone. */
  openBase(): Promise<ClusterPort>;
  readonly admin: ChannelsAdmin;
  /** Whether the definition has `spec.scanInterval`; resolves once the server keeps to it. */
  setScannable(scannable: boolean): Promise<void>;
  close(): Promise<void>;
}

export function channelsContract(name: string, setup: () => Promise<ChannelsUnderTest>): void {
  describe(`channels: ${name}`, () => {
    let cluster: ChannelsUnderTest;
    let port: ClusterPort;
    const registry = { repo: "registry.example.com/deckhouse/modules", scheme: "HTTPS", dockerCfg: CREDENTIAL };
    beforeAll(async () => {
      cluster = await setup();
      port = await cluster.open();
    }, 60_000);
    afterAll(async () => {
      port?.close();
      await cluster?.close();
    });
    const read = async () => (await port.channels.source(SOURCE)) ?? expect.fail("no source");

    it("reads a source, and nothing of its registry", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" });
      const { metadata } = await cluster.admin.read();
      const seen = await read();
      expect(seen).toEqual({ name: SOURCE, resourceVersion: metadata.resourceVersion, scanInterval: "3m", rescannedAt: null });
      expect(JSON.stringify(seen)).not.toContain(CREDENTIAL);
    });

    it("respells the interval: the generation moves by one, and nothing else of the object changes", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" }, { team: "a" });
      const before = await cluster.admin.read();
      const from = Date.now();
      const patched = (await port.channels.respell(await read(), "3m0s")) ?? expect.fail("gone");
      const after = await cluster.admin.read();
      const { resourceVersion, generation, managedFields: _ours, ...kept } = after.metadata;
      const { resourceVersion: _before, generation: generationBefore, managedFields: _theirs, ...keptBefore } = before.metadata;
      expect(generation).toBe(generationBefore + 1);
      expect(kept).toEqual(keptBefore);
      expect({ ...after, metadata: {} }).toEqual({ ...before, metadata: {}, spec: { ...before.spec, scanInterval: "3m0s" } });
      expect(patched).toEqual({
        name: SOURCE,
        resourceVersion,
        scanInterval: "3m0s",
        rescannedAt: expect.stringMatching(/^\d{4}-.*:\d\dZ$/),
      });
      const at = Date.parse(patched.rescannedAt ?? "");
      expect(at).toBeGreaterThanOrEqual(from - 1000); // both by the clock of this machine; the API server's has whole seconds
      expect(at).toBeLessThanOrEqual(Date.now());
      expect(await read()).toEqual(patched);
    });

    it("tells the time of the last respelling, each time anew", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" });
      const first = (await port.channels.respell(await read(), "3m0s")) ?? expect.fail("gone");
      const second = await untilLater(first.rescannedAt, async (n) => {
        const next = await port.channels.respell(await read(), n % 2 === 0 ? "3m" : "3m0s");
        return next?.rescannedAt ?? null;
      });
      expect(Date.parse(second)).toBeGreaterThan(Date.parse(first.rescannedAt ?? ""));
    });

    it("no longer calls it ours once somebody else changed the interval", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" });
      await port.channels.respell(await read(), "3m0s");
      await cluster.admin.patch({ scanInterval: "5m" });
      expect(await read()).toMatchObject({ scanInterval: "5m", rescannedAt: null });
    });

    it("refuses to respell what changed meanwhile", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" });
      const old = await read();
      await cluster.admin.patch({ scanInterval: "5m" });
      await failure(port.channels.respell(old, "3m0s"), "CONFLICT");
      expect((await cluster.admin.read()).spec).toMatchObject({ scanInterval: "5m" });
    });

    it("gives null for a source that is not there, or no longer", async () => {
      await cluster.admin.source({ registry });
      const old = await read();
      await cluster.admin.remove();
      expect(await port.channels.source(SOURCE)).toBeNull();
      expect(await port.channels.respell(old, "3m")).toBeNull();
    });

    it("changes nothing where the definition has no interval, and shows it", async () => {
      await cluster.setScannable(false);
      await cluster.admin.source({ registry });
      const before = await cluster.admin.read();
      expect(await port.channels.respell(await read(), "3m0s")).toEqual({
        name: SOURCE,
        resourceVersion: before.metadata.resourceVersion,
        scanInterval: null,
        rescannedAt: null,
      });
      expect(await cluster.admin.read()).toEqual(before);
      await cluster.setScannable(true);
    });

    it("is let through by the policy on Deckhouse's own source: another spelling alone", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" }, { heritage: "deckhouse" });
      expect(await port.channels.respell(await read(), "3m0s")).toMatchObject({ scanInterval: "3m0s" });
      await failure(port.channels.respell(await read(), "3m0s"), "FORBIDDEN_BY_POLICY");
    });

    it("lists the releases of one module", async () => {
      const labels = { module: "echo", source: SOURCE };
      const policy = { "modules.deckhouse.io/update-policy": "team" };
      const message = 'Waiting for manual approval (annotation modules.deckhouse.io/approved="true" required)';
      await cluster.admin.release(
        "echo-v1.2.3",
        { ...labels, ...policy },
        { moduleName: "echo", version: "v1.2.3" },
        { phase: "Pending", message },
      );
      await cluster.admin.release("echo-v1.2.4", labels, { moduleName: "echo", version: "v1.2.4", applyAfter: "2026-12-01T00:00:00Z" });
      await cluster.admin.release("echo-two-v1.0.0", { ...labels, module: "echo-two" }, { moduleName: "echo-two", version: "v1.0.0" });
      const createdAt = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      const seen = (await port.channels.releases("echo")).toSorted((a, b) => (a.name < b.name ? -1 : 1));
      expect(seen).toEqual([
        { name: "echo-v1.2.3", version: "v1.2.3", createdAt, phase: "Pending", message, policy: "team", applyAfter: null },
        { name: "echo-v1.2.4", version: "v1.2.4", createdAt, phase: "", message: "", policy: null, applyAfter: "2026-12-01T00:00:00Z" },
      ]);
      expect(await port.channels.releases("nothing")).toEqual([]);
      expect(await port.channels.releases("n".repeat(64))).toEqual([]);
    });

    it("says FORBIDDEN without the rights for it", async () => {
      await cluster.admin.source({ registry, scanInterval: "3m" });
      const base = await cluster.openBase();
      await failure(base.channels.source(SOURCE), "FORBIDDEN");
      await failure(base.channels.respell(await read(), "3m0s"), "FORBIDDEN");
      await failure(base.channels.releases("echo"), "FORBIDDEN");
      base.close();
    });
  });
}

/** Tries until a later time is told. */
async function untilLater(first: string | null, next: (n: number) => Promise<string | null>): Promise<string> {
  for (let n = 0; n < 200; n++) {
    const time = await next(n);
    if (time !== null && time !== first) return time;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it stays ${first}`);
}
