/** infra/cluster/token by the real kubectl in a real API server, and its job's process with what a pod would have. The store beside it is a stand-in: there is no AWS here. */
import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as z from "zod";
import { listen, type Listening } from "../../src/listen.ts";
import { type Kubectl, openKubectl } from "./parts/kubectl.ts";
import { asPod } from "./parts/pod.ts";
import { startWorld, type World } from "./world.ts";

const infra = join(import.meta.dirname, "../../infra/cluster");
const CLI = join(import.meta.dirname, "../../dist/cli.js");
const NAMESPACE = "mpo-relay";

let world: World;
let kubectl: Kubectl;
let store: Listening;
/** Parameters as they were put, under the names that the requests gave. */
const parameters = new Map<string, string>();
const stops: (() => Promise<void>)[] = [];

const put = z.object({ Name: z.string(), Value: z.string(), Type: z.literal("SecureString"), Overwrite: z.literal(true) });
beforeAll(async () => {
  world = await startWorld({ modules: ["echo"], quiet: true, seeded: true });
  stops.push(() => world.stop());
  const opened = await openKubectl(world.cluster.kube);
  stops.push(opened.close);
  kubectl = opened.kubectl;
  const fetch = async (request: Request) => {
    const { Name, Value } = put.parse(await request.json());
    parameters.set(Name, Value);
    return Response.json({ Version: 1 }, { headers: { "content-type": "application/x-amz-json-1.1" } });
  };
  store = await listen({ fetch, host: "127.0.0.1", port: 0, setting: "test" });
  stops.push(() => store.stop());
  await kubectl("apply", "-k", join(infra, "base"), "--validate=strict");
}, 120_000);
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

const template = z.object({
  spec: z.looseObject({
    serviceAccountName: z.string(),
    containers: z.tuple([z.looseObject({ args: z.array(z.string()), env: z.array(z.object({ name: z.string(), value: z.string() })) })]),
  }),
});
const cronJob = z.object({ spec: z.object({ jobTemplate: z.object({ spec: z.object({ template }) }) }) });
const jobsPod = async () =>
  cronJob.parse(JSON.parse(await kubectl("get", "cronjob", "mpo-relay-token", "-n", NAMESPACE, "-o", "json"))).spec.jobTemplate.spec
    .template;

/** Runs the job's container, with its arguments and variables, as the service account that its pod has. */
async function runJob(folder: string): Promise<{ stdout: string; stderr: string }> {
  const { spec } = await jobsPod();
  const at = join(world.folder, folder);
  await mkdir(at);
  const token = await world.cluster.kube.serviceAccountToken(NAMESPACE, spec.serviceAccountName);
  const pod = await asPod({ folder: at, kube: world.cluster.kube, token, secrets: {} });
  const [{ args, env }] = spec.containers;
  const [program = "", ...before] = [...pod.under.by, process.execPath, CLI, ...args];
  const aws = { AWS_ENDPOINT_URL_SSM: store.url, AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };
  const own = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  return promisify(execFile)(program, before, { env: { PATH: process.env["PATH"], ...pod.under.env, ...own, ...aws } });
}

test("each field is known to the API server; a second time changes nothing; the pod is admitted under the restricted standard", async () => {
  await kubectl("apply", "-k", join(infra, "token"), "--validate=strict");
  const again = (await kubectl("apply", "-k", join(infra, "token"), "--validate=strict")).trim().split("\n");
  expect(again.filter((line) => !line.endsWith(" unchanged"))).toEqual([]);
  const job = ["create", "job", "first", "--from=cronjob/mpo-relay-token", "-n", NAMESPACE, "--dry-run=server", "-o", "name"];
  expect(await kubectl(...job)).toContain("job.batch/first"); // a pod that breaks the standard would be warned of
});

test("the job writes a fresh token, with which the relay can work, and prints it nowhere", async () => {
  const said = await runJob("job");
  expect(said.stderr).toMatch(/^ssm:\/mpo-relay\/dev\/token holds a token of mpo-relay\/mpo-relay that ends at 20\d\d-/m);
  const token = parameters.get("/mpo-relay/dev/token") ?? "";
  expect(said.stdout + said.stderr).not.toContain(token);
  const asRelay = (...what: string[]) => kubectl("auth", "can-i", ...what, `--token=${token}`).catch((error: unknown) => String(error));
  expect(await asRelay("patch", "modulepulloverrides.deckhouse.io")).toContain("yes");
  expect(await asRelay("get", "secrets")).toContain("no");
});

test("its account may ask for no other account's token, and for nothing else", async () => {
  const own = await world.cluster.kube.serviceAccountToken(NAMESPACE, "mpo-relay-token");
  const canI = (...what: string[]) =>
    kubectl("auth", "can-i", ...what, "-n", NAMESPACE, `--token=${own}`).catch((error: unknown) => String(error));
  expect(await canI("create", "serviceaccounts/mpo-relay", "--subresource=token")).toContain("yes");
  expect(await canI("create", "serviceaccounts/default", "--subresource=token")).toContain("no");
  expect(await canI("get", "modulepulloverrides.deckhouse.io")).toContain("no");
  expect(await canI("get", "secrets")).toContain("no");
});

test("without its right the job fails, says which it was, and what was there stays", async () => {
  const before = parameters.get("/mpo-relay/dev/token");
  await kubectl("delete", "rolebinding", "mpo-relay-token", "-n", NAMESPACE);
  await expect(runJob("refused")).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining("serviceaccounts/token") });
  expect(parameters.get("/mpo-relay/dev/token")).toBe(before);
});
