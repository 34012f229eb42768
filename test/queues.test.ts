import Database from "libsql";
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
  const clusterOf = (name: string) => ({
    queue: embedded(name),
    deadLetters: null,
    kubernetes: null,
    hub: null,
    uid: null,
    events: false,
    adopt: null,
  });
  const config = configOf({ clusters: { dev: clusterOf("a"), stage: clusterOf("b") }, unparsed: embedded("b") });
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
  const clusterOf = (name: string, letters: string | null = null) => ({
    queue: form(name),
    deadLetters: letters === null ? null : form(letters),
    kubernetes: null,
    hub: null,
    uid: null,
    events: false,
    adopt: null,
  });
  const url = (name: string) => `https://sqs.eu-west-1.amazonaws.com/123456789012/${name}`;
  const env = { A: url("a"), B: url("b"), AGAIN: url("a"), DEAD: url("dead"), DEAD_TOO: url("dead") };
  const opened = async (dev: ReturnType<typeof clusterOf>, stage: ReturnType<typeof clusterOf>, unparsed = form("DEAD")) => {
    const clusters = { dev, stage };
    const options = { clusters: ["dev", "stage"], unparsed: true, as: "owner", observer: fakeObserver().observer, env } as const;
    await (await openQueues(configOf({ clusters, unparsed }), options)).close();
  };
  const refused = (one: string, two: string) => `${one} and ${two} name one queue: each needs its own`;
  await opened(clusterOf("A", "DEAD"), clusterOf("B", "DEAD_TOO")); // letters may lie together
  await expect(opened(clusterOf("A"), clusterOf("AGAIN"))).rejects.toThrow(refused("clusters.dev.queue", "clusters.stage.queue"));
  await expect(opened(clusterOf("A"), clusterOf("B", "AGAIN"))).rejects.toThrow(
    refused("clusters.dev.queue", "clusters.stage.deadLetters"),
  );
  await expect(opened(clusterOf("A"), clusterOf("B"), form("AGAIN"))).rejects.toThrow(refused("clusters.dev.queue", "unparsed"));
});
