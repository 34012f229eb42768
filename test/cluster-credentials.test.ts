import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import type { KubernetesConfig } from "../src/config.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { createSecretReader } from "../src/secrets.ts";
import { failure } from "./contracts/cluster.ts";

describe("cluster: credentials", () => {
  let api: KubernetesApi;
  let folder: string;
  beforeAll(async () => {
    api = await startKubernetesApi({ token: "admin-secret" });
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });
    folder = await mkdtemp(join(tmpdir(), "relay-kubeconfig-"));
    await writeFile(join(folder, "config"), api.kubeconfig());
    await writeFile(join(folder, "broken"), 'users:\n- user: {token: "admin-secret"\n  : [');
  });
  afterAll(async () => {
    await api.close();
    await rm(folder, { recursive: true });
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.useRealTimers();
  });

  const open = (kubernetes: KubernetesConfig, secret: () => Promise<string> = async () => api.kubeconfig()) =>
    openKubernetes({ cluster: "dev", kubernetes, readSecret: secret });
  const reads = async (kubernetes: KubernetesConfig) => {
    const overrides = await open(kubernetes);
    expect((await overrides.get("echo"))?.imageTag).toBe("main");
    expect(overrides.cluster).toBe("dev");
    overrides.close();
  };

  it("takes a kubeconfig by path, with and without a context", async () => {
    await reads({ kind: "kubeconfig", kubeconfig: { kind: "path", path: join(folder, "config") }, context: null });
    await reads({ kind: "kubeconfig", kubeconfig: { kind: "path", path: join(folder, "config") }, context: "sandbox" });
  });

  it("takes a kubeconfig out of a secret", async () => {
    await reads({ kind: "kubeconfig", kubeconfig: { kind: "env", name: "KUBE" }, context: "sandbox" });
  });

  it("hears the token of a kubeconfig some times an hour, so that its end is seen to come", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    vi.stubEnv("KUBECONFIG", join(folder, "config"));
    for (const kubeconfig of [{ kind: "path", path: join(folder, "config") }, { kind: "env", name: "KUBE" }, null] as const) {
      const onToken = vi.fn(async () => {});
      const kubernetes = { kind: "kubeconfig", kubeconfig, context: null } as const;
      const overrides = await openKubernetes({ cluster: "dev", kubernetes, readSecret: async () => api.kubeconfig(), onToken });
      await overrides.get("echo");
      await overrides.get("echo");
      expect(onToken).toHaveBeenCalledTimes(1);
      vi.setSystemTime(Date.now() + 60_000);
      await overrides.get("echo");
      expect(onToken).toHaveBeenCalledTimes(2);
      overrides.close();
    }
  });

  it("takes one's own kubeconfig", async () => {
    vi.stubEnv("KUBECONFIG", join(folder, "config"));
    await reads({ kind: "kubeconfig", kubeconfig: null, context: null });
  });

  it("names the contexts that there are", async () => {
    vi.stubEnv("KUBECONFIG", join(folder, "config"));
    const error = await failure(open({ kind: "kubeconfig", kubeconfig: null, context: "stage" }), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toBe('no context "stage" in the kubeconfig; it has: sandbox');
  });

  it("says which file is missing", async () => {
    const path = join(folder, "none");
    const error = await failure(open({ kind: "kubeconfig", kubeconfig: { kind: "path", path }, context: null }), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toBe(`the kubeconfig (${path}): ENOENT`);
  });

  it("quotes nothing of a broken kubeconfig", async () => {
    const path = join(folder, "broken");
    const error = await failure(open({ kind: "kubeconfig", kubeconfig: { kind: "path", path }, context: null }), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toBe(`the kubeconfig (${path}): not readable`);
    expect(error.cause).toBeUndefined();
  });

  it("quotes nothing of what a credential plugin prints", async () => {
    const plugin = join(folder, "plugin.sh");
    await writeFile(plugin, "#!/bin/sh\necho admin-secret\n", { mode: 0o755 });
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: plugin, interactiveMode: "Never" };
    const kubeconfig = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "dev", cluster: { server: "https://127.0.0.1:1" } }],
      users: [{ name: "ci", user: { exec } }],
      contexts: [{ name: "dev", context: { cluster: "dev", user: "ci" } }],
      "current-context": "dev",
    };
    const overrides = await open({ kind: "kubeconfig", kubeconfig: { kind: "env", name: "K" }, context: null }, async () =>
      JSON.stringify(kubeconfig),
    );
    const { message } = await failure(overrides.get("echo"), "CLUSTER_UNAUTHORIZED");
    expect(message).toBe("the credential cannot be used: not readable");
    overrides.close();
  });

  it("says that a secret cannot be read", async () => {
    const secret = () => Promise.reject(new Error("admin-secret"));
    const kubernetes: KubernetesConfig = { kind: "server", server: api.url, ca: null, token: { kind: "env", name: "T" } };
    const error = await failure(open(kubernetes, secret), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toBe("the cluster's token or CA (env:T): not readable");
  });

  it("names the reference that the secret reader could not read", async () => {
    const read = createSecretReader({ env: {} });
    const kubernetes: KubernetesConfig = { kind: "server", server: api.url, ca: null, token: { kind: "env", name: "T" } };
    const error = await failure(
      open(kubernetes, () => read({ kind: "env", name: "T" })),
      "CLUSTER_UNAUTHORIZED",
    );
    expect(error.message).toBe("the cluster's token or CA (env:T): the secret env:T is not set");
  });

  it("says that there is no kubeconfig at all", async () => {
    vi.stubEnv("KUBECONFIG", "");
    vi.stubEnv("HOME", folder);
    const error = await failure(open({ kind: "kubeconfig", kubeconfig: null, context: null }), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toBe("the kubeconfig: none in KUBECONFIG nor in ~/.kube/config");
  });

  it("says that this is no pod", async () => {
    const error = await failure(open({ kind: "inCluster" }), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toBe("the service account of this pod: no address of an API server");
  });

  it("takes the service account's files where it is a pod", async () => {
    vi.stubEnv("KUBERNETES_SERVICE_HOST", "127.0.0.1");
    vi.stubEnv("KUBERNETES_SERVICE_PORT", String(api.port));
    const overrides = await open({ kind: "inCluster" });
    const error = await failure(overrides.get("echo"), "CLUSTER_UNAUTHORIZED");
    expect(error.message).toContain("/var/run/secrets/kubernetes.io/serviceaccount/");
    overrides.close();
  });
});
