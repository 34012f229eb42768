/** Many pushes at once: what they cost the API server is bounded, the newest one wins, and of each it is known what became of it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createApp } from "../src/app.ts";
import type { RelayConfig } from "../src/config.ts";
import { consume } from "../src/consume.ts";
import { consumeContext, openCluster } from "../src/consumer.ts";
import { encode } from "../src/event.ts";
import { openJournals } from "../src/journals.ts";
import { openQueues } from "../src/queues.ts";
import { receive } from "../src/receive.ts";
import { createSecretReader } from "../src/secrets.ts";
import { fakeChannels } from "./support/channels.ts";
import { startWorld } from "./support/deckhouse.ts";
import { at, clusterOf, configOf, fakeObserver, overrideOf, requestOf, start, webhook } from "./support/relay.ts";
import { HEAVY_MS, until } from "./support/wait.ts";

const SECRET = "correct-horse-battery";
let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "mpo-relay-coalescing-"))));
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const digestOf = (n: number) => `sha256:${n.toString(16).padStart(64, "0")}`;
const ENDED = new Set(["NUDGED", "JOINED", "REPEATED"]);

/** Edge, embedded queue, consumer and journal over a real API client; the test moves their clock and says when the consumer polls. */
async function relay(config: RelayConfig) {
  const { observer } = fakeObserver();
  const journals = await openJournals(config, { observer, patienceMs: 10_000 });
  const queues = await openQueues(config, { clusters: ["dev"], unparsed: true, as: "owner", observer });
  const edge = { ...queues, ...journals, config, observer, readSecret: createSecretReader(), now: () => new Date() };
  const app = createApp({ config, observer, receive: (delivery) => receive(delivery, edge), ready: queues.ready });
  const overrides = openCluster(config, "dev");
  const queue = queues.of("dev");
  const context = consumeContext(config, { cluster: "dev", queue, overrides, observer, note: journals.note });
  return {
    /** Answers with the status. The sender's time is so many ms ahead. */
    async push(n: number, ms: number) {
      const target = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: digestOf(n), tag: "main" };
      const event = { id: digestOf(n), timestamp: new Date(Date.now() + ms).toISOString(), action: "push" };
      const request = { host: "registry.example.com" };
      const body = { events: [{ ...event, target: { ...target, repository: "deckhouse/modules/echo" }, request }] };
      const headers = { authorization: `Bearer ${SECRET}` };
      return (await app.request("/hooks/registry", { method: "POST", body: JSON.stringify(body), headers })).status;
    },
    /** Works on whatever is due. */
    async poll() {
      const records = await queue.receive({ max: 1000, waitSeconds: 0, visibilitySeconds: 120 });
      await consume(records, context);
    },
    entries: async () => (await journals.journal?.read({ limit: 10_000 })) ?? [],
    async stop() {
      overrides.close();
      await journals.close();
      await queues.close();
    },
  };
}

