/** A set-up with which nothing is wrong, and `mpo-relay doctor` on it; each test plants what it is about. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import { expect } from "vitest";
import * as z from "zod";
import { doctorCommand } from "../../src/cli/doctor/index.ts";
import { configOrThrow } from "../../src/config.ts";
import { openSqliteJournal } from "../../src/journal/sqlite.ts";
import { type Relay, startRelay } from "../../src/relay.ts";
import { type KubernetesApi, startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";
import { type Registry, startRegistry } from "../../src/sandbox/registry.ts";
import { runCommand, type Said } from "./cli.ts";
import { push } from "./image.ts";
import { fakeObserver, requestOf } from "./relay.ts";

export const MPO = "modulepulloverrides" as const;
const HOUR = 3600;

const said = z.object({
  ok: z.boolean(),
  errors: z.number(),
  warnings: z.number(),
  findings: z.array(
    z.object({
      level: z.enum(["ok", "warning", "error"]),
      code: z.string(),
      where: z.string(),
      what: z.string(),
      todo: z.string().nullable(),
    }),
  ),
});
export type Finding = z.infer<typeof said>["findings"][number];

/** A token as an API server gives one. Seconds from now; `endsIn` null: it says nothing of an end. */
export async function tokenOf({ beganAgo = 0, endsIn }: { beganAgo?: number; endsIn: number | null }): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const token = new SignJWT({ sub: "relay" }).setProtectedHeader({ alg: "HS256" }).setIssuedAt(now - beganAgo);
  return (endsIn === null ? token : token.setExpirationTime(now + endsIn)).sign(new Uint8Array(32));
}

export interface Clinic {
  readonly folder: string;
  readonly api: KubernetesApi;
  readonly registry: Registry;
  /** Every secret of the set-up: none of them may be said. */
  readonly secrets: string[];
  /** Of the configuration file, to be changed before a call. */
  config: Config;
  /** Runs it and gives what it found that is not well, after having looked that no secret was said. */
  examine(options?: Options): Promise<Said & { findings: Finding[]; wrong: Finding[] }>;
  write(name: string, text: string): Promise<void>;
  /** As it was opened; the files of the queue's folder stay. */
  reset(): Promise<void>;
  close(): Promise<void>;
}
interface Options {
  readonly env?: NodeJS.ProcessEnv;
  readonly now?: () => Date;
}
export interface Config {
  webhooks: Record<string, Record<string, unknown>>;
  sources: Record<string, unknown>[];
  clusters: Record<string, Record<string, unknown>>;
  [more: string]: unknown;
}

/** An API server, a registry with the image that the one override follows, and a relay that runs on an embedded queue and has heard its webhook. */
export async function openClinic(): Promise<Clinic> {
  const folder = await mkdtemp(join(tmpdir(), "mpo-relay-doctor-"));
  const token = await tokenOf({ endsIn: 24 * HOUR });
  const api = await startKubernetesApi({ token });
  const registry = await startRegistry({ port: 0, notify: null, log: () => undefined });
  const host = `localhost:${registry.port}`;
  const digest = await push(host, "deckhouse/modules/echo", "main", { "module.yaml": "name: echo\n" });
  const secrets: string[] = [];
  const write = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o600 });
  const usual: Config = {
    webhooks: { registry: { provider: "distribution", secret: "file:webhook.secret" } },
    sources: [{ repo: `${host}/deckhouse/modules`, name: "test", registry: { plainHttp: true } }],
    clusters: {
      dev: { queue: "embedded:./queue", kubernetes: { server: api.url, ca: "file:ca.crt", token: "file:token" }, uid: api.uid },
    },
    listen: "127.0.0.1:0",
  };
  const { uid } = api;
  const reset = async () => {
    await api.start().catch(() => undefined); // it runs already
    api.faults.clear();
    api.setServed(["v1alpha1", "v1alpha2"]);
    api.setUid(uid);
    for (const plural of [MPO, "modules"] as const)
      for (const { metadata } of api.store.list(plural)) api.store.delete(plural, metadata.name);
    api.store.create(MPO, { metadata: { name: "echo" }, spec: { imageTag: "main", scanInterval: "24h" } });
    api.store.patchStatus(MPO, "echo", { message: "Ready", imageDigest: digest, updatedAt: new Date().toISOString() });
    api.store.create("modules", { metadata: { name: "echo" }, properties: { source: "test" } });
    api.store.patchStatus("modules", "echo", { phase: "Ready" });
    await write("token", token);
    await write("ca.crt", api.ca);
    await write("webhook.secret", "a-webhook-secret-of-good-length");
    secrets.splice(0, Infinity, token, "a-webhook-secret-of-good-length");
  };
  await reset();
  await write("relay.json", JSON.stringify(usual));
  const relay: Relay = await startRelay({
    config: await configOrThrow({ file: join(folder, "relay.json"), env: {} }),
    observer: fakeObserver().observer,
    roles: ["edge"],
  });
  await hear(join(folder, "queue"), "registry");
  const clinic: Clinic = {
    folder,
    api,
    registry,
    secrets,
    config: structuredClone(usual),
    write,
    async reset() {
      await reset();
      clinic.config = structuredClone(usual);
    },
    async examine({ env = {}, now } = {}) {
      const file = join(folder, "examined.json");
      await writeFile(file, JSON.stringify(clinic.config));
      const result = await runCommand(doctorCommand, ["--config", file, "--json"], { env, ...(now && { now }) });
      for (const secret of secrets) expect(result.out + result.err).not.toContain(secret);
      const { findings, ...sum } = said.parse(JSON.parse(result.out));
      const wrong = findings.filter(({ level }) => level !== "ok");
      expect(wrong.every(({ todo }) => todo)).toBe(true);
      expect(sum).toMatchObject({ ok: result.exitCode === 0, errors: wrong.filter(({ level }) => level === "error").length });
      return { ...result, findings, wrong };
    },
    async close() {
      await relay.stop();
      await api.close();
      await registry.close();
      await rm(folder, { recursive: true });
    },
  };
  return clinic;
}

/** A push that came by the webhook, in the journal of that folder. */
async function hear(folder: string, webhook: string): Promise<void> {
  const journal = openSqliteJournal(folder, { create: true });
  const at = new Date(Date.now() - 60_000).toISOString();
  const { key, cluster, module, tag, digest, image, actor, pushedAt } = requestOf();
  await journal.append([
    { key, cluster, module, tag, digest, image, actor, pushedAt, webhook, receivedAt: at, at, stage: "QUEUED", detail: {} },
  ]);
  await journal.close();
}
