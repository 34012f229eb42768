/** Each 202 comes after the sync of its record. Seen from the kernel, while consumers write the same file without one. */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createLoad } from "./load.ts";
import { say } from "./parts/cache.ts";
import { traced } from "./parts/strace.ts";
import { serveRelay } from "./relay.ts";
import { readTrace, type Traced } from "./trace.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

const DIST = join(import.meta.dirname, "../../dist");
const modules = Array.from({ length: 10 }, (_, index) => `module-${index}`);
/** A page of the queue file; each holds records whole. */
const BYTES = 5_000;

async function traceServe(pushes: number, dist = DIST): Promise<Traced> {
  const world = await startWorld({ modules, quiet: true, seeded: true });
  onTestFinished(() => world.stop());
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true });
  const file = join(world.folder, "trace");
  const under = await traced(["fsync", "fdatasync", "pwrite64", "write", "writev", "sendto", "sendmsg"], BYTES, file);
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl, cli: join(dist, "cli.js"), under });
  onTestFinished(() => relay.stop());
  await createLoad(world, modules).push(pushes);
  await eventually("the last pushes are acknowledged", async () => {
    const log = JSON.stringify(await relay.lines());
    const digests = await Promise.all(modules.map((module) => world.resolve(module)));
    return digests.every((digest) => digest !== null && log.includes(digest)) ? true : null;
  });
  await relay.stop("SIGTERM");
  const read = readTrace(await readFile(file, "utf8"));
  say(`${read.answered.length} times 202, ${read.early.length} of them before the sync of their record; ${read.syncs} syncs`);
  return read;
}

/** The same program with SQLite told to sync nothing. */
async function withoutSync(): Promise<string> {
  const dist = await mkdtemp(join(DIST, "../node_modules/.cache-unsynced-"));
  onTestFinished(() => rm(dist, { recursive: true, force: true }));
  await cp(DIST, dist, { recursive: true });
  let changed = 0;
  for (const entry of await readdir(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".js")) continue;
    const path = join(entry.parentPath, entry.name);
    const text = await readFile(path, "utf8");
    const unsynced = text.replaceAll("synchronous = FULL", "synchronous = OFF").replaceAll('"FULL" : "NORMAL"', '"OFF" : "OFF"');
    if (unsynced !== text) changed += 1;
    await writeFile(path, unsynced);
  }
  expect(changed).toBeGreaterThan(0);
  return dist;
}

test("300 pushes: every 202 comes after the sync of its record", async () => {
  const { answered, early, syncs } = await traceServe(300);
  expect(new Set(answered).size).toBeGreaterThanOrEqual(300);
  expect(syncs).toBeGreaterThan(0);
  expect(early).toEqual([]);
});

test("a program that syncs nothing is found out", async () => {
  const { answered, early } = await traceServe(20, await withoutSync());
  expect(answered.length).toBeGreaterThanOrEqual(20);
  expect(early).toEqual(answered);
});
