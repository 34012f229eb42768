import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openQueues } from "../src/queues.ts";
import { configOf, fakeObserver } from "./support/relay.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mpo-relay-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("a queue file that cannot take records now fails only the deliveries that have a part in it", async () => {
  const embedded = (name: string) => ({ kind: "embedded", folder: join(folder, name) }) as const;
  const clusterOf = (name: string) => ({ queue: embedded(name), deadLetters: null, kubernetes: null, hub: null, uid: null, events: false });
  const config = configOf({ clusters: { dev: clusterOf("a"), stage: clusterOf("b") }, unparsed: embedded("b") });
  const queues = await openQueues(config, { clusters: ["dev", "stage"], unparsed: true, as: "owner", observer: fakeObserver().observer });
  const storeFor = (...clusters: string[]) => queues.store(new Map(clusters.map((cluster) => [cluster, [{ body: cluster }]])));
  // what SQLite refuses stands in for its full disk: it fails the whole transaction
  const refused = queues.unparsed?.put({ body: "x", code: "X", text: "x", attempts: 0.5, firstAt: "", lastAt: "" });
  const [other, own, both] = await Promise.allSettled([refused, storeFor("dev"), storeFor("dev", "stage")]);
  expect([other.status, own.status, both.status]).toEqual(["rejected", "fulfilled", "rejected"]);
  await queues.close();
});
