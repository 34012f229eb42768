import { Agent, request as httpsRequest } from "node:https";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { text as readText } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as z from "zod";
import { type KubernetesApi, startKubernetesApi, type StoreEvent } from "../src/sandbox/kubernetes-api.ts";
import { waited } from "./support/wait.ts";

const MPO = "/apis/deckhouse.io/v1alpha2/modulepulloverrides";
const MERGE = "application/merge-patch+json";
const JSON_PATCH = "application/json-patch+json";
const TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const json = z.record(z.string(), z.any());
type Json = z.infer<typeof json>;

let api: KubernetesApi;
let agent: Agent;
beforeEach(async () => {
  api = await startKubernetesApi({ token: "admin" });
  agent = new Agent({ ca: api.ca, keepAlive: true });
});
afterEach(async () => {
  agent.destroy();
  await api.close();
});

interface Sent {
  readonly token?: string;
  readonly type?: string;
  readonly accept?: string;
}
function open(
  method: string,
  path: string,
  body: unknown,
  { token = "admin", type = "application/json", accept }: Sent,
): Promise<IncomingMessage> {
  const data = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const headers = { authorization: `Bearer ${token}`, ...(data !== undefined && { "content-type": type }), ...(accept && { accept }) };
  return new Promise((resolve, reject) => {
    const request = httpsRequest(new URL(path, api.url), { method, agent, headers }, resolve);
    request.on("error", reject).end(data);
  });
}
async function send(method: string, path: string, body?: unknown, sent: Sent = {}) {
  const response = await open(method, path, body, sent);
  const text = await readText(response);
  const headers: IncomingHttpHeaders = response.headers;
  const parsed = headers["content-type"] === "application/json" ? json.parse(JSON.parse(text)) : {};
  return { status: response.statusCode, headers, text, json: parsed };
}
/** The lines of a watch; `ended` once the connection is over. */
async function watch(query: string, sent: Sent = {}) {
  const response = await open("GET", `${MPO}?watch=1${query}`, undefined, sent);
  const events: Json[] = [];
  const seen = { events, ended: false, cut: false };
  let rest = "";
  response
    .setEncoding("utf8")
    .on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) events.push(json.parse(JSON.parse(line)));
    })
    .on("error", () => {})
    .on("close", () => {
      seen.cut = rest !== "";
      seen.ended = true;
    });
  return seen;
}
const override = (name: string, spec: Record<string, unknown> = { imageTag: "main" }, metadata: Record<string, unknown> = {}) => ({
  apiVersion: "deckhouse.io/v1alpha2",
  kind: "ModulePullOverride",
  metadata: { name, ...metadata },
  spec,
});
const create = (name: string, spec?: Record<string, unknown>) => send("POST", MPO, override(name, spec));
const patch = (name: string, body: unknown, type = MERGE) => send("PATCH", `${MPO}/${name}`, body, { type });

