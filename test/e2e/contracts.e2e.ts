/** The contracts of the two ports, held against real servers. */
import {
  ApiextensionsV1Api,
  CoreV1Api,
  CustomObjectsApi,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
  type V1CustomResourceDefinitionVersion,
  Watch,
} from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { openKubernetes } from "../../src/cluster/kubernetes.ts";
import type { Overrides } from "../../src/cluster/overrides.ts";
import { openSqsByFetch } from "../../src/queue/sqs-fetch.ts";
import { openSqs } from "../../src/queue/sqs.ts";
import { type Admin, type ClusterUnderTest, clusterContract, type SeenEvent, type Version } from "../contracts/cluster.ts";
import { queueContract } from "../contracts/queue.ts";
import { startCluster } from "./cluster.ts";
import { crds, rights } from "./parts/crds.ts";
import { type ElasticMq, startElasticMq } from "./parts/elasticmq.ts";
import { type KubeApiserver, startKubeApiserver } from "./parts/kube-apiserver.ts";
import { eventually } from "./wait.ts";

let queues: ElasticMq;
let made = 0;
beforeAll(async () => void (queues = await startElasticMq()));
afterAll(() => queues?.stop());

for (const [way, open] of [
  ["sqs", openSqs],
  ["sqs by fetch", openSqsByFetch],
] as const) {
  queueContract(
    `${way} (ElasticMQ)`,
    async () => {
      const queue = open({ url: (await queues.createQueue(`queue-${made++}`)).url });
      return { queue, cleanup: () => queue.close() };
    },
    { step: 1, lacks: { swept: "the sweep's end is a time, with 5 s for the difference of two clocks" } },
  );
}

const GROUP = "deckhouse.io";
const KIND = { group: GROUP, plural: "modulepulloverrides" };
const DEFINITION = "modulepulloverrides.deckhouse.io";

clusterContract("kube-apiserver", async () => {
  const kube = await startKubeApiserver();
  const { namespace, objects } = await rights();
  await kube.apply([...(await crds("v1alpha2")), ...objects, ...policy(), ...account(namespace, "reader", ["get"])]);
  let served: readonly Version[] = [];
  const serveVersions = async (versions: readonly Version[]) => {
    await setServed(kube, versions);
    served = versions;
  };
  await serveVersions(["v1alpha1", "v1alpha2"]);
  const openAs = async (name: string) => openWith(kube, await kube.serviceAccountToken(namespace, name));
  const admin = adminOf(kube, () => (served.includes("v1alpha1") ? "v1alpha1" : "v1alpha2"));
  await policyWorks(kube, admin, await kube.serviceAccountToken(namespace, "mpo-relay"));
  return {
    open: () => openAs("mpo-relay"),
    openReader: () => openAs("reader"),
    openStranger: () => openWith(kube, "a-token-that-nobody-knows"),
    admin,
    events: (name) => eventsOf(kube, admin, name),
    uid: () => uidOf(kube),
    serve: serveVersions,
    close: () => kube.stop(),
  } satisfies ClusterUnderTest;
});

test("a cluster that never heard of v1alpha2", async () => {
  const cluster = await startCluster({ repo: "registry.example.com/deckhouse/modules", modules: ["echo"], version: "v1alpha1" });
  onTestFinished(() => cluster.stop());
  const overrides = await openWith(cluster.kube, cluster.token);
  onTestFinished(() => overrides.close());
  await overrides.probe();
  const echo = (await overrides.get("echo")) ?? expect.fail("no override echo");
  expect(echo).toMatchObject({ apiVersion: "v1alpha1", source: "test", imageTag: "main" });
  expect((await overrides.annotate(echo, { renew: "key1" }))?.annotations).toEqual({ renew: "key1" });
  expect((await cluster.override("echo")).metadata).toMatchObject({ annotations: { renew: "key1" } });
  expect(await overrides.get("nobody")).toBeNull();
});

async function uidOf(kube: KubeApiserver): Promise<string> {
  const { metadata } = await kube.config(kube.adminToken).makeApiClient(CoreV1Api).readNamespace({ name: "kube-system" });
  return metadata?.uid ?? expect.fail("a namespace without a UID");
}

