/** Release channels with real parts: a channel that crane moves makes the ModuleSource's generation move, once a minute, and nothing else of it changes. */
import { ApiextensionsV1Api, CustomObjectsApi, type KubernetesObject, PatchStrategy, setHeaderOptions } from "@kubernetes/client-node";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { openKubernetes } from "../../src/cluster/kubernetes.ts";
import { type ChannelsAdmin, channelsContract, type ChannelsUnderTest, SOURCE as NAMED } from "../contracts/channels.ts";
import { SOURCE } from "./cluster.ts";
import { crds, rescanRights, rights } from "./parts/crds.ts";
import { type KubeApiserver, startKubeApiserver } from "./parts/kube-apiserver.ts";
import { type RelayProcess, serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

const GROUP = "deckhouse.io";
const VERSION = "v1alpha1";
const SOURCES = { group: GROUP, version: VERSION, plural: "modulesources" };
const RELEASES = { group: GROUP, version: VERSION, plural: "modulereleases" };
const DEFINITION = { name: "modulesources.deckhouse.io" };
const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
const POLICY = "label-objects.deckhouse.io";
const view = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string(), generation: z.number() }),
  spec: z.record(z.string(), z.unknown()),
});

channelsContract("kube-apiserver", async (): Promise<ChannelsUnderTest> => {
  const kube = await startKubeApiserver();
  const { namespace, objects } = await rights();
  const bare: KubernetesObject = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "bare", namespace } };
  await kube.apply([...(await crds("v1alpha2")), ...objects, ...(await rescanRights(NAMED)), ...policy(), bare]);
  for (const plural of ["modulesources", "modulereleases"]) await kube.served(GROUP, VERSION, plural);
  const admin = adminOf(kube, NAMED);
  const openAs = async (account: string) => openWith(kube, await kube.serviceAccountToken(namespace, account));
  await policyWorks(kube, admin, await kube.serviceAccountToken(namespace, "mpo-relay"));
  return {
    open: () => openAs("mpo-relay"),
    openBase: () => openAs("bare"),
    admin,
    setScannable: (scannable) => setScannable(kube, admin, scannable),
    close: () => kube.stop(),
  };
});

test("the rights hold for the named source, and for no other", async () => {
  const kube = await startKubeApiserver();
  onTestFinished(() => kube.stop());
  const { namespace, objects } = await rights();
  await kube.apply([...(await crds("v1alpha2")), ...objects, ...(await rescanRights("named"))]);
  await kube.served(GROUP, VERSION, "modulesources");
  for (const name of ["named", "other"]) await adminOf(kube, name).source({ registry: { repo: "r.example.com/m" } });
  const port = await openWith(kube, await kube.serviceAccountToken(namespace, "mpo-relay"));
  onTestFinished(() => port.close());
  expect(await port.channels.source("named")).toMatchObject({ name: "named", scanInterval: "3m" });
  await expect(port.channels.source("other")).rejects.toMatchObject({ code: "FORBIDDEN" });
});