describe("kubernetes API stand-in: discovery", () => {
  it("names groups, versions and resources", async () => {
    expect((await send("GET", "/apis")).json["groups"][0].versions.map((one: { version: string }) => one.version)).toEqual([
      "v1alpha2",
      "v1alpha1",
    ]);
    const names = async (version: string) =>
      (await send("GET", `/apis/deckhouse.io/${version}`)).json["resources"].map((one: { name: string }) => one.name);
    expect(await names("v1alpha2")).toEqual(["modulepulloverrides", "modulepulloverrides/status"]);
    expect(await names("v1alpha1")).toContain("modulesources");
    api.setServed(["v1alpha2"]);
    expect(await names("v1alpha1")).not.toContain("modulepulloverrides");
  });

  it("answers a version that is not served with Go's plain 404", async () => {
    const { status, headers, text } = await send("GET", MPO.replace("v1alpha2", "v1"));
    expect([status, headers["content-type"], text]).toEqual([404, "text/plain; charset=utf-8", "404 page not found\n"]);
    api.setServed(["v1alpha1"]);
    expect((await send("GET", MPO)).headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect((await send("GET", "/apis/deckhouse.io/v1alpha2")).status).toBe(404);
  });

  it("writes a kubeconfig that verifies the certificate", () => {
    const config = json.parse(JSON.parse(api.kubeconfig("t")));
    expect(config["clusters"][0].cluster).toEqual({
      server: api.url,
      "certificate-authority-data": Buffer.from(api.ca).toString("base64"),
    });
    expect(config["users"][0].user).toEqual({ token: "t" });
  });
});

describe("kubernetes API stand-in: objects", () => {
  it("creates with defaults, gets, lists and deletes", async () => {
    const made = await create("echo");
    expect(made.status).toBe(201);
    expect(made.json).toMatchObject({
      spec: { imageTag: "main", scanInterval: "15s" },
      metadata: { generation: 1, uid: expect.any(String) },
    });
    expect((await send("GET", `${MPO}/echo`)).json).toEqual(made.json);
    const list = (await send("GET", MPO)).json;
    expect(list).toMatchObject({
      kind: "ModulePullOverrideList",
      items: [made.json],
      metadata: { resourceVersion: made.json["metadata"].resourceVersion },
    });
    expect((await send("GET", `${MPO}?fieldSelector=metadata.name%3Dnone`)).json["items"]).toEqual([]);
    expect((await send("DELETE", `${MPO}/echo`)).json).toMatchObject({ status: "Success", details: { name: "echo" } });
    expect((await send("GET", `${MPO}/echo`)).json).toMatchObject({
      reason: "NotFound",
      details: { name: "echo", kind: "modulepulloverrides" },
    });
    expect((await send("DELETE", `${MPO}/echo`)).status).toBe(404);
  });

  it("moves the generation with spec alone, and nothing when nothing changes", async () => {
    const first = (await create("echo")).json["metadata"];
    const annotated = (await patch("echo", { metadata: { annotations: { a: "1" } } })).json["metadata"];
    expect(annotated.generation).toBe(1);
    expect(Number(annotated.resourceVersion)).toBeGreaterThan(Number(first.resourceVersion));
    expect((await patch("echo", { metadata: { annotations: { a: "1" } } })).json["metadata"]).toEqual(annotated);
    expect((await patch("echo", { spec: { imageTag: "next" } })).json["metadata"].generation).toBe(2);
    expect(
      (await patch("echo", { metadata: { uid: "mine", generation: 9, creationTimestamp: "2000-01-01T00:00:00Z" } })).json["metadata"],
    ).toMatchObject({
      uid: first.uid,
      generation: 2,
      creationTimestamp: first.creationTimestamp,
    });
  });

  it("keeps status and the rest apart", async () => {
    await create("echo");
    expect((await patch("echo", { status: { message: "no" } })).json["status"]).toBeUndefined();
    const answer = await send("PATCH", `${MPO}/echo/status`, { status: { message: "Ready" }, spec: { imageTag: "no" } }, { type: MERGE });
    expect(answer.json).toMatchObject({ status: { message: "Ready" }, spec: { imageTag: "main" }, metadata: { generation: 1 } });
  });

  it("takes JSON patches and replacements", async () => {
    const { metadata } = (await create("echo")).json;
    const patched = await patch(
      "echo",
      [
        { op: "test", path: "/spec/imageTag", value: "main" },
        { op: "add", path: "/metadata/annotations", value: { "a/b": "1" } },
        { op: "replace", path: "/metadata/annotations/a~1b", value: "2" },
      ],
      JSON_PATCH,
    );
    expect(patched.json["metadata"].annotations).toEqual({ "a/b": "2" });
    expect((await patch("echo", [{ op: "remove", path: "/metadata/annotations/none" }], JSON_PATCH)).status).toBe(422);
    expect((await patch("echo", { spec: {} }, JSON_PATCH)).status).toBe(400);
    expect(
      (await send("PUT", `${MPO}/echo`, override("echo", { imageTag: "put" }, { resourceVersion: metadata.resourceVersion }))).status,
    ).toBe(409);
    const { resourceVersion } = patched.json["metadata"];
    const replaced = await send("PUT", `${MPO}/echo`, override("echo", { imageTag: "put" }, { resourceVersion }));
    expect(replaced.json).toMatchObject({ spec: { imageTag: "put" }, metadata: { generation: 2 } });
    expect(replaced.json["metadata"].annotations).toBeUndefined();
  });

  it("has no spec.source once v1alpha2 is stored", async () => {
    const old = { ...override("old", { imageTag: "main", source: "test" }), apiVersion: "deckhouse.io/v1alpha1" };
    api.setServed(["v1alpha1"]);
    expect((await send("POST", MPO.replace("2", "1"), old)).json["spec"].source).toBe("test");
    api.setServed(["v1alpha1", "v1alpha2"]);
    expect((await send("POST", MPO.replace("2", "1"), { ...old, metadata: { name: "new" } })).json["spec"].source).toBeUndefined();
    const answer = await send("GET", `${MPO.replace("2", "1")}/new`);
    expect(answer.json["apiVersion"]).toBe("deckhouse.io/v1alpha1");
    expect(answer.headers["warning"]).toContain("deprecated");
  });

  it("renders Tables for kubectl get", async () => {
    await create("echo");
    api.store.patchStatus("modulepulloverrides", "echo", { message: "Ready" });
    const table = (await send("GET", MPO, undefined, { accept: TABLE })).json;
    expect(table["kind"]).toBe("Table");
    expect(table["columnDefinitions"].map((column: { name: string }) => column.name)).toEqual([
      "Name",
      "Updated",
      "Message",
      "Rollback",
      "Tag",
      "Digest",
    ]);
    expect(table["rows"][0].cells).toEqual(["echo", null, "Ready", false, "main", null]);
  });
});

describe("kubernetes API stand-in: refusals", () => {
  beforeEach(async () => void (await create("echo")));
  it.each<[string, unknown, string, number, string]>([
    ["strategic merge", { spec: {} }, "application/strategic-merge-patch+json", 415, "UnsupportedMediaType"],
    ["application/json", { spec: {} }, "application/json", 415, "UnsupportedMediaType"],
    ["no JSON", '{"metadata":', MERGE, 400, "BadRequest"],
    ["an old resourceVersion", { metadata: { resourceVersion: "1" } }, MERGE, 409, "Conflict"],
    ["a number as tag", { spec: { imageTag: 7 } }, MERGE, 422, "Invalid"],
    ["no tag", { spec: { imageTag: null } }, MERGE, 422, "Invalid"],
    ["a bad scan interval", { spec: { scanInterval: "5 min" } }, MERGE, 422, "Invalid"],
    ["a number as annotation", { metadata: { annotations: { a: 1 } } }, MERGE, 422, "Invalid"],
    ["a bad annotation key", { metadata: { annotations: { "a/b/c": "1" } } }, MERGE, 422, "Invalid"],
    ["a bad label", { metadata: { labels: { a: "x y" } } }, MERGE, 422, "Invalid"],
    ["the heritage label", { metadata: { labels: { heritage: "deckhouse" } } }, MERGE, 403, "Forbidden"],
  ])("a patch with %s", async (_what, body, type, code, reason) => {
    const before = (await send("GET", `${MPO}/echo`)).json;
    const answer = await patch("echo", body, type);
    expect(answer.status).toBe(code);
    expect(answer.json).toMatchObject({ kind: "Status", status: "Failure", reason, code });
    expect((await send("GET", `${MPO}/echo`)).json).toEqual(before);
  });

  it("refuses a second one of that name, a nameless one and a foreign one", async () => {
    expect((await create("echo")).json["reason"]).toBe("AlreadyExists");
    expect((await create("No Name")).json["reason"]).toBe("Invalid");
    expect((await send("POST", MPO, { ...override("x"), kind: "Pod" })).json["reason"]).toBe("BadRequest");
  });

  it("asks for a token, and lets each user do only what was granted", async () => {
    expect((await send("GET", MPO, undefined, { token: "wrong" })).json).toMatchObject({ code: 401, reason: "Unauthorized" });
    const token = api.grant("relay", ["get", "patch"]);
    expect((await send("GET", `${MPO}/echo`, undefined, { token })).status).toBe(200);
    const list = await send("GET", MPO, undefined, { token });
    expect(list.json["message"]).toBe(
      'modulepulloverrides.deckhouse.io is forbidden: User "relay" cannot list resource "modulepulloverrides" in API group "deckhouse.io" at the cluster scope',
    );
    for (const [method, path] of [
      ["GET", `${MPO}?watch=1`],
      ["POST", MPO],
      ["DELETE", `${MPO}/echo`],
      ["PATCH", `${MPO}/echo/status`],
    ] as const) {
      expect((await send(method, path, ["GET", "DELETE"].includes(method) ? undefined : {}, { token, type: MERGE })).status).toBe(403);
    }
    expect(api.grant("relay", ["list"])).toBe(token);
    expect((await send("GET", MPO, undefined, { token })).status).toBe(200);
    expect((await send("GET", `${MPO}/echo`, undefined, { token })).status).toBe(403);
  });

  it.each<[string, string, RegExp]>([
    [
      "what is labelled heritage",
      "guarded",
      /'label-objects\.deckhouse\.io' with binding 'heritage-label-objects\.deckhouse\.io' denied request/,
    ],
    ["what is named d8ms-…", "d8ms-echo", /'d8ms-prefix\.deckhouse\.io' .* denied request/],
    ["what is named d8a-…", "d8a-echo", /'d8a-prefix\.deckhouse\.io' .* denied request/],
  ])(
    "keeps everybody but the system from %s, but for its status (modules/002-deckhouse/templates/validation.yaml)",
    async (_, name, words) => {
      const isLabelled = name === "guarded";
      api.store.create("modulepulloverrides", {
        metadata: { name, ...(isLabelled && { labels: { heritage: "deckhouse" } }) },
        spec: { imageTag: "main" },
      });
      const change = { metadata: { annotations: { a: "1" } } };
      expect((await patch(name, change)).json).toMatchObject({ code: 403, message: expect.stringMatching(words) });
      expect((await send("DELETE", `${MPO}/${name}`)).json).toMatchObject({ code: 403, message: expect.stringMatching(words) });
      expect((await send("PATCH", `${MPO}/${name}/status`, { status: { message: "x" } }, { type: MERGE })).status).toBe(200);
      expect((await send("PATCH", `${MPO}/${name}`, change, { type: MERGE, token: api.systemToken })).status).toBe(200);
      const free = { metadata: { labels: { "maintenance.deckhouse.io/no-resource-reconciliation": "" } } };
      api.store.patch("modulepulloverrides", name, free);
      expect((await patch(name, { metadata: { annotations: { a: "2" } } })).status).toBe(isLabelled ? 200 : 403);
    },
  );

  it("lets a built-in ModuleSource's scanInterval be changed, by its text, and nothing else (#19277)", async () => {
    const source = "/apis/deckhouse.io/v1alpha1/modulesources/deckhouse";
    const registry = { repo: "registry.example.com/modules", scheme: "HTTPS" };
    api.store.create("modulesources", {
      metadata: { name: "deckhouse", labels: { heritage: "deckhouse" } },
      spec: { registry, scanInterval: "3m" },
    });
    const change = async (body: unknown) => (await send("PATCH", source, body, { type: MERGE })).status;
    expect(await change({ metadata: { annotations: { a: "1" } } })).toBe(403);
    expect(await change({ spec: { scanInterval: "3m0s", registry: { repo: "elsewhere.example.com" } } })).toBe(403);
    expect(await change({ spec: { scanInterval: "3m0s" } })).toBe(200);
  });

  it("keeps what has finalizers until they are gone: https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/", async () => {
    await patch("echo", { metadata: { finalizers: ["example.com/mine"] } });
    const { generation } = (await send("GET", `${MPO}/echo`)).json["metadata"];
    const deleted = await send("DELETE", `${MPO}/echo`);
    expect(deleted.json).toMatchObject({ kind: "ModulePullOverride", metadata: { generation: generation + 1 } });
    expect((await send("DELETE", `${MPO}/echo`)).json).toEqual(deleted.json);
    expect((await patch("echo", { metadata: { annotations: { a: "1" } } })).json["metadata"].deletionTimestamp).toMatch(/Z$/);
    const gone = await patch("echo", { metadata: { finalizers: null } });
    expect(gone.status).toBe(200);
    expect((await send("GET", `${MPO}/echo`)).status).toBe(404);
  });

  it("throws the same refusals to those inside", () => {
    expect(() => api.store.patch("modulepulloverrides", "none", {})).toThrow(expect.objectContaining({ code: 404, reason: "NotFound" }));
    expect(() => api.store.patchStatus("modulepulloverrides", "echo", {}, { resourceVersion: "1" })).toThrow(
      expect.objectContaining({ code: 409 }),
    );
    expect(() => api.store.create("modulesources", { metadata: { name: "test" }, spec: {} })).toThrow(/spec.registry: Required value/);
  });
});

describe("kubernetes API stand-in: watches", () => {
  const types = (seen: { events: Json[] }) => seen.events.map((event) => `${event["type"]} ${event["object"].metadata.name}`);

  it("replays what there is, then tells each change once", async () => {
    await create("echo");
    const seen = await watch("");
    await create("other");
    await patch("echo", { metadata: { annotations: { a: "1" } } });
    await patch("echo", { metadata: { annotations: { a: "1" } } });
    await send("DELETE", `${MPO}/other`);
    await vi.waitUntil(() => seen.events.length >= 4, waited);
    expect(types(seen)).toEqual(["ADDED echo", "ADDED other", "MODIFIED echo", "DELETED other"]);
  });

  it("goes on from a resourceVersion, and for one name", async () => {
    const { metadata } = (await create("echo")).json;
    await create("other");
    await patch("echo", { spec: { imageTag: "next" } });
    const seen = await watch(`&resourceVersion=${metadata.resourceVersion}&fieldSelector=metadata.name%3Decho`);
    await vi.waitUntil(() => seen.events.length >= 1, waited);
    expect(types(seen)).toEqual(["MODIFIED echo"]);
  });

  it("says 410 for a version that is too old, and ends", async () => {
    const { metadata } = (await create("echo")).json;
    api.faults.expireHistory();
    const seen = await watch(`&resourceVersion=${metadata.resourceVersion}`);
    await vi.waitUntil(() => seen.ended, waited);
    expect(seen.events).toMatchObject([{ type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } }]);
  });

  it("sends a bookmark and ends after timeoutSeconds", async () => {
    await create("echo");
    const seen = await watch("&allowWatchBookmarks=true&timeoutSeconds=1");
    await vi.waitUntil(() => seen.ended, waited);
    expect(seen.events.map((event) => event["type"])).toEqual(["ADDED", "BOOKMARK"]);
    expect(seen.cut).toBe(false);
  });

  it("sends Tables where asked", async () => {
    await create("echo");
    const seen = await watch("", { accept: TABLE });
    await patch("echo", { spec: { imageTag: "next" } });
    await vi.waitUntil(() => seen.events.length >= 2, waited);
    expect(seen.events.map((event) => [event["object"].kind, event["object"].columnDefinitions === null])).toEqual([
      ["Table", false],
      ["Table", true],
    ]);
  });

  it("can be cut in the middle of a line, and ends with its version", async () => {
    const cut = await watch("");
    api.faults.cutWatches();
    await vi.waitUntil(() => cut.ended, waited);
    expect(cut.cut).toBe(true);
    const unserved = await watch("");
    api.setServed(["v1alpha1"]);
    await vi.waitUntil(() => unserved.ended, waited);
    expect(unserved.cut).toBe(false);
  });

  it("tells those inside, with the object before", async () => {
    const seen: StoreEvent[] = [];
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });
    const stop = api.store.watch("modulepulloverrides", (event) => seen.push(event));
    await patch("echo", { metadata: { annotations: { a: "1" } } });
    stop();
    await patch("echo", { metadata: { annotations: { a: "2" } } });
    expect(seen.map(({ type, previous }) => [type, previous?.metadata.annotations])).toEqual([
      ["ADDED", undefined],
      ["MODIFIED", undefined],
    ]);
    expect(seen[1]?.object.metadata.annotations).toEqual({ a: "1" });
  });
});

describe("kubernetes API stand-in: stop and start", () => {
  it("comes back on the same port with what it held", async () => {
    await create("echo");
    const seen = await watch("");
    await api.stop();
    await vi.waitUntil(() => seen.ended, waited);
    await expect(send("GET", MPO)).rejects.toThrow(/ECONNREFUSED|hang up|ECONNRESET/);
    await api.start();
    expect((await send("GET", `${MPO}/echo`)).status).toBe(200);
  });

  it("says that a port is taken", async () => {
    await expect(startKubernetesApi({ port: api.port, token: "x" })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});