/** As `kubectl describe` asks. */
async function eventsOf(kube: KubeApiserver, admin: Admin, name: string) {
  const api = kube.config(kube.adminToken).makeApiClient(CoreV1Api);
  const fieldSelector = `involvedObject.kind=ModulePullOverride,involvedObject.name=${name}`;
  const { items } = await api.listEventForAllNamespaces({ fieldSelector });
  const uid = await admin.read(name).then(
    (seen) => seen.uid,
    () => null,
  );
  return items
    .filter(({ involvedObject }) => involvedObject.uid === uid)
    .map(({ type = "", reason = "", message = "" }) => ({ type, reason, message }));
}

function openWith(kube: KubeApiserver, token: string): Promise<Overrides> {
  const reference = (name: string) => ({ kind: "env", name }) as const;
  return openKubernetes({
    cluster: "dev",
    kubernetes: { kind: "server", server: kube.server, ca: reference("CA"), token: reference("TOKEN") },
    readSecret: async (ref) => (ref.kind === "env" && ref.name === "CA" ? kube.ca : token),
  });
}

/** Stored as v1alpha1, which knows every field of both versions. Resolves once requests and discovery both say so. */
async function setServed(kube: KubeApiserver, versions: readonly Version[]): Promise<void> {
  const admin = kube.config(kube.adminToken);
  const api = admin.makeApiClient(ApiextensionsV1Api);
  const definition = await api.readCustomResourceDefinition({ name: DEFINITION });
  for (const version of definition.spec.versions) {
    version.served = versions.some((name) => name === version.name);
    version.storage = version.name === "v1alpha1";
  }
  await api.replaceCustomResourceDefinition({ name: DEFINITION, body: definition });
  for (const version of ["v1alpha1", "v1alpha2"] as const) {
    const wanted = versions.includes(version);
    await eventually(`${version} is ${wanted ? "" : "no longer "}served`, async () =>
      (await isServed(admin.makeApiClient(CustomObjectsApi), version)) === wanted ? true : null,
    );
  }
}

/** The definition allows everything for as long as that takes, and then what it did before. */
async function spoil(
  kube: KubeApiserver,
  spec: Record<string, unknown>,
  write: (body: object, dryRun: { dryRun?: "All" }) => Promise<unknown>,
): Promise<void> {
  const api = kube.config(kube.adminToken).makeApiClient(ApiextensionsV1Api);
  const define = async (change: (version: V1CustomResourceDefinitionVersion, index: number) => void) => {
    const definition = await api.readCustomResourceDefinition({ name: DEFINITION });
    const before = definition.spec.versions.map(({ schema }) => schema);
    definition.spec.versions.forEach(change);
    await api.replaceCustomResourceDefinition({ name: DEFINITION, body: definition });
    return before;
  };
  const strict = await define((version) => {
    version.schema = { openAPIV3Schema: { type: "object", x_kubernetes_preserve_unknown_fields: true } };
  });
  const takes = (body: object, dryRun: { dryRun?: "All" } = {}) =>
    write(body, dryRun).then(
      () => true,
      (error: unknown) => (z.object({ code: z.literal(422) }).safeParse(error).success ? false : expect.fail(String(error))),
    );
  await eventually("the definition allows everything", async () => ((await takes({ spec })) ? true : null));
  await define((version, index) => {
    const schema = strict[index];
    if (schema) version.schema = schema;
  });
  await eventually("the definition is as it was", async () =>
    (await takes({ spec: { scanInterval: 0.5 } }, { dryRun: "All" })) ? null : true,
  );
}

const resources = z.object({ resources: z.array(z.object({ name: z.string() })) });
async function isServed(api: CustomObjectsApi, version: Version): Promise<boolean | null> {
  const absent = (error: unknown) => {
    if (z.object({ code: z.literal(404) }).safeParse(error).success) return false;
    throw error;
  };
  const listed = await api.listClusterCustomObject({ ...KIND, version }).then(() => true, absent);
  const found = await api
    .getAPIResources({ group: GROUP, version })
    .then((list) => resources.parse(list).resources.some(({ name }) => name === KIND.plural), absent);
  return listed === found ? listed : null;
}

