/** infra/cluster/policy in a real API server: what the relay's token can no longer do, and what it still does. */
import type { KubernetesObject } from "@kubernetes/client-node";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Kubectl, openKubectl } from "./parts/kubectl.ts";
import { eventually } from "./wait.ts";
import { startWorld, type World } from "./world.ts";

const cluster = join(import.meta.dirname, "../../infra/cluster");
const REFUSAL = "mpo-relay changes nothing of a spec but scanInterval";

let world: World;
let kubectl: Kubectl;
let token: string;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  world = await startWorld({ modules: ["echo"], quiet: true, seeded: true });
  stops.push(() => world.stop());
  const opened = await openKubectl(world.cluster.kube);
  stops.push(opened.close);
  kubectl = opened.kubectl;
  for (const overlay of ["base", "rescan", "policy"]) await kubectl("apply", "-k", join(cluster, overlay), "--validate=strict");
  token = await world.cluster.kube.serviceAccountToken("mpo-relay", "mpo-relay");
}, 120_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

const merge = (what: string, patch: object, ...flags: readonly string[]) =>
  kubectl("patch", ...what.split(" "), "--type=merge", "-p", JSON.stringify(patch), ...flags);
const asRelay = (what: string, patch: object) => merge(what, patch, `--token=${token}`);
const said = (patching: Promise<string>) => patching.catch((error: unknown) => String(error));

test("a spec is another's business, whoever holds the relay's token; what the relay writes goes on", async () => {
  const echo = "mpo echo";
  let tries = 0; // what is there already is no change, and none is refused
  await eventually("the policy counts", async () => {
    const answer = await said(asRelay(echo, { spec: { imageTag: `evil-${tries++}` } }));
    return answer.includes(REFUSAL) ? true : null;
  });
  expect(await said(asRelay(echo, { spec: { rollback: true } }))).toContain(REFUSAL);
  expect(await said(asRelay(echo, { spec: { imageTag: null } }))).toMatch(/required|invalid|mpo-relay changes nothing/i);
  expect(await asRelay(echo, { metadata: { annotations: { "mpo-relay/key": "abcdefgh" } } })).toContain("patched");
  expect(await asRelay(echo, { metadata: { labels: { renew: "abcdefgh" } } })).toContain("patched");
  expect(await asRelay(echo, { spec: { scanInterval: "12h" } })).toContain("patched");
  expect(await merge(echo, { spec: { imageTag: "main-2" } })).toContain("patched"); // a person's hand
});

test("nor does a ModuleSource get another registry by it, and its scan interval is still written", async () => {
  const spec = { registry: { repo: "registry.example.com/modules" } };
  const source: KubernetesObject & { spec: object } = {
    apiVersion: "deckhouse.io/v1alpha1",
    kind: "ModuleSource",
    metadata: { name: "my-modules" },
    spec,
  };
  await world.cluster.kube.apply([source]);
  const named = "modulesource my-modules";
  expect(await said(asRelay(named, { spec: { registry: { repo: "evil.example/modules" } } }))).toContain(REFUSAL);
  expect(await asRelay(named, { spec: { scanInterval: "180s" } })).toContain("patched");
});
