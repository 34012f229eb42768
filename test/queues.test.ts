import Database from "libsql";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { ClusterConfig } from "../src/config.ts";
import { openQueues } from "../src/queues.ts";
import { clusterOf, configOf, fakeObserver } from "./support/relay.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mpo-relay-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("a queue file that cannot take records now fails only the deliveries that have a part in it", async () => {
  const embedded = (name: string) => ({ kind: "embedded", folder: join(folder, name) }) as const;
  const config = configOf({ clusters: { dev: clusterOf(embedded("a")), stage: clusterOf(embedded("b")) }, unparsed: embedded("b") });
  const queues = await openQueues(config, { clusters: ["dev", "stage"], unparsed: true, as: "owner", observer: fakeObserver().observer });
  const storeFor = (...clusters: string[]) => queues.store(new Map(clusters.map((cluster) => [cluster, [{ body: cluster }]])));
  // a table that is not there stands in for a full disk: each insert fails
  const other = new Database(join(folder, "b", "queue.db"));
  other.exec("ALTER TABLE records RENAME TO elsewhere");
  other.close();
  const [own, both] = await Promise.allSettled([storeFor("dev"), storeFor("dev", "stage")]);
  expect([own.status, both.status]).toEqual(["fulfilled", "rejected"]);
  await queues.close();
});

it("two variables that name one queue are refused, with both places", async () => {
  const form = (name: string) => ({ kind: "env", name, region: null, endpoint: null }) as const;
  const placed = (name: string, letters: string | null = null) =>
    clusterOf(form(name), { deadLetters: letters === null ? null : form(letters) });
  const url = (name: string) => `https://sqs.eu-west-1.amazonaws.com/123456789012/${name}`;
  const env = { A: url("a"), B: url("b"), AGAIN: url("a"), DEAD: url("dead"), DEAD_TOO: url("dead") };
  const opened = async (dev: ClusterConfig, stage: ClusterConfig, unparsed = form("DEAD")) => {
    const clusters = { dev, stage };
    const options = { clusters: ["dev", "stage"], unparsed: true, as: "owner", observer: fakeObserver().observer, env } as const;
    await (await openQueues(configOf({ clusters, unparsed }), options)).close();
  };
  const refused = (one: string, two: string) => `${one} and ${two} name one queue: each needs its own`;
  await opened(placed("A", "DEAD"), placed("B", "DEAD_TOO")); // letters may lie together
  await expect(opened(placed("A"), placed("AGAIN"))).rejects.toThrow(refused("clusters.dev.queue", "clusters.stage.queue"));
  await expect(opened(placed("A"), placed("B", "AGAIN"))).rejects.toThrow(refused("clusters.dev.queue", "clusters.stage.deadLetters"));
  await expect(opened(placed("A"), placed("B"), form("AGAIN"))).rejects.toThrow(refused("clusters.dev.queue", "unparsed"));
});
