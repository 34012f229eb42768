/** The built edge for Cloudflare Workers under workerd, Cloudflare's own runtime, its queues in ElasticMQ. */
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { openSqs } from "../../src/queue/sqs.ts";
import { digestOf, notificationOf } from "../support/lambda-events.ts";
import { ELASTICMQ_ENV, startElasticMq } from "./parts/elasticmq.ts";
import { startWorker, type Worker } from "./parts/workerd.ts";
import { eventually } from "./wait.ts";

const ROOT = join(import.meta.dirname, "../..");
const BUNDLE = join(ROOT, "dist/workers/edge.mjs");
const REPO = "registry.example.com/deckhouse/modules";
const [SECRET, NEXT_SECRET, HMAC_SECRET] = ["a-secret-of-the-workers-scenario", "the-secret-after-it", "a-secret-that-signs"];
const take = { max: 10, waitSeconds: 5, visibilitySeconds: 60 };

const webhooks = {
  registry: { provider: "distribution", secret: "env:HOOK_SECRET" },
  signed: { provider: "generic", auth: "hmac", secret: "env:HMAC_SECRET" },
};
const configOf = (part: object = {}) => ({
  webhooks,
  sources: [{ repo: REPO, name: "test" }],
  clusters: { dev: { queue: "env:MPO_RELAY_QUEUE" } },
  unparsed: "env:MPO_RELAY_UNPARSED",
  limits: { body: "64KiB" },
  ...part,
});

/** As infra/workers/wrangler.jsonc has it. */
async function compatibilityDate(): Promise<string> {
  const text = await readFile(join(ROOT, "infra/workers/wrangler.jsonc"), "utf8");
  return /"compatibility_date": "(\d{4}-\d{2}-\d{2})"/.exec(text)?.[1] ?? expect.fail("no compatibility date");
}

async function start(config: object, bindings: Readonly<Record<string, string>>, { asText = false } = {}): Promise<Worker> {
  const keys = { ...ELASTICMQ_ENV, HOOK_SECRET: SECRET, HMAC_SECRET, ...bindings };
  const worker = await startWorker({
    bundle: BUNDLE,
    compatibilityDate: await compatibilityDate(),
    bindings: asText ? { ...keys, MPO_RELAY_CONFIG: JSON.stringify(config) } : keys,
    json: asText ? {} : { MPO_RELAY_CONFIG: config },
  });
  onTestFinished(() => worker.stop());
  return worker;
}

async function startQueues() {
  const queues = await startElasticMq();
  onTestFinished(() => queues.stop());
  const [dev, unparsed] = [await queues.createQueue("dev"), await queues.createQueue("unparsed")];
  const opened = { dev: openSqs({ url: dev.url }), unparsed: openSqs({ url: unparsed.url, deadLettersUrl: unparsed.url }) };
  onTestFinished(async () => void (await Promise.all([opened.dev.close(), opened.unparsed.close()])));
  return { ...opened, queues, bindings: { MPO_RELAY_QUEUE: dev.url, MPO_RELAY_UNPARSED: unparsed.url } };
}

async function post(worker: Worker, path: string, body: string, headers: Readonly<Record<string, string>>) {
  const answer = await fetch(`${worker.url}${path}`, { method: "POST", body, headers: { "content-type": "application/json", ...headers } });
  return { status: answer.status, retryAfter: answer.headers.get("retry-after"), body: await answer.text() };
}
/** A queue server that has only just started may be slower than a sender's patience: then 503, and the sender tries again. So records may come twice. */
const accepted = (send: () => Promise<{ status: number; body: string }>) =>
  eventually("a 202", async () => {
    const { status, body } = await send();
    if (status !== 503) expect(status).toBe(202);
    return status === 202 ? body : null;
  });
const notify = (worker: Worker, module: string, secret = SECRET) =>
  post(worker, "/hooks/registry", notificationOf(module), { authorization: `Bearer ${secret}` });

