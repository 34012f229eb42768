import { once } from "node:events";
import { IncomingMessage } from "node:http";
import { request } from "node:https";
import { json } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as z from "zod";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import type { Override, Overrides } from "../src/cluster/overrides.ts";
import type { KubernetesConfig } from "../src/config.ts";
import type { ErrorCode } from "../src/outcome.ts";
import { type Fault, type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { type Admin, type ClusterUnderTest, clusterContract, failure, type SeenEvent } from "./contracts/cluster.ts";

const eventList = z.object({ items: z.array(z.object({ type: z.string(), reason: z.string(), message: z.string() })) });
const ADMIN = "admin-token-that-must-not-show";
const SERVER: Extract<KubernetesConfig, { kind: "server" }> = {
  kind: "server",
  server: "",
  ca: { kind: "env", name: "CA" },
  token: { kind: "env", name: "TOKEN" },
};

/** A client with this bearer token; `secrets` can be changed later, as a rotation does. */
function openWith(api: KubernetesApi, secrets: { TOKEN: string; CA?: string }, timeoutMs = 30_000): Promise<Overrides> {
  return openKubernetes({
    cluster: "dev",
    kubernetes: { ...SERVER, server: api.url },
    readSecret: async (ref) => (ref.kind === "env" && ref.name === "TOKEN" ? secrets.TOKEN : (secrets.CA ?? api.ca)),
    timeoutMs,
  });
}

function adminOf({ store }: KubernetesApi): Admin {
  const mpo = "modulepulloverrides";
  return {
    create: async (name, spec, metadata, manager = "kubectl") =>
      void store.create(mpo, { metadata: { name, ...metadata }, spec }, undefined, manager),
    patch: async (name, patch, manager = "kubectl") => void store.patch(mpo, name, patch, manager),
    patchStatus: async (name, status) => void store.patchStatus(mpo, name, status),
    spoil: async (name, spec) => void store.spoil(mpo, name, spec),
    read: async (name) => {
      const {
        uid,
        resourceVersion,
        generation,
        labels = {},
        annotations = {},
      } = (store.get(mpo, name) ?? expect.fail(`no ${name}`)).metadata;
      return { uid, resourceVersion, generation, labels, annotations };
    },
    delete: async (name) => void store.delete(mpo, name),
    watch: async (name) => {
      const events: SeenEvent[] = [];
      const stop = store.watch(mpo, ({ type, object }) => {
        if (object.metadata.name === name && type !== "ADDED") events.push({ type, labels: object.metadata.labels ?? {} });
      });
      return { events, stop };
    },
  };
}

async function setup(): Promise<ClusterUnderTest> {
  const api = await startKubernetesApi({ token: ADMIN });
  const open = (user: string, ...verbs: Parameters<KubernetesApi["grant"]>[1]) => openWith(api, { TOKEN: api.grant(user, verbs) });
  return {
    open: () => open("relay", "get", "list", "patch"),
    openReader: () => open("reader", "get"),
    openStranger: () => openWith(api, { TOKEN: "unknown" }),
    admin: adminOf(api),
    async events(name) {
      const uid = api.store.get("modulepulloverrides", name)?.metadata.uid ?? "none";
      const selector = `involvedObject.kind=ModulePullOverride,involvedObject.name=${name},involvedObject.uid=${uid}`;
      const { port, ca } = api;
      const path = `/api/v1/events?fieldSelector=${encodeURIComponent(selector)}`;
      const asked = request({ host: "127.0.0.1", port, path, ca, headers: { authorization: `Bearer ${ADMIN}` } }).end();
      const [answer] = z.tuple([z.instanceof(IncomingMessage)]).parse(await once(asked, "response"));
      return eventList.parse(await json(answer)).items;
    },
    uid: async () => api.uid,
    serve: async (versions) => api.setServed(versions),
    close: () => api.close(),
  };
}

clusterContract("the sandbox's API", setup);

describe("cluster: faults", () => {
  let api: KubernetesApi;
  let overrides: Overrides;
  let echo: Override;
  beforeEach(async () => {
    api = await startKubernetesApi({ token: ADMIN });
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });
    overrides = await openWith(api, { TOKEN: ADMIN }, 300);
    echo = (await overrides.get("echo")) ?? expect.fail("no echo");
  });
  afterEach(async () => {
    overrides.close();
    await api.close();
  });

  it.each<[Fault, ErrorCode, number | null]>([
    ["401", "CLUSTER_UNAUTHORIZED", null],
    ["403-rbac", "FORBIDDEN", null],
    ["403-policy", "FORBIDDEN_BY_POLICY", null],
    ["403-webhook", "FORBIDDEN_BY_POLICY", null],
    ["404-plain", "API_VERSION_GONE", null],
    ["409", "CONFLICT", null],
    ["429", "CLUSTER_BUSY", 7],
    ["429-plain", "CLUSTER_BUSY", 7],
    ["500", "CLUSTER_ERROR", null],
    ["503", "CLUSTER_ERROR", 7],
    ["hang", "CLUSTER_UNREACHABLE", null],
    ["reset", "CLUSTER_UNREACHABLE", null],
    ["html", "CLUSTER_ERROR", null],
  ])("%s becomes %s, by get and by patch, and gives nothing away", async (fault, code, retryAfterSeconds) => {
    api.faults.next(Infinity, fault, { retryAfterSeconds: 7 });
    for (const request of [() => overrides.get("echo"), () => overrides.annotate(echo, { renew: "k" })]) {
      const error = await failure(request(), code);
      expect(error).toMatchObject({ retryAfterSeconds });
      expect(error.cause).toBeUndefined();
      expect(error.message).not.toMatch(/bearer|authorization|content-type|\n/i);
      expect(`${error.message} ${error.stack}`).not.toContain(ADMIN);
    }
    api.faults.clear();
    expect(await overrides.get("echo")).toEqual(echo);
  });

  it("tells the API server's own words", async () => {
    api.faults.next(1, "403-policy");
    expect((await failure(overrides.get("echo"), "FORBIDDEN_BY_POLICY")).message).toMatch(/^403 modulepulloverrides.* denied request: /);
    api.faults.next(1, "429-plain");
    expect((await failure(overrides.get("echo"), "CLUSTER_BUSY")).message).toBe("429 Too many requests, please try again later.");
  });

  it("keeps one connection for many requests", async () => {
    const before = api.counters();
    for (let i = 0; i < 20; i++) await overrides.get("echo");
    await overrides.annotate(echo, { renew: "k" });
    const after = api.counters();
    expect(after.connections - before.connections).toBe(0);
    expect(after.requests - before.requests).toBe(21);
  });

  it("says CLUSTER_UNREACHABLE while the server is down, and works when it is back", async () => {
    await api.stop();
    expect((await failure(overrides.probe(), "CLUSTER_UNREACHABLE")).message).toContain("ECONNREFUSED");
    await failure(overrides.get("echo"), "CLUSTER_UNREACHABLE");
    await api.start();
    await overrides.probe();
    expect(await overrides.get("echo")).toEqual(echo);
  });

  it("tries once more when the connection was cut", async () => {
    api.faults.next(1, "reset");
    expect(await overrides.get("echo")).toEqual(echo);
    api.faults.next(1, "reset");
    expect((await overrides.annotate(echo, { renew: "k" }))?.annotations).toEqual({ renew: "k" });
  });

  it("does not trust a certificate of another CA", async () => {
    const other = await startKubernetesApi({ token: ADMIN });
    const client = await openWith(api, { TOKEN: ADMIN, CA: other.ca });
    await failure(client.get("echo"), "CLUSTER_UNREACHABLE");
    client.close();
    await other.close();
  });

  it("takes a rotated token after a 401, without an error", async () => {
    const secrets = { TOKEN: "the-old-one" };
    const client = await openWith(api, secrets);
    await failure(client.get("echo"), "CLUSTER_UNAUTHORIZED");
    secrets.TOKEN = ADMIN;
    expect(await client.get("echo")).toEqual(echo);
    client.close();
  });

  it("reads the token again after a minute", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const readSecret = vi.fn(async (ref: { kind: string; name?: string }) => (ref.name === "TOKEN" ? `${ADMIN}\n` : api.ca));
      const client = await openKubernetes({ cluster: "dev", kubernetes: { ...SERVER, server: api.url }, readSecret });
      await client.get("echo");
      await client.get("echo");
      expect(readSecret).toHaveBeenCalledTimes(2); // token and CA
      vi.advanceTimersByTime(60_000);
      await client.get("echo");
      expect(readSecret).toHaveBeenCalledTimes(4);
      client.close();
    } finally {
      vi.useRealTimers();
    }
  });

  it("does not take an upgrade's other kinds for overrides", async () => {
    api.setServed(["v1alpha1"]);
    const client = await openWith(api, { TOKEN: ADMIN });
    api.setServed([]);
    await failure(client.probe(), "API_VERSION_GONE");
    api.setServed(["v1alpha2"]);
    expect((await client.get("echo"))?.apiVersion).toBe("v1alpha2");
    client.close();
  });

  it("finds a version that is served in addition after a while", async () => {
    api.setServed(["v1alpha1"]);
    const client = await openWith(api, { TOKEN: ADMIN });
    expect((await client.get("echo"))?.apiVersion).toBe("v1alpha1");
    api.setServed(["v1alpha1", "v1alpha2"]);
    expect((await client.get("echo"))?.apiVersion).toBe("v1alpha1");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 600_000 });
    try {
      expect((await client.get("echo"))?.apiVersion).toBe("v1alpha2");
    } finally {
      vi.useRealTimers();
    }
    client.close();
  });
});

