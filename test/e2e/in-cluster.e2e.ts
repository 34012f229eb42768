/**
 * infra/cluster by the real kubectl in a real API server, and the relay's own processes with what a pod would have. There is no kubelet and
 * no network plugin here: pods are admitted and not run, network policies are stored and not enforced.
 */
import { CustomObjectsApi, type KubernetesObject, KubernetesObjectApi } from "@kubernetes/client-node";
import { randomBytes } from "node:crypto";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { parse, stringify } from "yaml";
import * as z from "zod";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { createLoad } from "./load.ts";
import { freePort } from "./parts/child.ts";
import { type Kubectl, openKubectl } from "./parts/kubectl.ts";
import { asPod, type Pod } from "./parts/pod.ts";
import { type Line, type RelayProcess, serveRelay, workRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld, type World } from "./world.ts";

const MODULES = ["echo", "other", "third"];
const TUNING = { cooldown: "500ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s"] };
const STRICT = "--validate=strict";
const NAMESPACE = "mpo-relay";
/** Each pod has a network of its own, and here all have one. */
const ADMIN = "127.0.0.1:0";

let world: World;
let kubectl: Kubectl;
/** A copy of infra/cluster as an operator would have it: addresses written in, secrets beside the files that name them. */
let folder: string;
let hubPort: number;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  world = await startWorld({ modules: MODULES, quiet: true, seeded: true });
  stops.push(() => world.stop());
  const opened = await openKubectl(world.cluster.kube);
  stops.push(opened.close);
  kubectl = opened.kubectl;
  folder = join(world.folder, "cluster");
  hubPort = await freePort();
  await cp(join(import.meta.dirname, "../../infra/cluster"), folder, { recursive: true });
  const { hostname, port } = new URL(world.relayUrl);
  await rewrite("serve/relay.yaml", (config) => {
    Object.assign(config, { listen: { host: hostname, port: Number(port) }, admin: ADMIN, tuning: TUNING });
    Object.assign(config.sources?.[0] ?? {}, { repo: world.image("").replace("/:main", ""), name: "test" });
  });
  await rewrite("worker/worker.yaml", (config) => {
    Object.assign(config, { admin: ADMIN, tuning: TUNING });
    Object.assign(config.clusters["stage"] ?? {}, { queue: `hub:https://127.0.0.1:${hubPort}` });
  });
  const { ca, cert, key } = await makeCertificates();
  for (const [file, text] of Object.entries({ "hub.crt": cert, "hub.key": key }))
    await writeFile(join(world.folder, file), text, { mode: 0o600 });
  const secrets = {
    "serve/registry.secret": await readFile(join(world.folder, "webhook.secret"), "utf8"),
    "worker/hub.token": randomBytes(32).toString("hex"),
    "worker/ca.crt": ca,
  };
  for (const [file, text] of Object.entries(secrets)) await writeFile(join(folder, file), text);
}, 120_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

const written = z.looseObject({ sources: z.array(z.looseObject({})).optional(), clusters: z.record(z.string(), z.looseObject({})) });
async function rewrite(file: string, change: (config: z.infer<typeof written>) => void): Promise<void> {
  const config = written.parse(parse(await readFile(join(folder, file), "utf8")));
  change(config);
  await writeFile(join(folder, file), stringify(config));
}

const apply = (overlay: string, ...flags: readonly string[]) => kubectl("apply", "-k", join(folder, overlay), STRICT, ...flags);
const named = z.object({ metadata: z.object({ name: z.string() }) });
const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item) }).transform(({ items }) => items);
const get = async <T extends z.ZodType>(schema: T, ...what: readonly string[]): Promise<z.infer<T>> =>
  schema.parse(JSON.parse(await kubectl("get", "-n", NAMESPACE, "-o", "json", ...what)));

