/** `mpo-relay doctor` with the real kube-apiserver, Distribution behind a token service, and ElasticMQ: well, then each thing taken away. */
import type { KubernetesObject } from "@kubernetes/client-node";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import * as z from "zod";
import { openClinic } from "./clinic.ts";
import { SOURCE, startCluster } from "./cluster.ts";
import { type Folder, freePort } from "./parts/child.ts";
import { rescanRights, rights } from "./parts/crds.ts";
import { ELASTICMQ_ENV, type ElasticMq } from "./parts/elasticmq.ts";
import { type Kubectl } from "./parts/kubectl.ts";
import { type Registry } from "./parts/registry.ts";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";

const CLI = join(import.meta.dirname, "../../dist/cli.js");
const ROBOT = { username: "robot", password: "a-password-of-the-doctor-scenario" };
const WRONG = "not-the-password-of-the-robot";
const HOOK = "a-webhook-secret-of-good-length";

let folder: Folder;
let cluster: Awaited<ReturnType<typeof startCluster>>;
let registry: Registry;
let elasticmq: ElasticMq;
let kubectl: Kubectl;
let queue: { url: string; deadLetterUrl: string };
let bare: { url: string };
let uid: string;
const stops: (() => Promise<void>)[] = [];
const at = (name: string) => join(folder.path, name);
const write = (name: string, text: string) => writeFile(at(name), text, { mode: 0o600 });

beforeAll(async () => {
  ({ folder, registry, elasticmq, cluster, kubectl, uid } = await openClinic("doctor", ROBOT, stops));
  queue = await elasticmq.createQueue("doctor");
  bare = { url: queue.deadLetterUrl };
  await cluster.kube.apply(await rescanRights(SOURCE));
  await write("password", ROBOT.password);
  await write("wrong-password", WRONG);
  await write("webhook.secret", HOOK);
  await write("ca.crt", cluster.kube.ca);
  await write("token", cluster.token);
}, 240_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

const said = z.object({
  errors: z.number(),
  findings: z.array(z.object({ level: z.string(), code: z.string(), where: z.string(), what: z.string(), todo: z.string().nullable() })),
});

async function configAt(name: string, more: { source?: object; cluster?: object; file?: object } = {}): Promise<string> {
  const kubernetes = { server: cluster.kube.server, ca: "file:ca.crt", token: "file:token" };
  const access = { plainHttp: true, username: ROBOT.username, password: "file:password" };
  const source = { repo: `${registry.host}/deckhouse/modules`, name: SOURCE, rescan: true, registry: access, ...more.source };
  const file = {
    sources: [source],
    clusters: { dev: { queue: queue.url, kubernetes, uid, ...more.cluster } },
    journal: "off",
    ...more.file,
  };
  await write(name, stringify(file));
  return at(name);
}

/** As a person would run it; whatever it says, no secret is in it. */
async function doctor(config: string) {
  const env = { PATH: process.env["PATH"], ...ELASTICMQ_ENV };
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [CLI, "doctor", "--config", config, "--json"], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : error.code, stdout: out, stderr: err }),
    );
  });
  const secrets = [ROBOT.password, WRONG, HOOK, cluster.token, await readFile(at("token"), "utf8")];
  for (const secret of secrets) expect(stdout + stderr).not.toContain(secret);
  const { findings, errors } = said.parse(JSON.parse(stdout));
  expect(code).toBe(errors === 0 ? 0 : 1);
  const wrong = findings.filter(({ level }) => level !== "ok");
  return { findings, wrong, stderr };
}
interface Role extends KubernetesObject {
  readonly rules: readonly { readonly resources: readonly string[]; readonly verbs: readonly string[] }[];
}
const namesOf = (wrong: readonly { code: string; where: string }[]) => wrong.map(({ code, where }) => `${code} ${where}`);

