import { openKubernetes } from "../src/cluster/kubernetes.ts";
import { startKubernetesApi, type Verb } from "../src/sandbox/kubernetes-api.ts";
import { channelsContract, type ChannelsUnderTest, SOURCE } from "./contracts/channels.ts";
import { expect } from "vitest";

channelsContract("the sandbox's API", async (): Promise<ChannelsUnderTest> => {
  const api = await startKubernetesApi({ token: "admin" });
  const { store } = api;
  const open = (user: string, verbs: readonly Verb[]) => {
    const token = api.grant(user, verbs);
    return openKubernetes({
      cluster: "dev",
      kubernetes: { kind: "server", server: api.url, ca: { kind: "env", name: "CA" }, token: { kind: "env", name: "TOKEN" } },
      readSecret: async (ref) => (ref.kind === "env" && ref.name === "CA" ? api.ca : token),
    });
  };
  const remove = () => {
    if (store.get("modulesources", SOURCE)) store.delete("modulesources", SOURCE);
  };
  return {
    open: () => open("relay", ["get", "list", "patch"]),
    openBase: () => open("nobody", []),
    admin: {
      async source(spec, labels = {}) {
        remove();
        store.create("modulesources", { metadata: { name: SOURCE, labels }, spec: { ...spec } }, undefined, "kubectl");
      },
      read: async () => {
        const { metadata, spec = {}, ...rest } = store.get("modulesources", SOURCE) ?? expect.fail("no source");
        return { ...rest, metadata: { ...metadata }, spec };
      },
      patch: async (spec) => void store.patch("modulesources", SOURCE, { spec }, "kubectl"),
      remove: async () => remove(),
      async release(name, labels, spec, status) {
        store.create("modulereleases", { metadata: { name, labels }, spec: { ...spec } });
        if (status) store.patchStatus("modulereleases", name, { ...status });
      },
    },
    setScannable: async (scannable) => api.setScannable(scannable),
    close: () => api.close(),
  };
});