it(
  "1,000 pushes of one module within a minute: a patch in each cool-down at most, and the newest digest wins",
  async () => {
    let newest = digestOf(0);
    const world = await startWorld({ mirror: async () => newest });
    vi.stubEnv("RELAY_TEST_CA", world.api.ca);
    vi.stubEnv("RELAY_TEST_TOKEN", world.api.grant("relay", ["get", "patch"]));
    vi.stubEnv("RELAY_TEST_SECRET", SECRET);
    const queue = { kind: "embedded", folder } as const;
    const [ca, token] = [{ kind: "env", name: "RELAY_TEST_CA" } as const, { kind: "env", name: "RELAY_TEST_TOKEN" } as const];
    const kubernetes = { kind: "server", server: world.api.url, ca, token } as const;
    const config = configOf({
      webhooks: { registry: { ...webhook, secret: { kind: "env", name: "RELAY_TEST_SECRET" } } },
      clusters: { dev: clusterOf(queue, { kubernetes }) },
      unparsed: queue,
      journal: { kind: "embedded", folder },
    });
    vi.useFakeTimers({ toFake: ["Date"], now: start });
    const here = await relay(config);
    const patchedAt = new Set<string>();
    const look = () => Object(world.metadata()["annotations"]);

    const after = async (seconds: number) => {
      await here.poll();
      const mark = look()["mpo-relay/at"];
      if (mark !== undefined && !patchedAt.has(mark)) await until(() => world.status()["imageDigest"]).toBe(newest);
      if (mark !== undefined) patchedAt.add(mark);
      vi.setSystemTime(Date.now() + seconds * 1000);
    };
    for (let n = 0; n < 50; n++) {
      newest = digestOf(n * 20 + 20);
      const answers = await Promise.all(Array.from({ length: 20 }, (_, each) => here.push(n * 20 + each + 1, each)));
      expect(new Set(answers)).toEqual(new Set([202]));
      await after(1);
    }
    // Deckhouse looks again by itself after each restart. Where it found the last push so, its nudge is held back, ten minutes at
    // most behind the one before, which goes out once more after 90 s.
    for (let n = 0; n < 85; n++) await after(10);

    expect(newest).toBe(digestOf(1000));
    expect([look()["mpo-relay/digest"], world.status()["imageDigest"]]).toEqual([newest, newest]);
    const marks = [...patchedAt].map((mark) => Date.parse(mark)).toSorted((a, b) => a - b);
    expect(marks.slice(1).map((mark, n) => mark - (marks[n] ?? 0))).not.toContainEqual(expect.toSatisfy((gap: number) => gap < 5000));
    expect(marks.length).toBeLessThanOrEqual(60 / 5 + 1);
    expect(marks.length).toBeGreaterThan(1);

    const stages = new Map<string, Set<string>>();
    const entries = await here.entries();
    for (const { key, stage } of entries) stages.set(key, (stages.get(key) ?? new Set()).add(stage));
    const ends = [...stages.values()].map((all) => [...all].filter((stage) => ENDED.has(stage)).join(" and "));
    // a second nudge of the same push is a mark more, and no push more
    const again = entries.filter(({ stage }) => stage === "RENUDGED").length;
    expect(ends.filter((end) => end === "NUDGED")).toHaveLength(marks.length - again);
    expect(ends.filter((end) => end === "JOINED")).toHaveLength(1000 - marks.length + again);
    await here.stop();
    await world.stop();
  },
  HEAVY_MS,
);

it("100 overrides at once are patched at the configured rate", async () => {
  vi.useFakeTimers({ now: start });
  const modules = Array.from({ length: 100 }, (_, n) => `module-${n}`);
  const patches: number[] = [];
  const overrides = {
    cluster: "dev",
    list: async () => [],
    probe: async () => {},
    uid: async () => "",
    tell: async () => {},
    state: async () => null,
    get: async (name: string) => overrideOf({ name }),
    annotate: async (override: ReturnType<typeof overrideOf>, change: Readonly<Record<string, string | null>>) => {
      patches.push(Date.now());
      const kept = Object.entries({ ...override.annotations, ...change }).filter((entry): entry is [string, string] => entry[1] !== null);
      return { ...override, annotations: Object.fromEntries(kept) };
    },
    setScanInterval: async (override: ReturnType<typeof overrideOf>) => override,
    close: () => {},
    channels: fakeChannels().channels,
  };
  const done: string[] = [];
  const queue = {
    send: async () => {},
    acknowledge: async (records: readonly { id: string }[]) => void done.push(...records.map(({ id }) => id)),
    defer: async () => {},
    bury: async () => {},
  };
  const config = configOf({ tuning: { ...configOf().tuning, patchesPerSecond: 50 } });
  const context = consumeContext(config, { cluster: "dev", queue, overrides, observer: fakeObserver().observer });
  const records = modules.map((module, n) => {
    const body = encode(requestOf({ module, key: `key00000${n}` }));
    return { id: module, receipt: "", body, receiveCount: 1, sentAt: at(0) };
  });
  const running = consume(records, context);
  await vi.runAllTimersAsync();
  await running;
  expect(done.toSorted()).toEqual(modules.toSorted());
  expect(patches).toHaveLength(100);
  const inTheSecondOf = (from: number) => patches.filter((each) => each >= from && each < from + 1000).length;
  expect(Math.max(...patches.map(inTheSecondOf))).toBe(50);
});