test("a set-up that is well has no finding", async () => {
  const { wrong, findings, stderr } = await doctor(await configAt("well.yaml"));
  expect(wrong).toEqual([]);
  const all = findings.map(({ where, what }) => `${where}: ${what}`).join("\n");
  for (const part of [
    "all 9 rights given",
    "its token ends at 20",
    "as robot; echo:main is there",
    "1 of 1 override served",
    "nothing waits",
  ])
    expect(all).toContain(part);
  expect(stderr).toContain("registry of test: ok");
});

test("each verb that is taken out of the roles is named, and nothing else is", async () => {
  const config = await configAt("rights.yaml");
  const isRole = (object: KubernetesObject): object is Role => object.kind === "ClusterRole" || object.kind === "Role";
  const roles = [...(await rights()).objects, ...(await rescanRights(SOURCE))].filter(isRole);
  const verbs = roles.flatMap((role) =>
    role.rules.flatMap((rule, index) => rule.verbs.map((verb) => ({ role, index, verb, resource: rule.resources[0] ?? "" }))),
  );
  expect(verbs).toHaveLength(9);
  for (const { role, index, verb, resource } of verbs) {
    const rules = role.rules.flatMap((rule, n) => {
      const left = rule.verbs.filter((each) => n !== index || each !== verb);
      return left.length === 0 ? [] : [{ ...rule, verbs: left }];
    });
    const less: Role = { ...role, rules };
    await cluster.kube.apply([less]);
    const wrong = await eventually(`${verb} ${resource} is missed`, async () => {
      const seen = (await doctor(config)).wrong;
      return seen.length > 0 ? seen : null; // the API server reads its roles a moment later
    });
    expect(wrong).toHaveLength(1);
    expect(wrong[0]).toMatchObject({
      code: "RIGHT_MISSING",
      where: "clusters.dev.kubernetes",
      todo: expect.stringContaining("kubectl apply -k infra/cluster/"),
    });
    expect(wrong[0]?.what).toMatch(new RegExp(`^the relay may not ${verb} ${resource}\\b`));
    await cluster.kube.apply([role]);
  }
  await eventually("all rights are back", async () => ((await doctor(config)).wrong.length === 0 ? true : null));
});

test("everybody who is authenticated may ask for its rights, and where an administrator took that away it is told", async () => {
  const config = await configAt("asking.yaml");
  const binding = await kubectl("get", "clusterrolebinding", "system:basic-user", "-o", "json");
  await kubectl("delete", "clusterrolebinding", "system:basic-user");
  const wrong = await eventually("the question is refused", async () => {
    const seen = (await doctor(config)).wrong;
    return seen.length > 0 ? seen : null;
  });
  expect(wrong).toMatchObject([{ level: "warning", code: "RIGHTS_UNKNOWN", todo: expect.stringContaining("system:basic-user") }]);
  await write("binding.json", binding);
  await kubectl("apply", "-f", at("binding.json"));
  await eventually("it is answered again", async () => ((await doctor(config)).wrong.length === 0 ? true : null));
});

test("a wrong password, no password, a queue without dead letters, another cluster and an endless token are each found beside the others", async () => {
  const wrongPassword = { plainHttp: true, username: ROBOT.username, password: "file:wrong-password" };
  const refused = { level: "error", code: "REGISTRY_REFUSED", where: "sources[0].registry" };
  const first = await doctor(await configAt("password.yaml", { source: { registry: wrongPassword } }));
  expect(first.wrong).toMatchObject([{ ...refused, todo: expect.stringContaining("compare user and password") }]);
  const anonymous = await doctor(await configAt("anonymous.yaml", { source: { registry: { plainHttp: true } } }));
  expect(anonymous.wrong).toMatchObject([{ ...refused, todo: expect.stringContaining("asked anonymously") }]);

  await write("admin.token", cluster.kube.adminToken);
  const kubernetes = { server: cluster.kube.server, ca: "file:ca.crt", token: "file:admin.token" };
  const other = { queue: bare.url, uid: "00000000-0000-4000-8000-000000000000", kubernetes };
  const all = await doctor(await configAt("all.yaml", { source: { registry: wrongPassword }, cluster: other }));
  expect(namesOf(all.wrong)).toEqual([
    "NO_DEAD_LETTERS clusters.dev.queue",
    "OTHER_CLUSTER clusters.dev.uid",
    "TOKEN_LONG clusters.dev.kubernetes",
    "REGISTRY_REFUSED sources[0].registry",
  ]);
});