describe("kubectl apply -k", () => {
  test.each(["base", "serve", "worker"])("%s: each field is known to the API server; a second time changes nothing", async (overlay) => {
    await apply(overlay, "--dry-run=server");
    await apply(overlay);
    const again = (await apply(overlay)).trim().split("\n");
    expect(again.length).toBeGreaterThan(6);
    // Kustomize breaks a long secret's base64 into lines and the API server does not: kubectl takes that for a change.
    expect(again.filter((line) => !line.endsWith(" unchanged") && line !== "secret/mpo-relay-worker configured")).toEqual([]);
  });

  test("a misspelt field is found", async () => {
    const wrong = join(world.folder, "misspelt");
    await cp(folder, wrong, { recursive: true });
    const file = join(wrong, "serve/deployment.yaml");
    const text = await readFile(file, "utf8");
    await writeFile(file, text.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"));
    const applying = kubectl("apply", "-k", join(wrong, "serve"), STRICT, "--dry-run=server");
    await expect(applying).rejects.toThrow('unknown field "spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem"');
  });

  test("Events stay allowed in the namespace in which those of overrides lie", async () => {
    const role = z.object({ metadata: z.object({ namespace: z.string() }) });
    expect(role.parse(JSON.parse(await kubectl("get", "role", "mpo-relay-events", "-n", "default", "-o", "json")))).toBeDefined();
    expect(await get(listOf(named), "roles")).toEqual([]);
  });
});

const container = z.looseObject({
  args: z.array(z.string()),
  securityContext: z.looseObject({}),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
});
const template = z.looseObject({
  metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
  spec: z.looseObject({ containers: z.tuple([container]), volumes: z.array(z.looseObject({ name: z.string() })) }),
});
const deployment = z.object({ spec: z.object({ template }) });

describe.each(["mpo-relay", "mpo-relay-worker"])("the pods of %s", (name) => {
  /** As the controllers would: there are none here. */
  const create = async (pod: z.infer<typeof template>) => {
    const api = KubernetesObjectApi.makeApiClient(world.cluster.kube.config(world.cluster.kube.adminToken));
    const metadata = { name: `${name}-${randomBytes(4).toString("hex")}`, namespace: NAMESPACE, labels: pod.metadata.labels };
    const object: KubernetesObject & { spec: object } = { apiVersion: "v1", kind: "Pod", metadata, spec: pod.spec };
    const made: unknown = await api.create(object);
    return z.looseObject({ spec: template.shape.spec }).parse(structuredClone(made)).spec;
  };

  test("are admitted under the restricted standard, with a token that ends", async () => {
    const pod = await create((await get(deployment, "deployment", name)).spec.template);
    const token = pod.volumes.find((volume) => volume.name.startsWith("kube-api-access-"));
    expect(token).toMatchObject({
      projected: { sources: expect.arrayContaining([{ serviceAccountToken: { expirationSeconds: 3607, path: "token" } }]) },
    });
    const mounts = pod.containers[0].volumeMounts.map(({ mountPath }) => mountPath);
    expect(mounts).toContain("/var/run/secrets/kubernetes.io/serviceaccount");
  });

  test.each([
    ["its own user", (pod: z.infer<typeof template>) => Object.assign(pod.spec, { securityContext: {} }), "runAsNonRoot != true"],
    [
      "capabilities",
      ({ spec }: z.infer<typeof template>) => Object.assign(spec.containers[0].securityContext, { capabilities: {} }),
      "unrestricted capabilities",
    ],
  ])("are refused with %s: the namespace holds to the standard", async (_what, spoil, why) => {
    const { spec } = await get(deployment, "deployment", name);
    spoil(spec.template);
    await expect(create(spec.template)).rejects.toThrow(why);
  });

  test("are called by nobody but through a port that is meant for it", async () => {
    const policy = z.object({
      spec: z.looseObject({
        podSelector: z.object({ matchLabels: z.record(z.string(), z.string()).default({}) }),
        policyTypes: z.array(z.string()),
        ingress: z.array(z.unknown()).default([]),
      }),
    });
    const { labels } = (await get(deployment, "deployment", name)).spec.template.metadata;
    const theirs = (await get(listOf(policy), "networkpolicies")).filter(({ spec }) =>
      Object.entries(spec.podSelector.matchLabels).every(([label, value]) => labels[label] === value),
    );
    expect(theirs.every(({ spec }) => spec.policyTypes.includes("Ingress"))).toBe(true);
    expect(theirs.flatMap(({ spec }) => spec.ingress)).toEqual(
      name === "mpo-relay" ? [{ ports: [{ port: "http", protocol: "TCP" }] }] : [],
    );
    expect(theirs.length).toBeGreaterThan(0);
  });
});

interface Started {
  readonly relay: RelayProcess;
  readonly pod: Pod;
}

/** The configuration that the overlay put into the cluster, of one mounted in a pod. */
async function configMap(prefix: string, file: string, into: string): Promise<string> {
  const maps = await get(
    listOf(z.object({ metadata: z.object({ name: z.string() }), data: z.record(z.string(), z.string()) })),
    "configmaps",
  );
  const text = maps.find(({ metadata, data }) => metadata.name.startsWith(prefix) && file in data)?.data[file];
  const path = join(into, file);
  await writeFile(path, text ?? "");
  return path;
}
async function secretOf(name: string): Promise<Record<string, string>> {
  const { data } = await get(z.object({ data: z.record(z.string(), z.base64()) }), "secret", name);
  return Object.fromEntries(Object.entries(data).map(([file, value]) => [file, Buffer.from(value, "base64").toString()]));
}
const tokenOfPod = () => world.cluster.kube.serviceAccountToken(NAMESPACE, "mpo-relay");

/** `serve` as the overlay's pod, on a volume of its own. */
async function startServe(name: string, options: { token?: string; uid?: string; sweeps?: boolean } = {}): Promise<Started> {
  const at = join(world.folder, name);
  await mkdir(at);
  const config = await configMap("mpo-relay-", "relay.yaml", at);
  if (options.uid !== undefined)
    await writeFile(config, (await readFile(config, "utf8")).replace("  this:\n", `  this:\n    uid: ${options.uid}\n`));
  if (options.sweeps === true)
    await writeFile(config, (await readFile(config, "utf8")).replace(/^ {4}name: test$/m, "$&\n    registry: { plainHttp: true }"));
  const pod = await asPod({
    folder: at,
    kube: world.cluster.kube,
    token: options.token ?? (await tokenOfPod()),
    secrets: await secretOf("mpo-relay"),
  });
  const relay = await serveRelay({ config, log: join(at, "log"), url: world.relayUrl, under: pod.under });
  onTestFinished(() => relay.stop());
  return { relay, pod };
}

const lineOf = (relay: RelayProcess, wanted: Partial<Line>) =>
  eventually(`a line ${JSON.stringify(wanted)}`, async () => {
    const lines = await relay.lines();
    return lines.find((line) => Object.entries(wanted).every(([key, value]) => line[key] === value)) ?? null;
  });
const stopped = async (relay: RelayProcess) => {
  await relay.stop("SIGTERM");
  expect((await relay.lines()).at(-1)).toMatchObject({ event: "process", outcome: "STOPPED" });
};

describe("serve as a pod", () => {
  test("picks up a push with the service account's own token, and writes nowhere but to its volume", async () => {
    const { relay } = await startServe("serve");
    const digest = await world.crane.push(world.image("echo"));
    await lineOf(relay, { outcome: "PICKED_UP", digest });
    await stopped(relay);
  });

  test("takes a new token when the kubelet writes one, without a restart", async () => {
    const { relay, pod } = await startServe("rotated", { token: "a.token.that-ended" });
    await lineOf(relay, { alarm: "CLUSTER_UNAUTHORIZED" });
    const digest = await world.crane.push(world.image("echo"));
    await lineOf(relay, { outcome: "QUEUED" });
    await pod.setToken(await tokenOfPod());
    await lineOf(relay, { outcome: "PICKED_UP", digest });
    await stopped(relay);
  });
});

const rule = z.object({
  apiGroups: z.array(z.string()),
  resources: z.array(z.string()),
  resourceNames: z.array(z.string()).optional(),
  verbs: z.array(z.string()),
});
const role = z.looseObject({ kind: z.string(), metadata: z.looseObject({ name: z.string() }), rules: z.array(rule) });
const ROLES = [
  ["clusterrole", "mpo-relay"],
  ["role", "mpo-relay-events"],
] as const;
const rolesNow = () =>
  Promise.all(ROLES.map(async (which) => role.parse(JSON.parse(await kubectl("get", ...which, "-n", "default", "-o", "json")))));
const rightsIn = (roles: readonly z.infer<typeof role>[]) =>
  roles.flatMap(({ rules }) =>
    rules.flatMap(({ resources, verbs }) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`))),
  );

describe("each right of the service account", () => {
  /** What is told when it is missing; null: what is told no more. */
  const TOLD: Readonly<Record<string, Partial<Line> | null>> = {
    "get modulepulloverrides": { alarm: "FORBIDDEN" },
    "list modulepulloverrides": { alarm: "FORBIDDEN" },
    "patch modulepulloverrides": { alarm: "FORBIDDEN" },
    "get namespaces": { alarm: "CLUSTER_UNVERIFIED" },
    "create events": { alarm: "EVENTS_UNAVAILABLE" },
    "get modules": null,
  };
  let uid: string;
  beforeAll(async () => {
    ({
      metadata: { uid },
    } = z
      .object({ metadata: z.object({ uid: z.string() }) })
      .parse(JSON.parse(await kubectl("get", "namespace", "kube-system", "-o", "json"))));
    // As Deckhouse from v1.66 on says that a module came up; the stand-in says nothing of it.
    const api = world.cluster.kube.config(world.cluster.kube.adminToken).makeApiClient(CustomObjectsApi);
    const status = { phase: "Ready", conditions: [{ type: "IsReady", status: "True" }] };
    await api.patchClusterCustomObjectStatus({
      group: "deckhouse.io",
      version: "v1alpha1",
      plural: "modules",
      name: "echo",
      body: [{ op: "add", path: "/status", value: status }],
    });
  });

  test("is in this list, and none is beside them", async () => {
    expect(rightsIn(await rolesNow()).toSorted()).toEqual(Object.keys(TOLD).toSorted());
  });

  test("together lead to the end of a push's story, with no alarm", async () => {
    const { relay } = await startServe("all-rights", { uid });
    const digest = await world.crane.push(world.image("echo"));
    await lineOf(relay, { outcome: "RUNNING", digest });
    expect((await relay.lines()).flatMap(({ alarm }) => alarm ?? [])).toEqual([]);
    await stopped(relay);
  });

  test.each(Object.keys(TOLD))("%s: is missed, and that is told", async (right) => {
    const [verb = "", resource = ""] = right.split(" ");
    const before = await rolesNow();
    const without = before.map((each) => ({
      ...each,
      rules: each.rules
        .map((one) => (one.resources.includes(resource) ? { ...one, verbs: one.verbs.filter((given) => given !== verb) } : one))
        .filter(({ verbs }) => verbs.length > 0),
    }));
    expect(rightsIn(without)).toHaveLength(rightsIn(before).length - 1);
    await setRoles(without);
    onTestFinished(() => setRoles(before));
    const { relay } = await startServe(right.replace(" ", "-"), { uid, sweeps: verb === "list" });
    const digest = await world.crane.push(world.image("echo"));
    const told = TOLD[right];
    if (told) await lineOf(relay, told);
    else {
      await lineOf(relay, { outcome: "PICKED_UP", digest });
      // what would come after it comes never, so another push's whole story must be over before that says something
      await lineOf(relay, { outcome: "PICKED_UP", digest: await world.crane.push(world.image("other")) });
      expect((await relay.lines()).filter(({ outcome }) => outcome === "RUNNING")).toEqual([]);
    }
    await stopped(relay);
  });

  const setRoles = (roles: readonly KubernetesObject[]) =>
    world.cluster.kube.apply(
      roles.map((each) => {
        const { managedFields: _, resourceVersion: __, ...metadata } = z.looseObject({}).parse(each.metadata);
        return { ...each, metadata };
      }),
    );
});

describe("workers as pods", () => {
  test("two of them share a hub's queue; one ends in the middle, and nothing is lost or buried", async () => {
    const hubToken = "file:worker.token";
    const secrets = await secretOf("mpo-relay-worker");
    await writeFile(join(world.folder, "worker.token"), secrets["hub.token"] ?? "", { mode: 0o600 });
    const config = await world.writeConfig("hub.yaml", {
      queue: "embedded:./hub-data",
      edge: true,
      consumer: false,
      name: "stage",
      cluster: { hubToken },
      more: { hub: { listen: `127.0.0.1:${hubPort}`, certificate: "file:hub.crt", key: "file:hub.key" }, unparsed: "embedded:./hub-data" },
    });
    const hub = await serveRelay({ config, log: join(world.folder, "hub.log"), url: world.relayUrl });
    onTestFinished(() => hub.stop());
    const startWorker = async (name: string): Promise<RelayProcess> => {
      const at = join(world.folder, name);
      await mkdir(at);
      const file = await configMap("mpo-relay-worker-", "worker.yaml", at);
      const pod = await asPod({ folder: at, kube: world.cluster.kube, token: await tokenOfPod(), secrets });
      const worker = await workRelay({ config: file, log: join(at, "log"), cluster: "stage", under: pod.under });
      onTestFinished(() => worker.stop());
      return worker;
    };
    const workers = [await startWorker("worker-a"), await startWorker("worker-b")];
    const load = createLoad(world, MODULES);
    await load.push(60);
    const nudgesOf = async (worker: RelayProcess) => (await worker.lines()).filter(({ outcome }) => outcome === "NUDGED").length;
    await eventually("both have nudged", async () => {
      await load.push(5); // whoever asks first takes all that is due
      return (await Promise.all(workers.map(nudgesOf))).every((count) => count > 0) ? true : null;
    });
    if (workers[0]) await stopped(workers[0]);
    await load.push(30);
    await eventually("every override shows what its tag names", async () => {
      for (const module of MODULES) {
        const shows = (await world.cluster.override(module)).status.imageDigest;
        const names = await world.resolve(module);
        if (shows !== names) throw new Error(`${module}: ${shows} instead of ${names}`);
      }
      return true;
    });
    const lines = await Promise.all(workers.map((worker) => worker.lines()));
    expect(lines.flat().flatMap(({ alarm }) => alarm ?? [])).toEqual([]);
    if (workers[1]) await stopped(workers[1]);
  });
});