const view = z.object({
  metadata: z.object({
    uid: z.string(),
    resourceVersion: z.string(),
    generation: z.number(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
});
const watched = z.object({ metadata: z.object({ labels: z.record(z.string(), z.string()).default({}) }) });
const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);

function adminOf(kube: KubeApiserver, version: () => Version): Admin {
  const config = kube.config(kube.adminToken);
  const api = config.makeApiClient(CustomObjectsApi);
  const one = (name: string) => ({ ...KIND, version: version(), name });
  return {
    create: async (name, spec, metadata, fieldManager) => {
      const body = { apiVersion: `${GROUP}/${version()}`, kind: "ModulePullOverride", metadata: { name, ...metadata }, spec };
      await api.createClusterCustomObject({ ...KIND, version: version(), body, ...(fieldManager !== undefined && { fieldManager }) });
    },
    patch: async (name, body, fieldManager) =>
      void (await api.patchClusterCustomObject({ ...one(name), body, ...(fieldManager !== undefined && { fieldManager }) }, MERGE)),
    spoil: (name, spec) => spoil(kube, spec, (body, dryRun) => api.patchClusterCustomObject({ ...one(name), body, ...dryRun }, MERGE)),
    patchStatus: async (name, status) => void (await api.patchClusterCustomObjectStatus({ ...one(name), body: { status } }, MERGE)),
    read: async (name) => view.parse(await api.getClusterCustomObject(one(name))).metadata,
    delete: async (name) => void (await api.deleteClusterCustomObject(one(name))),
    watch: async (name) => {
      const events: SeenEvent[] = [];
      const path = `/apis/${GROUP}/${version()}/${KIND.plural}`;
      let stands = false;
      const controller = await new Watch(config).watch(
        path,
        { fieldSelector: `metadata.name=${name}` },
        (type: string, object: unknown) => {
          if (type === "ADDED") stands = true;
          else events.push({ type, labels: watched.parse(object).metadata.labels });
        },
        () => undefined,
      );
      await eventually(`the watch of ${name} stands`, async () => (stands ? true : null));
      return { events, stop: () => controller.abort() };
    },
  };
}

function account(namespace: string, name: string, verbs: readonly string[]): KubernetesObject[] {
  const rbac = "rbac.authorization.k8s.io";
  const role = {
    apiVersion: `${rbac}/v1`,
    kind: "ClusterRole",
    metadata: { name },
    rules: [{ apiGroups: [GROUP], resources: [KIND.plural], verbs }],
  };
  const binding = {
    apiVersion: `${rbac}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name },
    roleRef: { apiGroup: rbac, kind: "ClusterRole", name },
    subjects: [{ kind: "ServiceAccount", name, namespace }],
  };
  return [{ apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace } }, role, binding];
}

/** As Deckhouse guards its own objects: https://deckhouse.io/products/kubernetes-platform/documentation/v1/modules/deckhouse/ (heritage: deckhouse) */
function policy(): KubernetesObject[] {
  const name = "label-objects.deckhouse.io";
  const apiVersion = "admissionregistration.k8s.io/v1";
  const rule = { apiGroups: [GROUP], apiVersions: ["*"], operations: ["UPDATE"], resources: [KIND.plural] };
  const spec = {
    failurePolicy: "Fail",
    matchConstraints: { resourceRules: [rule] },
    matchConditions: [{ name: "not-an-administrator", expression: "!('system:masters' in request.userInfo.groups)" }],
    validations: [
      {
        expression: "!has(oldObject.metadata.labels) || !('heritage' in oldObject.metadata.labels)",
        reason: "Forbidden",
        message: "updating objects with the label heritage is forbidden",
      },
    ],
  };
  const binding = { policyName: name, validationActions: ["Deny"] };
  const policyObject: KubernetesObject & { spec: object } = { apiVersion, kind: "ValidatingAdmissionPolicy", metadata: { name }, spec };
  const bindingObject: KubernetesObject & { spec: object } = {
    apiVersion,
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name },
    spec: binding,
  };
  return [policyObject, bindingObject];
}

/** A new policy takes a moment until it is enforced. */
async function policyWorks(kube: KubeApiserver, admin: Admin, token: string): Promise<void> {
  await admin.create("policy", { imageTag: "main", source: "test" }, { labels: { heritage: "deckhouse" } });
  const api = kube.config(token).makeApiClient(CustomObjectsApi);
  let tries = 0;
  await eventually("the admission policy is enforced", async () => {
    const body = { metadata: { annotations: { try: String(tries++) } } };
    return api.patchClusterCustomObject({ ...KIND, version: "v1alpha2", name: "policy", body }, MERGE).then(
      () => null,
      (error: unknown) => (z.object({ code: z.literal(403) }).safeParse(error).success ? true : null),
    );
  });
}
