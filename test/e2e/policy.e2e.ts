/** Admission in a real API server: infra/cluster/policy, what the relay's token can no longer do by it and what it still does; and others' webhooks. */
import type { KubernetesObject } from "@kubernetes/client-node";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:https";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { openKubernetes } from "../../src/cluster/kubernetes.ts";
import { toRelayError } from "../../src/outcome.ts";
import { renew } from "../../src/renew.ts";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { fakeContext, requestOf } from "../support/relay.ts";
import { freePort } from "./parts/child.ts";
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

const annotated = z.looseObject({ metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).default({}) }) });
const review = z.object({ request: z.object({ uid: z.string(), object: annotated }) });

/** A mutating webhook for every change of an override; what it answers null it never answers. */
async function startWebhook(name: string, answer: (asked: z.infer<typeof review>["request"]) => object | null): Promise<void> {
  const { ca, cert, key } = await makeCertificates();
  const port = await freePort();
  const server = createServer({ cert, key }, (request, response) => {
    const send = (body: unknown) => {
      const said = answer(review.parse(body).request);
      if (said === null) return;
      const text = JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response: said });
      response.setHeader("content-type", "application/json").end(text);
    };
    json(request)
      .then(send)
      .catch(() => response.writeHead(500).end());
  });
  await once(server.listen(port, "127.0.0.1"), "listening");
  onTestFinished(() => server.closeAllConnections());
  onTestFinished(() => void server.close());
  const webhook = {
    name: `${name}.example.com`,
    clientConfig: { url: `https://127.0.0.1:${port}/`, caBundle: btoa(ca) },
    rules: [{ apiGroups: ["deckhouse.io"], apiVersions: ["*"], operations: ["UPDATE"], resources: ["modulepulloverrides"] }],
    failurePolicy: "Ignore",
    sideEffects: "None",
    admissionReviewVersions: ["v1"],
  };
  const configuration: KubernetesObject & { webhooks: object[] } = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "MutatingWebhookConfiguration",
    metadata: { name },
    webhooks: [webhook],
  };
  await world.cluster.kube.apply([configuration]);
  onTestFinished(async () => void (await kubectl("delete", "mutatingwebhookconfiguration", name)));
}

/** Nudges by the relay's own token, each time for another push. */
async function openNudges() {
  const { server, ca } = world.cluster.kube;
  const secrets: Record<string, string> = { CA: ca, TOKEN: token };
  const overrides = await openKubernetes({
    cluster: "dev",
    kubernetes: { kind: "server", server, ca: { kind: "env", name: "CA" }, token: { kind: "env", name: "TOKEN" } },
    readSecret: async (ref) => secrets[ref.kind === "env" ? ref.name : ""] ?? "",
  });
  onTestFinished(() => overrides.close());
  const { context } = fakeContext();
  const own = { ...context, overrides, now: () => new Date(), tuning: { ...context.tuning, cooldownMs: 0 } };
  const tag = (await overrides.get("echo"))?.imageTag ?? "";
  const nudge = () => {
    const key = randomBytes(16).toString("hex");
    const receivedAt = new Date().toISOString();
    return renew(requestOf({ tag, key, webhook: key, receivedAt, pushedAt: receivedAt }), own);
  };
  return { overrides, nudge };
}

/** Takes every annotation of the relay out of what is written, as Kyverno or Gatekeeper can: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ */
function withoutOurs({ uid, object }: z.infer<typeof review>["request"]) {
  const ours = Object.keys(object.metadata.annotations).filter((name) => name === "renew" || name.startsWith("mpo-relay/"));
  const patch = ours.map((name) => ({ op: "remove", path: `/metadata/annotations/${name.replaceAll("/", "~1")}` }));
  return { uid, allowed: true, patchType: "JSONPatch", patch: btoa(JSON.stringify(patch)) };
}

test("a success of the API server is no nudge where a mutating webhook took it out", async () => {
  const { overrides, nudge } = await openNudges();
  await startWebhook("takes-out", withoutOurs);
  // until the API server knows of the webhook, nudges are nudges
  const error = await eventually("the webhook counts", () => nudge().then(() => null, toRelayError));
  expect(error).toMatchObject({ code: "FORBIDDEN_BY_POLICY", message: expect.stringContaining("mutating") });
  expect((await overrides.get("echo"))?.annotations).not.toHaveProperty("mpo-relay/key");
});

test("a webhook that is away holds a nudge for ten seconds, as the API server waits for it, and no longer", async () => {
  const { nudge } = await openNudges();
  let asked = 0;
  await startWebhook("hangs", () => {
    asked += 1;
    return null;
  });
  const last = await eventually("the webhook counts", async () => {
    const before = asked;
    const outcome = await nudge().catch(toRelayError);
    return asked > before ? outcome : null;
  });
  expect(last).toMatchObject({ code: "NUDGED" });
});
