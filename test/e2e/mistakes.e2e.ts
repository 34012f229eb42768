/**
 * What a platform engineer gets wrong, each in a relay that really runs: does `mpo-relay doctor` name it, and does what it says to do mend it?
 * Beside doctor.e2e.ts, which takes one thing after another away from a set-up that is well.
 */
import { execFile } from "node:child_process";
import { createServer, request as requestHttp } from "node:http";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { generate } from "selfsigned";
import { stringify } from "yaml";
import * as z from "zod";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { openClinic } from "./clinic.ts";
import { SOURCE, startCluster } from "./cluster.ts";
import { type Folder, freePort } from "./parts/child.ts";
import { ELASTICMQ_ENV, type ElasticMq } from "./parts/elasticmq.ts";
import { type Kubectl } from "./parts/kubectl.ts";
import { type Registry } from "./parts/registry.ts";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";

const CLI = join(import.meta.dirname, "../../dist/cli.js");
const ROBOT = { username: "robot", password: "a-password-of-the-mistakes-scenario" };
const [RIGHT, WRONG] = ["a-webhook-secret-of-good-length", "another-secret-of-good-length"];

let folder: Folder;
let cluster: Awaited<ReturnType<typeof startCluster>>;
let registry: Registry;
let elasticmq: ElasticMq;
let kubectl: Kubectl;
let uid: string;
let count = 0;
const stops: (() => Promise<void>)[] = [];
const at = (name: string) => join(folder.path, name);
const write = (name: string, text: string) => writeFile(at(name), text, { mode: 0o600 });

beforeAll(async () => {
  ({ folder, registry, elasticmq, cluster, kubectl, uid } = await openClinic("mistakes", ROBOT, stops));
  for (const [name, text] of Object.entries({
    password: ROBOT.password,
    "hook.secret": RIGHT,
    "hub.token": RIGHT,
    "other.token": WRONG,
    "ca.crt": cluster.kube.ca,
    token: cluster.token,
  }))
    await write(name, text);
}, 240_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

/** A relay.yaml that is right; each test spoils it. */
interface File {
  webhooks: Record<string, Record<string, unknown>>;
  sources: Record<string, unknown>[];
  clusters: { dev: { kubernetes: Record<string, unknown> } & Record<string, unknown> };
  [more: string]: unknown;
}
async function rightFile(): Promise<File & { readonly url: string }> {
  const [port, admin] = [await freePort(), await freePort()];
  const file = {
    webhooks: { registry: { provider: "distribution", secret: "file:hook.secret" } },
    sources: [
      {
        repo: `${registry.host}/deckhouse/modules`,
        name: SOURCE,
        registry: { plainHttp: true, username: ROBOT.username, password: "file:password" },
      },
    ],
    clusters: {
      dev: {
        queue: `embedded:./data-${count++}`,
        kubernetes: { server: cluster.kube.server, ca: "file:ca.crt", token: "file:token" },
        uid,
      },
    },
    listen: `127.0.0.1:${port}`,
    admin,
    tuning: { sweep: "off" },
  };
  return Object.defineProperty({ ...file, url: "" }, "url", { value: `http://127.0.0.1:${port}`, enumerable: false });
}
async function save(file: object): Promise<string> {
  const name = `relay-${count++}.yaml`;
  await write(name, stringify(file));
  return at(name);
}

function mpoRelay(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [CLI, ...args], { env: { PATH: process.env["PATH"], ...ELASTICMQ_ENV, ...env } }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    );
  });
}
const said = z.object({
  findings: z.array(z.object({ level: z.string(), code: z.string(), where: z.string(), what: z.string(), todo: z.string().nullable() })),
});
/** What is wrong, but for what every new relay lacks: a first push. */
async function doctor(config: string, env: NodeJS.ProcessEnv = {}) {
  const { stdout, stderr } = await mpoRelay(["doctor", "--config", config, "--json"], env);
  for (const secret of [ROBOT.password, RIGHT, WRONG, cluster.token, cluster.kube.adminToken])
    expect(stdout + stderr).not.toContain(secret);
  return said.parse(JSON.parse(stdout)).findings.filter(({ level, code }) => level !== "ok" && code !== "WEBHOOK_NEVER_CALLED");
}
async function running(config: string, url: string) {
  const relay = await serveRelay({ config, log: `${config}.log`, url });
  onTestFinished(() => relay.stop());
  return relay;
}
/** As Distribution would tell of a push to this address. */
async function deliver(url: string, secret: string, host = registry.host): Promise<number> {
  const target = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: `sha256:${"a".repeat(64)}`,
    repository: "deckhouse/modules/echo",
    tag: "main",
  };
  const body = JSON.stringify({ events: [{ id: "1", timestamp: new Date().toISOString(), action: "push", target, request: { host } }] });
  const headers = { authorization: `Bearer ${secret}`, "content-type": "application/vnd.docker.distribution.events.v1+json" };
  return (await fetch(url, { method: "POST", headers, body })).status;
}
const names = (wrong: readonly { code: string; where: string }[]) => wrong.map(({ code, where }) => `${code} ${where}`);

