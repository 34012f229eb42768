/** e2e/parts/cache.ts: runs of the end-to-end tests side by side, as real processes over one cache. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { waited } from "./support/wait.ts";

/** Installs one part, whose build notes its process, leaves half of it, and goes on when `go` is there. */
const RUN = `
  import { appendFileSync, existsSync, writeFileSync } from "node:fs";
  import { setTimeout as sleep } from "node:timers/promises";
  import { install } from "./cache.ts";
  const [root, how] = process.argv.slice(2);
  const build = async (folder) => {
    appendFileSync(root + "/log", "begin " + process.pid + "\\n");
    writeFileSync(folder + "/first", "half");
    while (!existsSync(root + "/go")) await sleep(20);
    if (how === "failing") throw new Error("this build fails");
    writeFileSync(folder + "/second", "half");
    appendFileSync(root + "/log", "end " + process.pid + "\\n");
  };
  process.stdout.write(await install({ name: "part", version: "1", cost: "nothing", build }));
`;

const scratch = mkdtempSync(join(tmpdir(), "mpo-relay-parts-"));
const program = join(scratch, "run.mjs");
beforeAll(async () => {
  const resolveDir = join(import.meta.dirname, "e2e/parts");
  await build({ stdin: { contents: RUN, resolveDir }, outfile: program, bundle: true, platform: "node", format: "esm", target: "node20" });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function cache() {
  const root = mkdtempSync(join(scratch, "cache-"));
  const start = (how = "") => {
    const child = spawn(process.execPath, [program, root, how], { env: { ...process.env, MPO_RELAY_E2E_CACHE: root } });
    onTestFinished(() => void child.kill("SIGKILL"));
    let [said, gave] = ["", ""];
    child.stderr.on("data", (chunk: Buffer) => void (said += chunk.toString()));
    child.stdout.on("data", (chunk: Buffer) => void (gave += chunk.toString()));
    const ended = once(child, "close").then(([code]: readonly unknown[]) => ({ code, gave, said }));
    return {
      pid: child.pid,
      ended,
      kill: () => child.kill("SIGKILL"),
      waits: () => vi.waitFor(() => expect(said).toContain("waiting"), waited),
    };
  };
  const log = () => (existsSync(join(root, "log")) ? readFileSync(join(root, "log"), "utf8").trim().split("\n") : []);
  const part = join(root, "part-1");
  return {
    start,
    log,
    part,
    begun: (pid: number | undefined) => vi.waitFor(() => expect(log()).toContain(`begin ${pid}`), waited),
    go: () => writeFileSync(join(root, "go"), ""),
    files: () => (existsSync(part) ? readdirSync(part).toSorted() : null),
  };
}

test("one builds and the others wait, and nobody sees half of it", async () => {
  const { start, log, part, begun, go, files } = cache();
  const first = start();
  await begun(first.pid);
  const others = [start(), start()];
  for (const each of others) await each.waits();
  expect(files()).toBe(null);
  go();
  for (const each of [first, ...others]) expect(await each.ended).toMatchObject({ code: 0, gave: part });
  expect(files()).toEqual(["first", "second"]);
  expect(log()).toEqual([`begin ${first.pid}`, `end ${first.pid}`]);
});

test("who is killed at it holds it no longer: the next one builds all of it", async () => {
  const { start, log, part, begun, go, files } = cache();
  const killed = start();
  await begun(killed.pid);
  const next = start();
  await next.waits();
  killed.kill();
  await begun(next.pid);
  expect(files()).toBe(null);
  go();
  expect(await next.ended).toMatchObject({ code: 0, gave: part });
  expect(files()).toEqual(["first", "second"]);
  expect(log()).toEqual([`begin ${killed.pid}`, `begin ${next.pid}`, `end ${next.pid}`]);
});

test("where a build fails, the next one tries itself", async () => {
  const { start, log, begun, go, files } = cache();
  const failing = start("failing");
  await begun(failing.pid);
  const next = start();
  await next.waits();
  go();
  const { code, said } = await failing.ended;
  expect(code).not.toBe(0);
  expect(said).toContain("this build fails");
  expect(await next.ended).toMatchObject({ code: 0 });
  expect(files()).toEqual(["first", "second"]);
  expect(log()).toEqual([`begin ${failing.pid}`, `begin ${next.pid}`, `end ${next.pid}`]);
});