test("an override of another source, and one that is polled", async () => {
  const objects = (name: string, source: string, scanInterval: string) => [
    { apiVersion: "deckhouse.io/v1alpha1", kind: "Module", metadata: { name }, properties: { source }, status: { phase: "Ready" } },
    { apiVersion: "deckhouse.io/v1alpha2", kind: "ModulePullOverride", metadata: { name }, spec: { imageTag: "main", scanInterval } },
  ];
  await cluster.kube.apply([...objects("stranger", "elsewhere", "24h"), ...objects("polled", SOURCE, "15s")]);
  const patch = [
    "patch",
    "module",
    "stranger",
    "--subresource=status",
    "--type=merge",
    "-p",
    '{"status":{"phase":"Ready","conditions":[]}}',
  ];
  await kubectl(...patch);
  const { wrong } = await doctor(await configAt("overrides.yaml"));
  expect(wrong).toMatchObject([
    { code: "OVERRIDE_UNSERVED", what: "no push renews stranger:main: the ModuleSource elsewhere is none of `sources`" },
    { code: "POLLING", what: expect.stringContaining("polled (15s)") },
  ]);
  await kubectl("delete", "modulepulloverride", "stranger", "polled");
});

test("a kubeconfig's plugin that never ends is told once, keeps nothing else from being looked at, and the command from ending", async () => {
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "sleep", args: ["90"], interactiveMode: "Never" };
  const kubeconfig = {
    "current-context": "dev",
    clusters: [{ name: "dev", cluster: { server: cluster.kube.server, "insecure-skip-tls-verify": true } }],
    users: [{ name: "dev", user: { exec } }],
    contexts: [{ name: "dev", context: { cluster: "dev", user: "dev" } }],
  };
  await write("hanging.kubeconfig", stringify(kubeconfig));
  const { wrong, findings } = await doctor(
    await configAt("hanging.yaml", { cluster: { kubernetes: { kubeconfig: "hanging.kubeconfig" } } }),
  );
  expect(namesOf(wrong)).toEqual(["CHECK_TIMED_OUT cluster dev"]);
  expect(findings.filter(({ level }) => level === "ok").map(({ where }) => where)).toEqual(
    expect.arrayContaining(["secrets", "clusters.dev.queue", "sources[0].registry"]),
  );
}, 80_000); // the plugin takes 90 s

test("beside a relay that runs, after its kill, and without its API server", async () => {
  const port = await freePort();
  const config = await configAt("serve.yaml", {
    cluster: { queue: "embedded:./data" },
    file: {
      webhooks: { registry: { provider: "distribution", secret: "file:webhook.secret" } },
      listen: `127.0.0.1:${port}`,
      journal: null,
    },
  });
  const relay = await serveRelay({ config, log: at("relay.log"), url: `http://127.0.0.1:${port}` });
  const never = "WEBHOOK_NEVER_CALLED webhooks.registry";
  expect(namesOf((await doctor(config)).wrong)).toEqual([never]);
  await relay.stop();
  expect(namesOf((await doctor(config)).wrong)).toEqual(["RELAY_NOT_RUNNING clusters.dev.queue", never]);
  await cluster.kube.kill();
  const { wrong, findings } = await doctor(config);
  expect(namesOf(wrong)).toContain("CLUSTER_UNREACHABLE clusters.dev.kubernetes");
  expect(findings.filter(({ level }) => level === "ok").map(({ where }) => where)).toEqual(
    expect.arrayContaining(["secrets", "sources[0].registry", "journal"]),
  );
  await cluster.kube.start();
});