test("nothing is wrong with the set-up that the mistakes are made in", async () => {
  const file = await rightFile();
  const config = await save(file);
  await running(config, file.url);
  expect(await doctor(config)).toEqual([]);
});

test("the registry has another secret; another address; a name of its own", async () => {
  const file = await rightFile();
  const config = await save(file);
  await running(config, file.url);
  expect(await deliver(`${file.url}/hooks/registry`, WRONG)).toBe(401);
  const [refused] = await doctor(config);
  expect(refused).toMatchObject({
    level: "error",
    code: "DELIVERIES_REFUSED",
    where: "webhooks.registry",
    todo: expect.stringContaining("mpo-relay webhook registry"),
  });
  const printed = await mpoRelay(["webhook", "registry", "--url", file.url, "--config", config, "--show-secret"]);
  expect(printed.stdout).toContain(RIGHT);
  expect(await deliver(`${file.url}/hooks/registry`, RIGHT)).toBe(202);
  expect(await deliver(`${file.url}/hooks/regsitry`, RIGHT)).toBe(404);
  expect(await deliver(`${file.url}/hooks/registry`, RIGHT, "harbor.corp.example")).toBe(200);
  const wrong = await doctor(config);
  expect(wrong.map(({ level, code, where }) => `${level} ${code} ${where}`)).toEqual([
    "warning DELIVERIES_REFUSED webhooks.registry",
    "warning UNKNOWN_HOST webhooks.registry",
    "warning DELIVERIES_REFUSED webhooks",
  ]);
  expect(wrong.map(({ todo }) => todo).join("\n")).toMatch(/`aliases`[^]*\/hooks\/registry/);
});

test("a webhook of another provider: its deliveries are kept, and told; with the right one they are read after all", async () => {
  const file = await rightFile();
  const spoilt = await save({ ...file, webhooks: { registry: { provider: "harbor", secret: "file:hook.secret" } } });
  const relay = await running(spoilt, file.url);
  expect(await deliver(`${file.url}/hooks/registry`, RIGHT)).toBe(202);
  const [letters] = await doctor(spoilt);
  expect(letters).toMatchObject({ level: "warning", code: "DEAD_LETTERS", where: "unparsed", what: "1 dead letter" });
  const list = await mpoRelay(["dlq", "list", "--cluster", "unparsed", "--config", spoilt]);
  expect(list.stdout).toContain("its `provider` is that of another registry");
  await relay.stop();
  const mended = await save(file);
  await running(mended, file.url);
  expect(await mpoRelay(["dlq", "redrive", "--all", "--cluster", "unparsed", "--config", mended])).toMatchObject({ code: 0 });
  expect(await doctor(mended)).toEqual([]);
});