test("ten pushes to channels are one scan, and none without rescan: true", async () => {
  const world = await startWorld({ modules: ["overridden"] });
  onTestFinished(() => world.stop());
  const { kube } = world.cluster;
  await kube.apply(await rescanRights(SOURCE));
  const admin = adminOf(kube, SOURCE);
  const repo = world.image("x").replace(/\/x:main$/, "");
  const serve = async (file: string, rescan: boolean) => {
    const more = { sources: [{ repo, name: SOURCE, rescan }] };
    const config = await world.writeConfig(file, { queue: "embedded:./data", edge: true, consumer: true, more });
    const relay = await serveRelay({ config, log: join(world.folder, `${file}.log`), url: world.relayUrl });
    onTestFinished(() => relay.stop());
    return relay;
  };
  const modules = ["one", "two"];
  const channels = ["alpha", "beta", "early-access", "stable", "rock-solid"];
  const moved = modules.flatMap((module) => channels.map((channel) => ({ module, channel })));
  const move = ({ module, channel }: (typeof moved)[number]) =>
    world.crane.copy(`${repo}/${module}/release:v1.2.3`, `${repo}/${module}/release:${channel}`);

  const off = await serve("off.yaml", false);
  const before = await admin.read();
  for (const module of modules) await world.crane.push(`${repo}/${module}/release:v1.2.3`);
  await world.crane.push(`${repo}/one/release:lts`);
  await toldOf(off, "RESCAN_OFF", 1);
  expect(await admin.read()).toEqual(before);
  await off.stop("SIGTERM");

  const on = await serve("on.yaml", true);
  await Promise.all([...moved.map(move), world.crane.push(`${repo}/overridden/release:alpha`)]);
  const message = 'Waiting for manual approval (annotation modules.deckhouse.io/approved="true" required)';
  await admin.release("one-v1.2.3", { module: "one" }, { moduleName: "one", version: "v1.2.3" }, { phase: "Pending", message });
  await admin.release("two-v1.2.3", { module: "two" }, { moduleName: "two", version: "v1.2.3" }, { phase: "Deployed" });
  const lines = await toldOf(on, "RESCANNED", 10);
  const scans = lines.filter(({ shared }) => shared === false).map(({ rescannedAt }) => Date.parse(String(rescannedAt)));
  expect(scans.length).toBeGreaterThan(0);
  scans.toSorted((a, b) => a - b).forEach((at, n, all) => expect(at - (all[n - 1] ?? 0)).toBeGreaterThanOrEqual(59_000));
  const after = await admin.read();
  expect(after.metadata.generation).toBe(before.metadata.generation + scans.length);
  expect(plain(after)).toEqual(plain({ ...before, spec: { ...before.spec, scanInterval: after.spec["scanInterval"] } }));
  expect(["3m", "3m0s"]).toContain(after.spec["scanInterval"]);

  await toldOf(on, "OVERRIDDEN", 1);
  expect((await toldOf(on, "RELEASE_DEPLOYED", 5)).every((line) => line["release"] === "two-v1.2.3")).toBe(true);
  const pending = await toldOf(on, "RELEASE_PENDING", 5);
  expect(pending.map((line) => line["why"])).toEqual(
    pending.map(() => expect.stringContaining("kubectl annotate modulerelease one-v1.2.3")),
  );
  expect((await world.cluster.override("overridden")).metadata.annotations).toEqual({});

  // one more at once: its scan comes, and not before the minute is over
  await world.crane.push(`${repo}/one/release:alpha`);
  const last = (await toldOf(on, "RESCANNED", 11)).at(-1);
  expect(Date.parse(String(last?.["rescannedAt"])) - Math.max(...scans)).toBeGreaterThanOrEqual(59_000);
  expect((await admin.read()).metadata.generation).toBe(after.metadata.generation + 1);
});

/** Its lines of that outcome, once there are so many; and no more come for a while. */
async function toldOf(relay: RelayProcess, outcome: string, count: number) {
  const of = async () => (await relay.lines()).filter((line) => line.outcome === outcome);
  await eventually(`${count} × ${outcome}`, async () => ((await of()).length >= count ? true : null));
  await sleep(500);
  const lines = await of();
  expect(lines).toHaveLength(count);
  return lines;
}

/** Without what every write moves. */
function plain({ metadata, ...rest }: z.infer<typeof view>) {
  const { resourceVersion: _version, generation: _generation, managedFields: _fields, ...kept } = metadata;
  return { ...rest, metadata: kept };
}

function openWith(kube: KubeApiserver, token: string) {
  const reference = (name: string) => ({ kind: "env", name }) as const;
  return openKubernetes({
    cluster: "dev",
    kubernetes: { kind: "server", server: kube.server, ca: reference("CA"), token: reference("TOKEN") },
    readSecret: async (ref) => (ref.kind === "env" && ref.name === "CA" ? kube.ca : token),
  });
}

