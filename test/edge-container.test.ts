/**
 * `mpo-relay serve` as an edge alone, in a container without a disk: clusters without `kubernetes`, queues of an SQS-compatible service at an
 * address and with URLs of its own, everything in variables. As infra/yandex-cloud.md sets it up; the service here is fauxqs. A worker of
 * another process takes the records from there.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startFauxqs } from "fauxqs";
import { expect, onTestFinished, test } from "vitest";
import { startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { freePort } from "./e2e/parts/child.ts";
import { countCalls } from "./support/counting.ts";
import { until } from "./support/wait.ts";

const SECRET = "a-secret-that-no-log-may-hold";
const program = join(import.meta.dirname, "../dist/cli.js");
const queueAt = (name: string) => `https://message-queue.api.cloud.yandex.net/b1g0000000000example/dj600000000example/${name}`;

test("takes a push, stores it by the service's own URLs and region, and leaves nothing on the disk; a worker elsewhere nudges", async () => {
  const sqs = await startFauxqs({ port: 0, logger: false });
  onTestFinished(() => sqs.stop());
  const own = new Map<string, string>();
  for (const name of ["dev", "dev-dead", "unparsed"]) own.set(queueAt(name), sqs.createQueue(name).queueUrl);
  const service = await countCalls(`http://127.0.0.1:${sqs.port}`, (body) =>
    body.replace(/"QueueUrl":"([^"]+)"/, (_all, url: string) => `"QueueUrl":${JSON.stringify(own.get(url) ?? "unknown")}`),
  );
  onTestFinished(() => service.close());
  const api = await startKubernetesApi({ token: SECRET });
  onTestFinished(() => api.close());
  api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main" } });

  const port = await freePort();
  const cluster = { queue: queueAt("dev"), deadLetters: queueAt("dev-dead"), endpoint: service.endpoint };
  const edge = await start(["serve"], {
    webhooks: { pipelines: { provider: "generic", auth: "token", secret: "env:PIPELINES_SECRET" } },
    sources: [{ repo: "registry.example.com/modules" }],
    clusters: { dev: cluster },
    unparsed: "env:UNPARSED_QUEUE",
    listen: { host: "127.0.0.1", port },
  });
  const readyz = () => fetch(`http://127.0.0.1:${port}/readyz`).then(({ status }) => status);
  await until(() => readyz().catch(() => 0)).toBe(200);
  const body = JSON.stringify({ repository: "registry.example.com/modules/echo", tag: "main" });
  const answer = await fetch(`http://127.0.0.1:${port}/hooks/pipelines`, {
    method: "POST",
    headers: { authorization: `Bearer ${SECRET}` },
    body,
  });
  expect(await answer.json()).toMatchObject({ decision: "queued" });
  expect(service.calls.map(({ action }) => action)).not.toContain("ReceiveMessage");
  expect(service.calls).toContainEqual({
    action: "SendMessageBatch",
    authorization: expect.stringContaining("/ru-central1/sqs/aws4_request"),
    body: expect.stringContaining(queueAt("dev")),
  });
  expect(await readdir(edge.folder)).toEqual([]);

  const kubernetes = { server: api.url, ca: "env:CLUSTER_CA", token: "env:PIPELINES_SECRET" };
  const worker = await start(["worker", "--cluster", "dev"], { clusters: { dev: { ...cluster, kubernetes } } }, { CLUSTER_CA: api.ca });
  await until(() => ({ ...api.store.get("modulepulloverrides", "echo")?.metadata.annotations, log: worker.output() })).toHaveProperty(
    "renew",
  );
  expect(service.calls).toContainEqual(
    expect.objectContaining({ action: "ReceiveMessage", body: expect.stringContaining(queueAt("dev")) }),
  );
  for (const { output } of [edge, worker]) expect(output()).not.toContain(SECRET);

  async function start(command: readonly string[], config: object, env: Readonly<Record<string, string>> = {}) {
    const folder = await mkdtemp(join(tmpdir(), "relay-container-"));
    const variables = {
      AWS_ACCESS_KEY_ID: "static-key",
      AWS_SECRET_ACCESS_KEY: "static-secret",
      AWS_ENDPOINT_URL_SQS: service.endpoint, // for the queue of unread deliveries, which has no `endpoint:` of its own
      PIPELINES_SECRET: SECRET,
      UNPARSED_QUEUE: queueAt("unparsed"),
      MPO_RELAY_CONFIG: JSON.stringify(config),
      ...env,
    };
    const child = spawn(process.execPath, [program, ...command], { cwd: folder, env: variables, stdio: ["ignore", "pipe", "pipe"] });
    let written = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (written += chunk.toString()));
    const ended = new Promise<void>((resolve) => void child.once("exit", () => resolve()));
    onTestFinished(async () => {
      child.kill("SIGKILL");
      await ended;
      await rm(folder, { recursive: true });
    });
    return { folder, output: () => written };
  }
});
