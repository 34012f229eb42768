/** What a push costs at the API server, from its record to the module that runs; and that adopting costs nothing where nothing is adopted. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { MARK } from "../src/adoption.ts";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import type { ClusterPort } from "../src/cluster/channels.ts";
import { consume } from "../src/consume.ts";
import { consumeContext } from "../src/consumer.ts";
import { encode } from "../src/event.ts";
import type { NewRecord } from "../src/queue/queue.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { clusterOf, configOf, digestOf, fakeObserver, requestOf } from "./support/relay.ts";

const MPO = "modulepulloverrides";
const ADOPTED = JSON.stringify({ was: "15s", set: "12h", paused: null });
const PAUSED = JSON.stringify({ was: "15s", set: "12h", paused: "2026-11-24T11:00:00.000Z" });
let api: KubernetesApi;
let overrides: ClusterPort;

beforeEach(async () => {
  api = await startKubernetesApi({ token: "token-of-the-test" });
  const reference = (name: string) => ({ kind: "env", name }) as const;
  overrides = await openKubernetes({
    cluster: "dev",
    kubernetes: { kind: "server", server: api.url, ca: reference("CA"), token: reference("TOKEN") },
    readSecret: async (ref) => (ref.kind === "env" && ref.name === "CA" ? api.ca : api.token),
  });
  await overrides.probe(); // which version is served is asked every ten minutes, and for no push
});
afterEach(async () => {
  overrides.close();
  await api.close();
});

/** Plays a push to its end, and gives the requests of each record by its outcome. `saysReady`: there is a Module that tells whether it runs. */
async function push(adopt: string | null, scanInterval: string, mark: string | null, saysReady: boolean) {
  const annotations = mark === null ? {} : { [MARK]: mark };
  api.store.create(MPO, { metadata: { name: "echo", annotations }, spec: { imageTag: "main", scanInterval } });
  if (saysReady) {
    api.store.create("modules", { metadata: { name: "echo" } });
    api.store.patchStatus("modules", "echo", { phase: "Ready", conditions: [{ type: "IsReady", status: "True" }] });
  }
  const stored: NewRecord[] = [];
  const queue = {
    send: async (records: readonly NewRecord[]) => void stored.push(...records),
    acknowledge: async () => {},
    defer: async () => expect.fail("it waits"),
    bury: async () => expect.fail("it is buried"),
  };
  const { observer, lines } = fakeObserver();
  const config = configOf({ clusters: { dev: clusterOf({ kind: "embedded", folder: "/nowhere" }, { adopt }) } });
  const context = consumeContext(config, { cluster: "dev", queue, overrides, observer });
  stored.push({ body: encode(requestOf()) });
  const asked: [outcome: string, requests: number][] = [];
  for (let record = stored.shift(); record; record = stored.shift()) {
    const before = api.counters().requests;
    const taken = { ...record, id: "1", receipt: "1", receiveCount: 1, sentAt: new Date().toISOString() };
    expect(await consume([taken], context)).toEqual({ failed: [], untouched: [] });
    const [outcome = ""] = lines
      .filter(({ event }) => event === "record")
      .map((line) => line.outcome)
      .slice(-1);
    asked.push([outcome, api.counters().requests - before]);
    if (outcome === "NUDGED")
      api.store.patchStatus(MPO, "echo", { message: "Ready", imageDigest: digestOf("a"), updatedAt: new Date().toISOString() });
  }
  const { metadata, spec } = api.store.get(MPO, "echo") ?? expect.fail("gone");
  return { asked, interval: spec?.["scanInterval"], mark: metadata.annotations?.[MARK] };
}

it.each<[string, string | null, string, string | null]>([
  ["the configuration does not ask for it", null, "15s", null],
  ["it is adopted already", "12h", "12h", ADOPTED],
  ["it is as long already", "12h", "24h", null],
])("adopting asks nothing where %s", async (_what, adopt, interval, mark) => {
  const without = await push(adopt, interval, mark, false);
  expect(without).toEqual({
    asked: [
      ["NUDGED", 2],
      ["PICKED_UP", 2],
    ],
    interval,
    mark: mark ?? undefined,
  });
  api.store.delete(MPO, "echo");
  const watched = await push(adopt, interval, mark, true);
  expect(watched).toEqual({
    asked: [
      ["NUDGED", 2],
      ["PICKED_UP", 2],
      ["RUNNING", 2],
    ],
    interval,
    mark: mark ?? undefined,
  });
});

it.each<[string, string | null, string | null]>([
  ["is adopted", "12h", null],
  ["was put back by silence", null, PAUSED],
])("one that %s costs its patch, once all is over", async (_what, adopt, mark) => {
  const without = await push(adopt, "15s", mark, false);
  expect(without).toEqual({
    asked: [
      ["NUDGED", 2],
      ["PICKED_UP", 3],
    ],
    interval: "12h",
    mark: ADOPTED,
  });
  api.store.delete(MPO, "echo");
  const watched = await push(adopt, "15s", mark, true);
  expect(watched).toEqual({
    asked: [
      ["NUDGED", 2],
      ["PICKED_UP", 2],
      ["RUNNING", 3],
    ],
    interval: "12h",
    mark: ADOPTED,
  });
});
