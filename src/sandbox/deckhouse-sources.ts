/**
 * The other half of the Deckhouse stand-in: its ModuleSource controller, which scans a source when its generation moves and at each interval, and what
 * becomes of the ModuleReleases that it makes. No annotation makes it scan, in any version.
 * https://github.com/deckhouse/deckhouse/tree/main/deckhouse-controller/pkg/controller/module-controllers/source
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { type KubeAccess, type KubeClient, kubeClient } from "./deckhouse-client.ts";
import type { Clock } from "./deckhouse.ts";
import { intervalOf } from "./deckhouse-reconcile.ts";
import type { Channel, ReleaseRegistry } from "./registry-release.ts";
import { WorkQueue } from "./work-queue.ts";

/** What a ModuleUpdatePolicy says of a module, or the platform's own settings. */
export interface UpdatePolicy {
  readonly name: string;
  /** As in the registry: `early-access`. */
  readonly channel: string;
  readonly mode: "Auto" | "Manual";
  /** Outside of an update window: what it says of it. */
  readonly outside?: string;
}
export interface SourcesOptions {
  readonly kube: KubeAccess;
  /** The served version of ModulePullOverride: a module that has one is left out. */
  readonly overrides: "v1alpha1" | "v1alpha2";
  readonly registry: ReleaseRegistry;
  /** null: nobody follows the module. */
  readonly policyOf: (module: string) => UpdatePolicy | null;
  readonly clock?: Clock;
  readonly log: (line: string) => void;
}

const SOURCES = "/v1alpha1/modulesources";
const RELEASES = "/v1alpha1/modulereleases";
const USUAL_INTERVAL = "3m";
const RELIST_MS = 200;
const FIRST_BACKOFF_MS = 5;
const APPROVED = "modules.deckhouse.io/approved";
const MANUAL = `Waiting for manual approval (annotation ${APPROVED}="true" required)`;

const source = z
  .object({
    metadata: z.object({ name: z.string(), generation: z.number() }),
    spec: z.object({
      registry: z.object({ repo: z.string(), scheme: z.string().default("HTTPS") }),
      scanInterval: z.string().nullish(),
    }),
    status: z.object({ modules: z.array(z.looseObject({ name: z.string(), checksum: z.string().optional() })).default([]) }).prefault({}),
  })
  .transform(({ metadata, spec: { registry, scanInterval }, status }) => ({
    ...metadata,
    ...registry,
    scheme: registry.scheme.toLowerCase(),
    interval: scanInterval ?? USUAL_INTERVAL,
    modules: status.modules,
  }));
type Source = z.infer<typeof source>;
const release = z
  .object({
    metadata: z.object({ name: z.string(), annotations: z.record(z.string(), z.string()).default({}) }),
    status: z.object({ phase: z.string().default(""), message: z.string().default("") }).prefault({}),
  })
  .transform(({ metadata, status }) => ({ ...metadata, ...status }));
const releases = z.object({ items: z.array(release) });

/** Ends when `stop` is called; rejects never. */
export function startSources(options: SourcesOptions): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const { signal } = stopping;
  const client = kubeClient(options.kube);
  const { speed } = options.clock ?? { speed: 1 };
  const queue = new WorkQueue(signal, { firstBackoffMs: FIRST_BACKOFF_MS, speed });
  const running = Promise.all([follow(client, queue, signal), work(client, queue, options, signal)]);
  return {
    async stop() {
      stopping.abort();
      await running;
      client.close();
    },
  };
}