const statics: [
  string,
  (file: File) => Promise<NodeJS.ProcessEnv | void>,
  string[],
  RegExp,
  ((file: File) => Promise<NodeJS.ProcessEnv | void>) | null,
][] = [
  [
    "the uid of another cluster",
    async ({ clusters }) => void (clusters.dev["uid"] = "00000000-0000-4000-8000-000000000000"),
    ["OTHER_CLUSTER clusters.dev.uid"],
    /kubectl get namespace kube-system -o jsonpath/,
    async ({ clusters }) => void (clusters.dev["uid"] = await kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")),
  ],
  [
    "the authority of another cluster",
    async ({ clusters }) => {
      await write("other.crt", (await makeCertificates()).ca);
      clusters.dev.kubernetes["ca"] = "file:other.crt";
    },
    ["CLUSTER_UNREACHABLE clusters.dev.kubernetes"],
    /kubectl get configmap kube-root-ca\.crt/,
    async ({ clusters }) => void (clusters.dev.kubernetes["ca"] = "file:ca.crt"),
  ],
  [
    "an authority that has ended",
    async ({ clusters }) => {
      const past = (days: number) => new Date(Date.now() - days * 86_400_000);
      await write(
        "old.crt",
        (await generate([{ name: "commonName", value: "old" }], { keyType: "ec", notBeforeDate: past(9), notAfterDate: past(2) })).cert,
      );
      clusters.dev.kubernetes["ca"] = "file:old.crt";
    },
    ["CLUSTER_UNREACHABLE clusters.dev.kubernetes", "CERTIFICATE clusters.dev.kubernetes"],
    /kube-root-ca\.crt/,
    async ({ clusters }) => {
      await write(
        "today.crt",
        await kubectl(
          "config",
          "view",
          "--raw",
          "--flatten",
          "--minify",
          "-o",
          "jsonpath={.clusters[0].cluster.certificate-authority-data}",
        ).then((text) => Buffer.from(text, "base64").toString()),
      );
      clusters.dev.kubernetes["ca"] = "file:today.crt";
    },
  ],
  [
    "the address of the API server without its port",
    async ({ clusters }) => void (clusters.dev.kubernetes["server"] = "https://127.0.0.1"),
    ["CLUSTER_UNREACHABLE clusters.dev.kubernetes"],
    /is `server` right, with its port/,
    async ({ clusters }) => void (clusters.dev.kubernetes["server"] = cluster.kube.server),
  ],
  [
    "a repo with its scheme, and capitals: no mistake",
    async ({ sources }) => void Object.assign(sources[0] ?? {}, { repo: `https://${registry.host}/Deckhouse/modules/` }),
    [],
    /^$/,
    null,
  ],
  [
    "a repo with a wrong path",
    async ({ sources }) => void Object.assign(sources[0] ?? {}, { repo: `${registry.host}/deckhouse/module` }),
    ["IMAGE_MISSING sources[0].registry"],
    new RegExp(`kubectl get modulesource ${SOURCE} -o jsonpath`),
    async ({ sources }) =>
      void Object.assign(sources[0] ?? {}, { repo: await kubectl("get", "modulesource", SOURCE, "-o", "jsonpath={.spec.registry.repo}") }),
  ],
  [
    "a registry that wants a login, and none is given",
    async ({ sources }) => void Object.assign(sources[0] ?? {}, { registry: { plainHttp: true } }),
    ["REGISTRY_REFUSED sources[0].registry"],
    /asked anonymously: write username and password/,
    async ({ sources }) =>
      void Object.assign(sources[0] ?? {}, { registry: { plainHttp: true, username: ROBOT.username, password: "file:password" } }),
  ],
  [
    "a registry of plain HTTP, asked by https",
    async ({ sources }) => void Object.assign(sources[0] ?? {}, { registry: { username: ROBOT.username, password: "file:password" } }),
    ["REGISTRY_UNAVAILABLE sources[0].registry"],
    /plainHttp: true/,
    async ({ sources }) =>
      void Object.assign(sources[0] ?? {}, { registry: { plainHttp: true, username: ROBOT.username, password: "file:password" } }),
  ],
  [
    "a source with the name of no ModuleSource",
    async ({ sources }) => void Object.assign(sources[0] ?? {}, { name: "tset" }),
    ["OVERRIDE_UNSERVED clusters.dev"],
    new RegExp(`name: ${SOURCE}`),
    async ({ sources }) => void Object.assign(sources[0] ?? {}, { name: SOURCE }),
  ],
  [
    "/metrics on every address",
    async (file) => void (file["admin"] = { host: "0.0.0.0", port: file["admin"] }),
    ["ADMIN_OPEN admin"],
    /write `admin: \d+`/,
    async (file) => void (file["admin"] = z.object({ port: z.number() }).parse(file["admin"]).port),
  ],
  [
    "a token of somebody with no rights",
    async ({ clusters }) => {
      await write(
        "nobody.token",
        await cluster.kube.serviceAccountToken("kube-system", "default").catch(async () => {
          await kubectl("-n", "mpo-relay", "create", "serviceaccount", "nobody");
          return cluster.kube.serviceAccountToken("mpo-relay", "nobody");
        }),
      );
      clusters.dev.kubernetes["token"] = "file:nobody.token";
    },
    ["RIGHT_MISSING", "RIGHT_MISSING", "RIGHT_MISSING", "RIGHT_MISSING", "RIGHT_MISSING", "RIGHT_MISSING"].map(
      (code) => `${code} clusters.dev.kubernetes`,
    ),
    /take a token of system:serviceaccount:mpo-relay:mpo-relay/,
    async ({ clusters }) => void (clusters.dev.kubernetes["token"] = "file:token"),
  ],
];

test.each(statics)("%s", async (_what, plant, expected, todo, mend) => {
  const file = await rightFile();
  const env = (await plant(file)) ?? {};
  const config = await save(file);
  const relay = await running(config, file.url);
  const wrong = await doctor(config, env);
  expect(names(wrong)).toEqual(expected);
  if (expected.length > 0) expect(wrong.map((each) => each.todo).join("\n")).toMatch(todo);
  await relay.stop();
  if (!mend) return;
  const again = (await mend(file)) ?? {};
  const mended = await save(file);
  await running(mended, file.url);
  expect(await doctor(mended, again)).toEqual([]);
});

test("a registry whose clock is three minutes behind", async () => {
  const target = new URL(`http://${registry.host}`);
  const proxy = createServer((request, response) => {
    const { headers, method, url } = request;
    const sent = requestHttp(
      { host: target.hostname, port: target.port, method, path: url, headers: { ...headers, host: registry.host } },
      (answer) => {
        response.writeHead(answer.statusCode ?? 500, { ...answer.headers, date: new Date(Date.now() - 180_000).toUTCString() });
        answer.pipe(response);
      },
    );
    request.pipe(sent);
  });
  const port = await freePort();
  await new Promise<void>((resolve) => proxy.listen(port, "127.0.0.1", resolve));
  onTestFinished(() => void proxy.close());
  const file = await rightFile();
  Object.assign(file.sources[0] ?? {}, { repo: `127.0.0.1:${port}/deckhouse/modules` });
  const config = await save(file);
  await running(config, file.url);
  expect(await doctor(config)).toMatchObject([
    {
      level: "warning",
      code: "CLOCK_SKEW",
      where: "sources[0].registry",
      what: expect.stringMatching(/is (?:3 min|17\d s|2 min).* behind/),
      todo: expect.stringContaining("timedatectl"),
    },
  ]);
});

test("queues of SQS: without a redrive policy, of a name that is not there, and a hub's token that does not fit", async () => {
  const { url, deadLetterUrl } = await elasticmq.createQueue("mistakes");
  const file = await rightFile();
  const { unparsed } = { unparsed: `embedded:./data-${count++}` };
  const withQueue = async (queue: string, more: object = {}) => {
    Object.assign(file.clusters.dev, { queue, ...more });
    return save({ ...file, unparsed, journal: "off", webhooks: {}, admin: null });
  };
  const isAbout = (each: { where: string }) => each.where.startsWith("clusters.dev");
  const found = async (config: string) => (await doctor(config)).filter(isAbout);
  expect(await found(await withQueue(url))).toEqual([]);
  expect(await found(await withQueue(deadLetterUrl))).toMatchObject([
    { code: "NO_DEAD_LETTERS", todo: expect.stringContaining("redrive policy (deadLetterTargetArn, maxReceiveCount 10)") },
  ]);
  expect(await found(await withQueue(`${url}-typo`))).toMatchObject([
    { code: "QUEUE_UNAVAILABLE", todo: expect.stringContaining("QueueDoesNotExist for another URL") },
  ]);

  const hubPort = await freePort();
  const lender = await rightFile();
  const clusters = { dev: { queue: lender.clusters.dev["queue"], hubToken: "file:hub.token" } };
  const config = await save({ ...lender, clusters, hub: { listen: `127.0.0.1:${hubPort}` } });
  await running(config, lender.url);
  const hub = `hub:http://127.0.0.1:${hubPort}`;
  const mismatch = await doctor(await withQueue(hub, { hubToken: "file:other.token" }));
  expect(mismatch.filter(isAbout)).toMatchObject([
    { code: "QUEUE_REFUSED", todo: expect.stringContaining("compare hubToken here with hubToken (or previousHubToken)") },
  ]);
  expect(await found(await withQueue(hub, { hubToken: "file:hub.token" }))).toEqual([]);
});

test("RBAC that lacks list, and a cluster without the definition", async () => {
  const file = await rightFile();
  const config = await save(file);
  await running(config, file.url);
  const role = await kubectl("get", "clusterrole", "mpo-relay", "-o", "json");
  const lists = (text: string) => text.replace(/"list",?\s*/, "");
  await write("less.json", lists(role));
  await kubectl("apply", "-f", at("less.json"));
  const [missing] = await eventually("the right is missed", async () => ((await doctor(config)).length === 1 ? doctor(config) : null));
  expect(missing).toMatchObject({ level: "warning", code: "RIGHT_MISSING", what: expect.stringContaining("list modulepulloverrides") });
  await kubectl("apply", "-k", join(import.meta.dirname, "../../infra/cluster/base"));
  await eventually("the remedy works", async () => ((await doctor(config)).length === 0 ? true : null));
  const definition = await kubectl("get", "crd", "modulepulloverrides.deckhouse.io", "-o", "json");
  const echo = await kubectl("get", "modulepulloverride", "echo", "-o", "json");
  await kubectl("delete", "crd", "modulepulloverrides.deckhouse.io");
  const [gone] = await eventually("the definition is gone", async () => ((await doctor(config)).length > 0 ? doctor(config) : null));
  expect(gone).toMatchObject({
    level: "error",
    code: "API_VERSION_GONE",
    where: "clusters.dev.kubernetes",
    todo: expect.stringContaining("kubectl get crd"),
  });
  await write("definition.json", definition);
  await kubectl("create", "-f", at("definition.json"));
  await write("echo.json", echo);
  await eventually("overrides can be written", () =>
    kubectl("apply", "-f", at("echo.json")).then(
      () => true,
      () => null,
    ),
  );
  await eventually("it is served again", async () => ((await doctor(config)).length === 0 ? true : null));
});

test("an override that its definition does not allow any more, beside one that is polled", async () => {
  const name = "modulepulloverrides.deckhouse.io";
  const strict = await kubectl("get", "crd", name, "-o", "json");
  const anything = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  const versions = z.object({ spec: z.object({ versions: z.array(z.looseObject({})) }) }).parse(JSON.parse(strict)).spec.versions;
  await kubectl(
    "patch",
    "crd",
    name,
    "--type=json",
    "-p",
    JSON.stringify(versions.map((_, n) => ({ op: "replace", path: `/spec/versions/${n}/schema/openAPIV3Schema`, value: anything }))),
  );
  const override = (module: string, spec: object) =>
    JSON.stringify({ apiVersion: "deckhouse.io/v1alpha2", kind: "ModulePullOverride", metadata: { name: module }, spec });
  await write("odd.json", override("odd", { scanInterval: "24h" }));
  await eventually("the definition allows everything", () =>
    kubectl("apply", "-f", at("odd.json")).then(
      () => true,
      () => null,
    ),
  );
  await write("strict.json", strict);
  await kubectl("replace", "--force=false", "-f", at("strict.json")).catch(async () => {
    const back = versions.map(({ schema }, n) => ({ op: "replace", path: `/spec/versions/${n}/schema`, value: schema }));
    await kubectl("patch", "crd", name, "--type=json", "-p", JSON.stringify(back));
  });
  await write("polled.json", override("polled", { imageTag: "main", scanInterval: "15s" }));
  await kubectl("apply", "-f", at("polled.json"));

  const file = await rightFile();
  const config = await save({
    ...file,
    sources: file.sources.map((source) => ({ ...source, modules: ["echo", "odd", "polled"] })),
    tuning: { sweep: "1m" },
  });
  const relay = await running(config, file.url);
  const wrong = await doctor(config);
  expect(wrong.filter(({ code }) => code !== "POLLING")).toMatchObject([
    {
      level: "error",
      code: "OVERRIDE_UNREADABLE",
      what: expect.stringMatching(/odd .*spec\.imageTag/),
      todo: expect.stringContaining("kubectl edit mpo odd"),
    },
  ]);
  expect(wrong.find(({ code }) => code === "POLLING")?.what).toContain("polled (15s)");
  const alarm = await eventually("the sweep names it", async () => (await relay.lines()).find((line) => line.alarm === "INVALID") ?? null);
  expect(alarm).toMatchObject({ module: "odd", cluster: "dev" });
  expect((await relay.lines()).find(({ outcome }) => outcome === "SWEPT")).toMatchObject({ overrides: 3 });
  // a push that matches it ends in something open, and what doctor says mends it
  const body = JSON.stringify({
    events: [
      {
        id: "2",
        timestamp: new Date().toISOString(),
        action: "push",
        target: {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: `sha256:${"b".repeat(64)}`,
          repository: "deckhouse/modules/odd",
          tag: "main",
        },
        request: { host: registry.host },
      },
    ],
  });
  const headers = { authorization: `Bearer ${RIGHT}`, "content-type": "application/vnd.docker.distribution.events.v1+json" };
  expect((await fetch(`${file.url}/hooks/registry`, { method: "POST", headers, body })).status).toBe(202);
  const letters = async () => (await mpoRelay(["dlq", "list", "--each", "--cluster", "dev", "--config", config])).stdout;
  await eventually("it is a dead letter", async () => ((await letters()).includes("INVALID") ? true : null));
  await kubectl("patch", "modulepulloverride", "odd", "--type=merge", "-p", '{"spec":{"imageTag":"main"}}');
  expect(await mpoRelay(["dlq", "redrive", "--all", "--code", "INVALID", "--config", config])).toMatchObject({ code: 0 });
  await eventually("it is nudged", async () =>
    (await relay.lines()).some((line) => line.outcome === "NUDGED" && line["module"] === "odd") ? true : null,
  );
  expect((await doctor(config)).map(({ code }) => code)).not.toContain("OVERRIDE_UNREADABLE");
  await kubectl("delete", "modulepulloverride", "odd", "polled");
});

test("a source that is taken out while overrides of it are adopted: doctor tells, and the sweep lets Deckhouse poll again", async () => {
  const mark = JSON.stringify({ was: "15s", set: "12h", paused: null });
  const seen = async () => kubectl("get", "modulepulloverride", "echo", "-o", "jsonpath={.spec.scanInterval}");
  await kubectl(
    "patch",
    "modulepulloverride",
    "echo",
    "--type=merge",
    "-p",
    JSON.stringify({ metadata: { annotations: { "mpo-relay/scan-interval": mark } }, spec: { scanInterval: "12h" } }),
  );
  const file = await rightFile();
  const other = { ...file.sources[0], repo: `${registry.host}/other`, name: "other" };
  const off = await save({ ...file, sources: [other] });
  const relay = await running(off, file.url);
  expect(await doctor(off)).toMatchObject([
    { level: "warning", code: "OVERRIDE_UNSERVED" },
    {
      level: "error",
      code: "ADOPTED_UNSERVED",
      what: expect.stringContaining("echo (12h)"),
      todo: expect.stringContaining("mpo-relay restore echo --cluster dev"),
    },
  ]);
  await relay.stop();
  // marked by a nudge for the source that went: the sweep knows
  const pushed = JSON.stringify({ webhook: "registry", tag: "main", source: SOURCE, time: null, received: new Date().toISOString() });
  const nudge = { "mpo-relay/key": "aaaaaaaaaaaa", "mpo-relay/at": new Date().toISOString(), "mpo-relay/pushed": pushed };
  await kubectl("patch", "modulepulloverride", "echo", "--type=merge", "-p", JSON.stringify({ metadata: { annotations: nudge } }));
  const sweeping = await save({ ...file, sources: [other], tuning: { sweep: "1m" } });
  const swept = await running(sweeping, file.url);
  const line = await eventually(
    "the sweep puts it back",
    async () => (await swept.lines()).find(({ outcome }) => outcome === "RESTORED") ?? null,
  );
  expect(line).toMatchObject({ module: "echo", why: "scanInterval 12h → 15s: no source of the configuration serves it any more" });
  expect(await seen()).toBe("15s");
  expect((await doctor(sweeping)).map(({ code }) => code)).not.toContain("ADOPTED_UNSERVED");
  await kubectl(
    "annotate",
    "modulepulloverride",
    "echo",
    ...["mpo-relay/scan-interval", "mpo-relay/key", "mpo-relay/at", "mpo-relay/pushed"].map((name) => `${name}-`),
  );
  await kubectl("patch", "modulepulloverride", "echo", "--type=merge", "-p", '{"spec":{"scanInterval":"24h"}}');
});

test("a client certificate of a kubeconfig that has ended, and an issuer whose keys cannot be had", async () => {
  const past = (days: number) => new Date(Date.now() - days * 86_400_000);
  const ended = await generate([{ name: "commonName", value: "relay" }], { keyType: "ec", notBeforeDate: past(9), notAfterDate: past(2) });
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const kubeconfig = {
    "current-context": "dev",
    clusters: [{ name: "dev", cluster: { server: cluster.kube.server, "certificate-authority-data": base64(cluster.kube.ca) } }],
    users: [{ name: "dev", user: { "client-certificate-data": base64(ended.cert), "client-key-data": base64(ended.private) } }],
    contexts: [{ name: "dev", context: { cluster: "dev", user: "dev" } }],
  };
  await write("kubeconfig", stringify(kubeconfig));
  await write("keys.json", "a-file-that-holds-something-else");
  const file = await rightFile();
  const oidc = { issuer: "https://gitlab.example.com", audience: "mpo-relay", subject: ["project_path:modules/*"], keys: "file:keys.json" };
  const config = await save({
    ...file,
    webhooks: { ...file.webhooks, ci: { provider: "generic", auth: "oidc", oidc } },
    clusters: { dev: { queue: file.clusters.dev["queue"], uid, kubernetes: { kubeconfig: "kubeconfig" } } },
  });
  await running(config, file.url);
  const wrong = await doctor(config);
  expect(names(wrong)).toEqual([
    "KEYS_UNAVAILABLE webhooks.ci.oidc",
    "FORBIDDEN clusters.dev.kubernetes", // this API server knows no authority for clients; others answer 401
    "CERTIFICATE clusters.dev.kubernetes",
  ]);
  expect(JSON.stringify(wrong)).not.toContain("a-file-that-holds");
  expect(wrong.at(1)?.todo).toContain("takes us for nobody");
  expect(wrong.at(-1)?.what).toContain("its client certificate ended 2 d ago");
});
