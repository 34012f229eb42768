/** What the tests of the use cases share: a configuration, requests, and fakes of the ports that keep to the ports' words. */
import type { ClusterConfig, QueueForm, RelayConfig, SourceConfig, WebhookConfig } from "../../src/config.ts";
import type { ModuleState, Override, OverrideEvent, Overrides } from "../../src/cluster/overrides.ts";
import type { RenewRequest } from "../../src/event.ts";
import type { AlarmLine, Observer, OutcomeLine } from "../../src/observe.ts";
import { RelayError } from "../../src/outcome.ts";
import type { NewRecord } from "../../src/queue/queue.ts";
import { fakeChannels } from "./channels.ts";

export const digestOf = (char: string) => `sha256:${char.repeat(64)}`;

export const source: SourceConfig = {
  repo: "registry.example.com/deckhouse/modules",
  name: "test",
  noise: "drop",
  aliases: [],
  modules: ["*"],
  clusters: ["dev"],
  rescan: false,
  registry: null,
};
export const webhook: WebhookConfig = {
  provider: "distribution",
  auth: null,
  secret: { kind: "env", name: "SECRET" },
  previousSecret: null,
  previousSecretUntil: null,
  username: null,
  host: null,
  sources: null,
  maxBody: null,
  insecure: false,
  oidc: null,
  queue: null,
};

/** A cluster that has nothing but its queue. */
export function clusterOf(queue: QueueForm, part: Partial<ClusterConfig> = {}): ClusterConfig {
  const lambda = { maximumConcurrency: 2, vpc: null };
  return { queue, deadLetters: null, kubernetes: null, hub: null, uid: null, events: false, adopt: null, lambda, ...part };
}

export function configOf(part: Partial<RelayConfig> = {}): RelayConfig {
  return {
    webhooks: { registry: webhook },
    sources: [source],
    clusters: { dev: clusterOf({ kind: "embedded", folder: "/nowhere" }) },
    unparsed: null,
    journal: null,
    listen: { host: "127.0.0.1", port: 0 },
    admin: null,
    hub: null,
    limits: { body: 1024 * 1024, unparsed: 1000 },
    tuning: { cooldownMs: 5000, looksMs: [10_000, 30_000, 90_000, 300_000, 900_000, 3_600_000], patchesPerSecond: 50, sweepMs: 300_000 },
    ...part,
  };
}

export const start = new Date("2026-11-24T12:00:00.000Z");
export const at = (seconds: number) => new Date(start.getTime() + seconds * 1000).toISOString();

export function requestOf(part: Partial<RenewRequest> = {}): RenewRequest {
  return {
    v: 1,
    kind: "renew",
    cluster: "dev",
    module: "echo",
    source: "test",
    tag: "main",
    digest: digestOf("a"),
    index: false,
    key: "aaaaaaaaaaaa",
    nudge: 0,
    webhook: "registry",
    image: "registry.example.com/deckhouse/modules/echo:main",
    actor: "ci",
    pushedAt: at(0),
    receivedAt: at(0),
    attempt: 0,
    notBefore: null,
    refusedSince: null,
    retries: 0,
    rival: null,
    ...part,
  };
}

export function overrideOf(part: Partial<Override> = {}): Override {
  return {
    name: "echo",
    apiVersion: "v1alpha2",
    resourceVersion: "1",
    imageTag: "main",
    source: null,
    scanInterval: "24h",
    annotations: {},
    keeper: null,
    taggedAt: null,
    odd: null,
    status: { message: "Ready", imageDigest: digestOf("0"), updatedAt: at(-3600) },
    ...part,
  };
}

/** One override in memory; `fail` makes the next call throw. */
export function fakeCluster(initial: Override | null = overrideOf()) {
  let held = initial;
  const failures: RelayError[] = [];
  const patches: Record<string, string | null>[] = [];
  const told: (OverrideEvent & { module: string })[] = [];
  let isTellingFailing = false;
  let state: ModuleState | null = null;
  const stumble = () => {
    const failure = failures.shift();
    if (failure) throw failure;
  };
  const overrides: Overrides = {
    cluster: "dev",
    async get() {
      stumble();
      return held;
    },
    async annotate(override, annotations) {
      stumble();
      if (!held) return null;
      if (override.resourceVersion !== held.resourceVersion) throw new RelayError("CONFLICT", "the object has been modified");
      const merged = Object.entries({ ...held.annotations, ...annotations }).filter(
        (entry): entry is [string, string] => entry[1] !== null,
      );
      held = {
        ...held,
        annotations: Object.fromEntries(merged),
        resourceVersion: String(Number(held.resourceVersion) + 1),
      };
      patches.push(annotations);
      return held;
    },
    async setScanInterval(override, scanInterval, annotations) {
      const patched = await overrides.annotate(override, annotations);
      if (patched) held = { ...patched, scanInterval };
      return held;
    },
    list: async () => (held ? [held] : []),
    async probe() {
      stumble();
    },
    uid: async () => "00000000-0000-4000-8000-000000000000",
    async tell(module, event) {
      if (isTellingFailing) throw new RelayError("FORBIDDEN", "no right to create events");
      told.push({ module, ...event });
    },
    state: async () => state,
    close() {},
  };
  return {
    overrides,
    patches,
    told,
    failTelling: (isFailing: boolean) => void (isTellingFailing = isFailing),
    setState: (next: ModuleState | null) => void (state = next),
    fail: (...errors: RelayError[]) => failures.push(...errors),
    get: () => held,
    set(part: Partial<Override> | null) {
      held = part === null ? null : { ...(held ?? overrideOf()), ...part, resourceVersion: String(Number(held?.resourceVersion ?? 1) + 1) };
    },
  };
}

/** Keeps every line. */
export function fakeObserver() {
  const lines: OutcomeLine[] = [];
  const alarms: (AlarmLine & { code: string })[] = [];
  const observer: Observer = {
    outcome: (line) => lines.push(line),
    alarm: (code, line) => alarms.push({ code, ...line }),
  };
  return { observer, lines, alarms, outcomes: () => lines.map((line) => line.outcome), codes: () => alarms.map((alarm) => alarm.code) };
}

/** A context of renew and confirm on a clock that the test moves. */
export function fakeContext(cluster = fakeCluster()) {
  let seconds = 0;
  const sent: NewRecord[] = [];
  const now = () => new Date(start.getTime() + seconds * 1000);
  const source = fakeChannels(now);
  return {
    cluster,
    source,
    sent,
    /** Records sent since the last call. */
    take: () => sent.splice(0),
    wait: (more: number) => (seconds += more),
    context: {
      overrides: cluster.overrides,
      channels: source.channels,
      send: async (records: readonly NewRecord[]) => void sent.push(...records),
      now,
      tuning: configOf().tuning,
      pace: async () => {},
    },
  };
}