/** Predicate GenerationChanged: what only touches metadata or status makes nothing happen. */
async function follow(client: KubeClient, queue: WorkQueue, signal: AbortSignal): Promise<void> {
  const generations = new Map<string, number>();
  const known = new Set<string>();
  const on = {
    changed({ name, generation }: Source) {
      if (generations.get(name) !== generation) queue.add(name);
      generations.set(name, generation);
    },
    gone: (name: string) => void generations.delete(name),
  };
  while (!signal.aborted) {
    await client.follow(SOURCES, source, known, on, signal).catch(() => undefined); // the API is down, or the history expired: list again
    await sleep(RELIST_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function work(client: KubeClient, queue: WorkQueue, options: SourcesOptions, signal: AbortSignal): Promise<void> {
  const end = signal.aborted ? Promise.resolve() : once(signal, "abort").then(() => undefined);
  for (let name = await queue.next(); name !== null; name = await queue.next()) {
    await Promise.race([scanOrRetry(client, queue, options, name), end]);
  }
}

async function scanOrRetry(client: KubeClient, queue: WorkQueue, options: SourcesOptions, name: string): Promise<void> {
  try {
    const found = await client.get(`${SOURCES}/${name}`, source);
    if (found === null) return;
    await scan(client, options, found);
    queue.forget(name);
    queue.addAfter(name, intervalOf(found.interval, true) ?? 0);
  } catch (error) {
    options.log(`deckhouse: source ${name}: ${error instanceof Error ? error.message : String(error)}`);
    queue.addAfter(name, queue.backoff(name));
  }
}

async function scan(client: KubeClient, options: SourcesOptions, found: Source): Promise<void> {
  const { registry, log, clock } = options;
  log(`deckhouse: scans ${found.name}`);
  const names = await registry.modules(found.repo, found.scheme);
  const modules = [];
  for (const name of names) modules.push(await scanModule(client, options, found, name));
  const syncTime = (clock?.now() ?? new Date()).toISOString().replace(/\.\d+Z$/, "Z");
  await client.call("PATCH", `${SOURCES}/${found.name}/status`, { status: { modules, modulesCount: modules.length, syncTime } });
}

/** Gives the module's entry in the source's status. */
async function scanModule(client: KubeClient, options: SourcesOptions, found: Source, name: string): Promise<object> {
  const isOverridden = (await client.get(`/${options.overrides}/modulepulloverrides/${name}`, z.looseObject({}))) !== null;
  if (isOverridden) return { name, overridden: true }; // its channels are not asked for
  const policy = options.policyOf(name);
  if (policy === null) return { name };
  try {
    const channel = await options.registry.channel(found.repo, name, policy.channel, found.scheme);
    const before = found.modules.find((module) => module.name === name);
    if (before?.checksum !== channel.digest) await ensureRelease(client, found.name, name, channel, policy);
    await moveReleases(client, options, name, policy);
    return { name, policy: policy.name, version: channel.version, checksum: channel.digest };
  } catch (error) {
    return { name, policy: policy.name, error: error instanceof Error ? error.message : String(error) };
  }
}

async function ensureRelease(
  client: KubeClient,
  sourceName: string,
  module: string,
  { version, digest }: Channel,
  policy: UpdatePolicy,
): Promise<void> {
  const name = `${module}-${version}`;
  if ((await client.get(`${RELEASES}/${name}`, release)) !== null) return;
  const labels = { module, source: sourceName, "modules.deckhouse.io/update-policy": policy.name, "release-checksum": digest.slice(7, 39) };
  await client.call("POST", RELEASES, {
    apiVersion: "deckhouse.io/v1alpha1",
    kind: "ModuleRelease",
    metadata: { name, labels },
    spec: { moduleName: module, version },
  });
}

/** The newest that is pending is deployed, unless its policy or its window says otherwise; the one before is superseded then. */
async function moveReleases(client: KubeClient, { log }: SourcesOptions, module: string, policy: UpdatePolicy): Promise<void> {
  const { items } = releases.parse(await client.call("GET", `${RELEASES}?labelSelector=module%3D${module}`));
  const byVersion = items.toSorted((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  const next = byVersion.findLast(({ phase }) => phase === "" || phase === "Pending");
  if (next === undefined) return;
  const write = (name: string, status: object) => client.call("PATCH", `${RELEASES}/${name}/status`, { status });
  const isFirst = !items.some(({ phase }) => phase === "Deployed");
  const isApproved = policy.mode === "Auto" || next.annotations[APPROVED] === "true";
  const message = isFirst ? "" : isApproved ? (policy.outside ?? "") : MANUAL; // a first installation waits for nothing
  if (message !== "") return void (await write(next.name, { phase: "Pending", message }));
  log(`deckhouse: installs ${next.name}`);
  for (const each of items) if (each.phase === "Deployed") await write(each.name, { phase: "Superseded", message: "" });
  await write(next.name, { phase: "Deployed", message: "" });
}