function adminOf(kube: KubeApiserver, name: string): ChannelsAdmin {
  const api = kube.config(kube.adminToken).makeApiClient(CustomObjectsApi);
  const one = { ...SOURCES, name };
  const remove = async () => void (await api.deleteClusterCustomObject(one).catch(absent));
  return {
    remove,
    async source(spec, labels = {}) {
      await remove();
      const body = { apiVersion: `${GROUP}/${VERSION}`, kind: "ModuleSource", metadata: { name, labels }, spec };
      await api.createClusterCustomObject({ ...SOURCES, body });
    },
    read: async () => view.parse(await api.getClusterCustomObject(one)),
    patch: async (spec) => void (await api.patchClusterCustomObject({ ...one, body: { spec } }, MERGE)),
    async release(release, labels, spec, status) {
      const body = { apiVersion: `${GROUP}/${VERSION}`, kind: "ModuleRelease", metadata: { name: release, labels }, spec };
      await api.createClusterCustomObject({ ...RELEASES, body });
      if (status) await api.patchClusterCustomObjectStatus({ ...RELEASES, name: release, body: { status } }, MERGE);
    },
  };
}

function absent(error: unknown): void {
  if (!z.object({ code: z.literal(404) }).safeParse(error).success) throw error;
}

/** As before and from Deckhouse v1.75 on. Resolves once a write shows that the server keeps to it. */
async function setScannable(kube: KubeApiserver, admin: ChannelsAdmin, scannable: boolean): Promise<void> {
  const api = kube.config(kube.adminToken).makeApiClient(ApiextensionsV1Api);
  if (scannable) await kube.apply((await crds("v1alpha2")).filter(({ metadata }) => metadata?.name === DEFINITION.name));
  else {
    const path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/scanInterval";
    const body = [{ op: "remove", path }];
    await api.patchCustomResourceDefinition({ ...DEFINITION, body }, setHeaderOptions("Content-Type", PatchStrategy.JsonPatch));
  }
  await eventually(`scanInterval is ${scannable ? "" : "not "}kept`, async () => {
    await admin.source({ registry: { repo: "r.example.com/m" }, scanInterval: "5m" });
    return "scanInterval" in (await admin.read()).spec === scannable ? true : null;
  });
}

/** As Deckhouse guards its own objects, and lets a scan interval be changed: https://github.com/deckhouse/deckhouse/pull/19277 */
function policy(): KubernetesObject[] {
  const apiVersion = "admissionregistration.k8s.io/v1";
  const intervalOf = (object: string) => `(has(${object}.spec.scanInterval) ? ${object}.spec.scanInterval : '')`;
  const isInterval = `${intervalOf("object")} != ${intervalOf("oldObject")} && object.spec.registry == oldObject.spec.registry`;
  const spec = {
    failurePolicy: "Fail",
    matchConstraints: {
      resourceRules: [{ apiGroups: [GROUP], apiVersions: ["*"], operations: ["UPDATE"], resources: [SOURCES.plural] }],
    },
    matchConditions: [
      { name: "not-an-administrator", expression: "!('system:masters' in request.userInfo.groups)" },
      { name: "no-scan-interval", expression: `!(${isInterval})` },
    ],
    validations: [
      {
        expression: "!has(oldObject.metadata.labels) || !('heritage' in oldObject.metadata.labels)",
        reason: "Forbidden",
        message: "updating objects with the label heritage is forbidden",
      },
    ],
  };
  const object: KubernetesObject & { spec: object } = { apiVersion, kind: "ValidatingAdmissionPolicy", metadata: { name: POLICY }, spec };
  const binding: KubernetesObject & { spec: object } = {
    apiVersion,
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name: POLICY },
    spec: { policyName: POLICY, validationActions: ["Deny"] },
  };
  return [object, binding];
}

/** A new policy takes a moment until it is enforced. */
async function policyWorks(kube: KubeApiserver, admin: ChannelsAdmin, token: string): Promise<void> {
  await admin.source({ registry: { repo: "r.example.com/m" } }, { heritage: "deckhouse" });
  const api = kube.config(token).makeApiClient(CustomObjectsApi);
  let tries = 0;
  await eventually("the admission policy is enforced", async () => {
    const body = { metadata: { annotations: { try: String(tries++) } } };
    return api.patchClusterCustomObject({ ...SOURCES, name: NAMED, body }, MERGE).then(
      () => null,
      (error: unknown) => (z.object({ code: z.literal(403) }).safeParse(error).success ? true : null),
    );
  });
}