describe("cluster: the label pulse", () => {
  let api: KubernetesApi;
  let overrides: Overrides;
  const label = () => api.store.get("modulepulloverrides", "echo")?.metadata.labels?.["renew"];
  beforeEach(async () => {
    api = await startKubernetesApi({ token: ADMIN, served: ["v1alpha1"] });
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main", source: "test" } });
    overrides = await openWith(api, { TOKEN: ADMIN }, 300);
  });
  afterEach(async () => {
    overrides.close();
    await api.close();
  });
  /** Answers the n-th patch from now on, and those after it, with an error. */
  const failPatchesFrom = (count: number) => {
    const stop = api.store.watch("modulepulloverrides", ({ type }) => {
      if (type === "MODIFIED") api.faults.next(count, "500", { method: "PATCH" });
      if (type === "MODIFIED") stop();
    });
  };
  const read = async () => (await overrides.get("echo")) ?? expect.fail("no echo");

  it("tries once more when the label does not go away", async () => {
    const seen = await read();
    failPatchesFrom(1);
    expect((await overrides.annotate(seen, { renew: "key1" }))?.annotations).toEqual({ renew: "key1" });
    expect(label()).toBeUndefined();
  });

  it("throws when it still does not, and the next look takes it away", async () => {
    const seen = await read();
    failPatchesFrom(2);
    await failure(overrides.annotate(seen, { renew: "key1" }), "CLUSTER_ERROR");
    expect(label()).toBe("key1");
    expect((await read()).annotations).toEqual({ renew: "key1" });
    expect(label()).toBeUndefined();
  });

  it("throws from that look too when the label cannot be taken away", async () => {
    api.store.patch("modulepulloverrides", "echo", { metadata: { labels: { renew: "k" }, annotations: { renew: "k" } } });
    api.faults.next(2, "500", { method: "PATCH" });
    await failure(overrides.get("echo"), "CLUSTER_ERROR");
    expect((await read()).annotations).toEqual({ renew: "k" });
    expect(label()).toBeUndefined();
  });

  it("leaves a label that somebody else set", async () => {
    api.store.patch("modulepulloverrides", "echo", { metadata: { labels: { renew: "by-hand" }, annotations: { renew: "k" } } });
    await read();
    expect(label()).toBe("by-hand");
  });

  it("does not undo a write of Deckhouse between the two patches", async () => {
    const seen = await read();
    const stop = api.store.watch("modulepulloverrides", ({ type, object }) => {
      if (type !== "MODIFIED" || object.metadata.labels?.["renew"] === undefined) return;
      stop();
      api.store.patchStatus("modulepulloverrides", "echo", { message: "", imageDigest: `sha256:${"b".repeat(64)}` });
    });
    const patched = await overrides.annotate(seen, { renew: "key1" });
    expect(patched?.status.imageDigest).toBe(`sha256:${"b".repeat(64)}`);
    expect(label()).toBeUndefined();
  });
});
