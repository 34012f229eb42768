/** Scan intervals as an administrator sees and sets them, with what the relay notes of them. */
import { CustomObjectsApi, PatchStrategy, setHeaderOptions } from "@kubernetes/client-node";
import * as z from "zod";
import { MARK } from "../../src/adoption.ts";
import { nudgeAnnotations } from "../../src/nudge.ts";
import type { Cluster } from "./cluster.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const KIND = { group: "deckhouse.io", version: "v1alpha2", plural: "modulepulloverrides" };
const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
const seen = z.object({
  metadata: z.object({ name: z.string(), annotations: z.record(z.string(), z.string()).default({}) }),
  spec: z.object({ scanInterval: z.string() }),
});

export interface Interval {
  readonly interval: string;
  /** null: none. */
  readonly mark: unknown;
}

function shown(override: unknown): Interval {
  const { metadata, spec } = seen.parse(override);
  const text = metadata.annotations[MARK];
  return { interval: spec.scanInterval, mark: text === undefined ? null : JSON.parse(text) };
}

export function adminOf({ kube }: Cluster) {
  const api = kube.config(kube.adminToken).makeApiClient(CustomObjectsApi);
  return {
    patch: async (name: string, body: object) => void (await api.patchClusterCustomObject({ ...KIND, name, body }, MERGE)),
    /** As a registry's push and Deckhouse after it leave an override. */
    async pushed(name: string) {
      const at = new Date(Date.now() - 3_600_000);
      const push = {
        key: "aaaaaaaaaaaa",
        tag: "main",
        digest: DIGEST,
        index: false,
        webhook: "registry",
        source: null,
        pushedAt: null,
        receivedAt: at.toISOString(),
      };
      const body = { metadata: { annotations: nudgeAnnotations(push, 0, null, at) }, spec: { scanInterval: "15s" } };
      await api.patchClusterCustomObject({ ...KIND, name, body }, MERGE);
      const status = { message: "Ready", imageDigest: DIGEST, updatedAt: "2026-01-02T03:04:05Z" };
      await api.patchClusterCustomObjectStatus({ ...KIND, name, body: { status } }, MERGE);
    },
    /** `kubectl apply --server-side` */
    apply: async (name: string, spec: object, fieldManager: string) => {
      const body = { apiVersion: "deckhouse.io/v1alpha2", kind: "ModulePullOverride", metadata: { name }, spec };
      const options = setHeaderOptions("Content-Type", PatchStrategy.ServerSideApply);
      await api.patchClusterCustomObject({ ...KIND, name, body, fieldManager, force: true }, options);
    },
    read: async (name: string) => shown(await api.getClusterCustomObject({ ...KIND, name })),
    /** All of them as of one moment, by their names. */
    async all(): Promise<Record<string, Interval>> {
      const { items } = z.object({ items: z.array(seen) }).parse(await api.listClusterCustomObject(KIND));
      return Object.fromEntries(items.map((each) => [each.metadata.name, shown(each)]));
    },
  };
}
