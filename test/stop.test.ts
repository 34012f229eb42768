/** SIGTERM to the built program with records in hand, at an API server that never answers them: it ends in good order within what a container is given. */
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openFolder } from "../src/queue/folder.ts";
import { makeCertificates } from "../src/sandbox/kubernetes/certificates.ts";
import { startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { freePort } from "./e2e/parts/child.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const PUSHES = 5;
/** As Docker does: SIGKILL ten seconds after SIGTERM. Who needs that did not stop. */
const KILLED_AFTER_MS = 10_000;

async function folderWith(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "relay-stop-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 });
  return folder;
}

function start(command: string, config: string, ...more: readonly string[]) {
  const args = ["dist/cli.js", command, "--config", config, ...more];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let log = "";
  const ended = new Promise<{ code: number | null }>((resolve) => child.once("exit", (code) => resolve({ code })));
  child.stdout.on("data", (chunk: Buffer) => (log += chunk.toString()));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const told = async (text: string) => {
    await expect.poll(() => log, { timeout: 20_000 }).toContain(text);
  };
  const stop = async () => {
    child.kill("SIGTERM");
    const killing = setTimeout(() => child.kill("SIGKILL"), KILLED_AFTER_MS);
    const { code } = await ended;
    clearTimeout(killing);
    expect({ code, log }).toEqual({ code: 0, log: expect.stringContaining('"outcome":"STOPPED"') });
  };
  return { told, stop };
}

async function push(port: number): Promise<void> {
  for (let nth = 0; nth < PUSHES; nth++) {
    const body = JSON.stringify({ repository: `registry.example.com/modules/module-${nth}`, tag: "main" });
    const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };
    const answer = await fetch(`http://127.0.0.1:${port}/hooks/pipelines`, { method: "POST", headers, body });
    expect(await answer.json()).toMatchObject({ decision: "queued" });
  }
}

const edge = (port: number) => ({
  webhooks: { pipelines: { provider: "generic", auth: "token", secret: "file:pipelines.secret" } },
  sources: [{ repo: "registry.example.com/modules", name: "test" }],
  listen: { host: "127.0.0.1", port },
});

/** All requests from now on come to nothing, those that were on their way counted. */
async function silentApi() {
  const api = await startKubernetesApi({ token: "of-the-relay" });
  onTestFinished(() => api.close());
  for (let nth = 0; nth < PUSHES; nth++) {
    api.store.create("modulepulloverrides", { metadata: { name: `module-${nth}` }, spec: { imageTag: "main" } });
  }
  const before = () => api.counters().requests;
  return {
    files: { "ca.crt": api.ca, token: api.token, "pipelines.secret": SECRET },
    kubernetes: { server: api.url, ca: "file:ca.crt", token: "file:token" },
    silence: async (work: () => Promise<void>) => {
      const seen = before();
      api.faults.next(1000, "hang");
      await work();
      await expect.poll(before, { timeout: 20_000 }).toBeGreaterThan(seen); // a record is in hand
    },
  };
}

const waiting = async (folder: string) => {
  const queue = await openFolder(join(folder, "data"), "dev");
  const { records } = await queue.depth();
  await queue.close();
  return records;
};

test("serve", async () => {
  const { files, kubernetes, silence } = await silentApi();
  const port = await freePort();
  const config = { ...edge(port), clusters: { dev: { queue: "embedded:./data", kubernetes } } };
  const folder = await folderWith({ ...files, "relay.json": JSON.stringify(config) });
  const serve = start("serve", join(folder, "relay.json"));
  await serve.told('"outcome":"STARTED"');
  await silence(() => push(port));
  await serve.stop();
  expect(await waiting(folder)).toBe(PUSHES);
}, 60_000);

test("a worker at a hub", async () => {
  const { files, kubernetes, silence } = await silentApi();
  const { ca, cert, key } = await makeCertificates();
  const [port, hubPort] = [await freePort(), await freePort()];
  const hubToken = "file:hub.token";
  const hub = { listen: `127.0.0.1:${hubPort}`, certificate: "file:hub.crt", key: "file:hub.key" };
  const lent = { ...edge(port), hub, clusters: { dev: { queue: "embedded:./data", hubToken } } };
  const borrowed = { clusters: { dev: { queue: `hub:https://127.0.0.1:${hubPort}`, hubToken, hubCa: "file:hub-ca.crt", kubernetes } } };
  const folder = await folderWith({
    ...files,
    "hub.crt": cert,
    "hub.key": key,
    "hub-ca.crt": ca,
    "hub.token": SECRET,
    "relay.json": JSON.stringify(lent),
    "worker.json": JSON.stringify(borrowed),
  });
  const serve = start("serve", join(folder, "relay.json"));
  await serve.told('"outcome":"STARTED"');
  const worker = start("worker", join(folder, "worker.json"), "--cluster", "dev");
  await worker.told('"outcome":"STARTED"');
  await silence(() => push(port));
  await worker.stop();
  await serve.stop();
  expect(await waiting(folder)).toBe(PUSHES);
}, 60_000);