test("a push is stored, whatever proves its sender, and nothing else is", async () => {
  const { dev, bindings } = await startQueues();
  const worker = await start(configOf(), bindings);
  expect((await fetch(`${worker.url}/readyz`)).status).toBe(200);

  const stored = await accepted(() => notify(worker, "echo"));
  const { key } = z.object({ decision: z.literal("queued"), key: z.string() }).parse(JSON.parse(stored));
  const body = JSON.stringify({ repository: `${REPO}/other`, tag: "main" });
  const signature = (secret: string) => ({ "x-signature-256": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}` });
  await accepted(() => post(worker, "/hooks/signed", body, signature(HMAC_SECRET)));

  expect(await post(worker, "/hooks/signed", body, signature("another"))).toMatchObject({ status: 401, body: "" });
  expect(await post(worker, "/hooks/signed", `${body} `, signature(HMAC_SECRET))).toMatchObject({ status: 401, body: "" });
  expect(await notify(worker, "echo", "another")).toMatchObject({ status: 401, body: "" });
  expect(await post(worker, "/hooks/none", body, {})).toMatchObject({ status: 404, body: "" });
  const large = await post(worker, "/hooks/registry", "x".repeat(64 * 1024 + 1), { authorization: `Bearer ${SECRET}` });
  expect(large.status).toBe(413);

  const requests = new Map<string, unknown>();
  await eventually("both records", async () => {
    for (const { body: text } of await dev.receive(take)) {
      const { module, ...request } = z.looseObject({ module: z.string() }).parse(JSON.parse(text));
      requests.set(module, request);
    }
    return requests.size >= 2 ? true : null;
  });
  expect(Object.fromEntries(requests)).toEqual({
    echo: expect.objectContaining({ kind: "renew", cluster: "dev", tag: "main", digest: digestOf("echo"), key }),
    other: expect.objectContaining({ kind: "renew", cluster: "dev", tag: "main", digest: null }),
  });
  for (const secret of [SECRET, HMAC_SECRET]) expect(await worker.output()).not.toContain(secret);
  expect(await worker.output()).toMatch(/"outcome":"QUEUED"/);
});

test("a delivery that cannot be read is kept raw", async () => {
  const { unparsed, bindings } = await startQueues();
  const worker = await start(configOf(), bindings, { asText: true });
  const answer = await accepted(() => post(worker, "/hooks/registry", "no JSON", { authorization: `Bearer ${SECRET}` }));
  expect(answer).toContain(`"decision":"unparsed"`);
  const { letters } = await unparsed.deadLetters.list(10);
  expect(letters).toContainEqual(expect.objectContaining({ code: "UNPARSED" }));
  expect(JSON.stringify(letters)).not.toContain(SECRET);
});

test("while the queue is silent or gone, the sender is asked to try again, and a 202 comes of no other answer than the queue's", async () => {
  const { dev, queues, bindings } = await startQueues();
  const worker = await start(configOf(), bindings);
  await accepted(() => notify(worker, "before"));
  const { pid } = queues.service();
  process.kill(pid, "SIGSTOP");
  expect(await notify(worker, "silent")).toMatchObject({ status: 503, retryAfter: "5" });
  expect(await post(worker, "/hooks/registry", "no JSON", { authorization: `Bearer ${SECRET}` })).toMatchObject({ status: 503 });
  process.kill(pid, "SIGCONT");
  await accepted(() => notify(worker, "after"));
  const modules = new Set<string>();
  await eventually("what was answered 202 lies there", async () => {
    for (const { body } of await dev.receive(take)) modules.add(z.object({ module: z.string() }).parse(JSON.parse(body)).module);
    return modules.has("before") && modules.has("after") ? true : null;
  });
  await queues.service().stop();
  expect(await notify(worker, "gone")).toMatchObject({ status: 503, retryAfter: "5" });
  expect((await fetch(`${worker.url}/readyz`)).status).toBe(503);
  expect(await worker.output()).toMatch(/"why":"SQS SendMessageBatch: TimeoutError"/);
});

test("a secret is changed without a gap: both count, then the new one alone", async () => {
  const { bindings } = await startQueues();
  const rotating = { registry: { ...webhooks.registry, secret: "env:NEXT_SECRET", previousSecret: "env:HOOK_SECRET" } };
  const both = await start(configOf({ webhooks: rotating }), { ...bindings, NEXT_SECRET });
  await accepted(() => notify(both, "echo", NEXT_SECRET));
  await accepted(() => notify(both, "echo", SECRET));
  expect(await both.output()).toContain(`"alarm":"OLD_SECRET"`);
  const renewed = await start(configOf(), { ...bindings, HOOK_SECRET: NEXT_SECRET });
  await accepted(() => notify(renewed, "echo", NEXT_SECRET));
  expect((await notify(renewed, "echo", SECRET)).status).toBe(401);
});

test("an issuer's tokens are checked with keys that the Worker fetches, request after request", async () => {
  const { bindings } = await startQueues();
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "key-1", alg: "RS256" }] });
  const issuer = createServer((_request, answer) => void answer.setHeader("content-type", "application/json").end(keys)).listen(
    0,
    "127.0.0.1",
  );
  await once(issuer, "listening");
  onTestFinished(() => void issuer.close());
  const address = issuer.address();
  const url = `http://127.0.0.1:${typeof address === "object" && address ? address.port : expect.fail("no port")}`;
  const oidc = { issuer: url, audience: "relay", subject: "project_path:team/*", keys: `${url}/keys` };
  const worker = await start(configOf({ webhooks: { jobs: { provider: "generic", auth: "oidc", oidc } } }), bindings);
  const announce = async (subject: string) => {
    const token = new SignJWT({})
      .setProtectedHeader({ alg: "RS256", kid: "key-1" })
      .setIssuer(url)
      .setAudience("relay")
      .setSubject(subject);
    const signed = await token.setIssuedAt().setExpirationTime("5m").sign(privateKey);
    const body = JSON.stringify({ repository: `${REPO}/echo`, tag: "main" });
    return post(worker, "/hooks/jobs", body, { authorization: `Bearer ${signed}` });
  };
  await accepted(() => announce("project_path:team/one"));
  const [stranger] = await Promise.all([
    announce("project_path:strangers/one"),
    accepted(() => announce("project_path:team/two")),
    accepted(() => announce("project_path:team/three")),
  ]);
  expect(stranger).toMatchObject({ status: 401, body: "" });
});

test.each([
  [
    "a secret in a file",
    { webhooks: { registry: { ...webhooks.registry, secret: "file:hook.secret" } } },
    "webhooks.registry: a Worker's secrets are its own bindings",
  ],
  [
    "a parameter of AWS",
    { webhooks: { registry: { ...webhooks.registry, secret: "ssm:/hook" } } },
    "webhooks.registry: a Worker's secrets are its own bindings",
  ],
  ["an embedded queue", { clusters: { dev: { queue: "embedded:" } } }, "clusters.dev.queue: a Worker reaches queues of SQS alone"],
  ["a journal", { journal: "dynamodb:journal" }, "journal: a Worker writes none"],
  ["a wrong configuration", { clusters: {} }, "there is no cluster"],
  ["a queue's variable that is not set", { unparsed: "env:NOT_SET" }, "variable NOT_SET is not set"],
])("does not start with %s, and says why", async (_what, part, text) => {
  const queue = "http://127.0.0.1:9/1/dev";
  await expect(start(configOf(part), { MPO_RELAY_QUEUE: queue, MPO_RELAY_UNPARSED: `${queue}-unparsed` })).rejects.toThrow(text);
});
