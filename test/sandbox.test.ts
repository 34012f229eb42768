import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import * as z from "zod";
import { sandboxText } from "../src/cli/sandbox-text.ts";
import { sourceCommand } from "../src/cli/source/index.ts";
import { firstPush, watcher } from "../src/cli/sandbox.ts";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import { loadConfig } from "../src/config.ts";
import { createSecretReader } from "../src/secrets.ts";
import { type EraName, ERAS } from "../src/sandbox/deckhouse-eras.ts";
import { pushImage } from "../src/sandbox/registry-client.ts";
import { type News, type Sandbox, startSandbox } from "../src/sandbox/sandbox.ts";
import { type AlarmNews, type PushNews, timeline } from "../src/sandbox/timeline.ts";
import { runCommand } from "./support/cli.ts";
import { until } from "./support/wait.ts";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "mpo-relay-sandbox-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function sandbox(folder: string, ports = { registry: 0, relay: 0 }, era: EraName = "e3"): Promise<{ up: Sandbox; news: News[] }> {
  const news: News[] = [];
  const up = await startSandbox({ folder, ports, era, tell: (each) => news.push(each) });
  cleanups.push(() => up.stop());
  return { up, news };
}

const outcomes = (news: readonly News[]) => news.flatMap((each) => (each.event === "push" ? [each.outcome] : []));
const portOf = (address: string) => Number(address.slice(address.lastIndexOf(":") + 1));

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

describe("the sandbox in this process", () => {
  it("writes a configuration that nothing is to be said against", async () => {
    const { up } = await sandbox(await temporary());
    expect(await loadConfig({ file: up.ready.config, env: {} })).toMatchObject({ ok: true, warnings: [] });
  });

  it("carries its own push through the real relay into the override, and tells each step with its time", async () => {
    const { up, news } = await sandbox(await temporary());
    const digest = await up.push();
    await until(() => outcomes(news)).toEqual(["QUEUED", "NUDGED", "PICKED_UP"]);
    expect(up.status()).toContain(digest);
    const last = news.at(-1);
    expect(last).toMatchObject({ event: "push", outcome: "PICKED_UP", digest, image: up.ready.image });
    const {
      receivedMs = -1,
      queuedMs = -1,
      nudgedMs = -1,
      pickedUpMs = -1,
      polling,
    } = last?.event === "push" ? last : { polling: undefined };
    expect([receivedMs, queuedMs, nudgedMs, pickedUpMs]).toEqual([receivedMs, queuedMs, nudgedMs, pickedUpMs].toSorted((a, b) => a - b));
    expect(polling).toEqual({ meanMs: 7_500 + pickedUpMs - nudgedMs, maxMs: 15_000 + pickedUpMs - nudgedMs });
  });

  it.each(ERAS)("works with a Deckhouse of era %s", async (era) => {
    const { up, news } = await sandbox(await temporary(), undefined, era);
    const digest = await up.push();
    await until(() => outcomes(news)).toContain("PICKED_UP");
    expect(up.status()).toContain(digest);
  });

  it.each<[EraName, string[]]>([
    ["e5", ["QUEUED", "RESCANNED", "RELEASE_DEPLOYED"]],
    ["e3", ["QUEUED", "RESCAN_UNSUPPORTED"]],
  ])("carries a push to a release channel as far as Deckhouse of era %s lets it", async (era, ends) => {
    const { up, news } = await sandbox(await temporary(), undefined, era);
    const { channel, registry } = up.ready;
    const [repository = "", name = ""] = channel.slice(registry.length + 1).split(":");
    await pushImage(`http://${registry}`, repository, name, { version: "v1.1.0" });
    await until(() => outcomes(news)).toEqual(ends);
  });

  it("holds a module source that can be looked into", async () => {
    const folder = await temporary();
    const { up } = await sandbox(folder);
    const source = (...args: readonly string[]) =>
      runCommand((terminal) => sourceCommand(terminal), ["test", ...args, "--config", join(folder, "relay.yaml")]);
    expect(await source()).toMatchObject({ exitCode: 0, out: expect.stringMatching(/echo[^]*hello-world/) });
    expect(await source("hello-world")).toMatchObject({ exitCode: 0, out: expect.stringMatching(/stable +v1\.0\.0/) });
    await up.push();
    expect(await source("echo:main-patch-03354")).toMatchObject({ exitCode: 0, out: expect.stringContaining("version.json") });
  });

  it("tells of later pushes, also by IPv4 and to what nobody overrides", async () => {
    const { up, news } = await sandbox(await temporary());
    const url = `http://127.0.0.1:${portOf(up.ready.registry)}`;
    await pushImage(url, "deckhouse/modules/hello-world", "main");
    await pushImage(url, "deckhouse/modules/echo", "another-tag");
    await pushImage(url, "library/nginx", "latest");
    await pushImage(url, "deckhouse/modules/echo", "main-patch-03354");
    const all = ["NOT_OVERRIDDEN", "TAG_DIFFERS", "OTHER_REPOSITORY", "PICKED_UP"];
    await until(() => outcomes(news)).toEqual(expect.arrayContaining(all));
  });

  it("writes a relay.yaml in the documented order and shape, with secrets in files for the owner alone", async () => {
    const folder = await temporary();
    const { up } = await sandbox(folder);
    const text = await readFile(join(folder, "relay.yaml"), "utf8");
    const shape = z.object({ webhooks: z.unknown(), sources: z.array(z.object({ repo: z.string() })), clusters: z.unknown() });
    const config = shape.parse(parse(text));
    expect(text.match(/^\w+(?=:)/gm)?.slice(0, 3)).toEqual(["webhooks", "sources", "clusters"]);
    expect(text).not.toContain("#");
    expect(/localhost:\d+/.exec(text)?.[0]).toBe(up.ready.registry);
    expect(config.sources[0]?.repo).toBe(`${up.ready.registry}/deckhouse/modules`);
    expect(config.webhooks).toEqual({ sandbox: { provider: "distribution", secret: "file:./webhook-secret" } });
    expect(config.clusters).toEqual({ sandbox: { queue: "embedded:./queue", kubernetes: { kubeconfig: "file:./kubeconfig" } } });
    for (const name of ["webhook-secret", "kubeconfig"]) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    expect(text).not.toContain(await readFile(join(folder, "webhook-secret"), "utf8"));
  });

  it("starts with the documented example, reachable by the kubeconfig that it writes", async () => {
    const folder = await temporary();
    await sandbox(folder);
    const kubernetes = { kind: "kubeconfig", kubeconfig: { kind: "path", path: join(folder, "kubeconfig") }, context: null } as const;
    const overrides = await openKubernetes({ cluster: "sandbox", kubernetes, readSecret: createSecretReader() });
    cleanups.push(async () => overrides.close());
    expect(await overrides.list()).toMatchObject([
      { name: "echo", imageTag: "main-patch-03354", scanInterval: "24h", apiVersion: "v1alpha2" },
    ]);
  });

  it("listens for IPv4 and for IPv6 clients, and takes free ports where the usual ones are taken", async () => {
    const first = await sandbox(await temporary());
    const taken = { registry: portOf(first.up.ready.registry), relay: portOf(first.up.ready.relay) };
    const { up, news } = await sandbox(await temporary(), taken);
    const moved = news.flatMap((each) => (each.event === "moved" ? [[each.what, each.wanted, each.port]] : []));
    expect(moved).toEqual([
      ["registry", taken.registry, portOf(up.ready.registry)],
      ["relay", taken.relay, portOf(up.ready.relay)],
    ]);
    for (const host of ["127.0.0.1", "localhost"]) {
      expect((await fetch(`http://${host}:${portOf(up.ready.relay)}/readyz`)).status).toBe(200);
      expect((await fetch(`http://${host}:${portOf(up.ready.registry)}/v2/`)).status).toBe(200);
    }
  });

  it("refuses a folder where a live one is, naming its process, and empties that of a dead one", async () => {
    const folder = await temporary();
    const { up } = await sandbox(folder);
    const ports = { registry: 0, relay: 0 };
    await expect(startSandbox({ folder, ports, era: "e3", tell: () => undefined })).rejects.toThrow(`process ${process.pid}`);
    await up.stop();
    await writeFile(join(folder, "sandbox.pid"), JSON.stringify({ pid: process.pid, port: portOf(up.ready.registry) })); // as after SIGKILL
    await writeFile(join(folder, "left-over"), "");
    await sandbox(folder);
    expect(await readdir(folder)).not.toContain("left-over");
  });

  it("leaves nothing listening after its stop, and keeps its folder", async () => {
    const folder = await temporary();
    const { up } = await sandbox(folder);
    const ports = [up.ready.registry, up.ready.relay, up.ready.kubernetes].map(portOf);
    expect(await Promise.all(ports.map(isListening))).toEqual([true, true, true]);
    await up.stop();
    expect(await Promise.all(ports.map(isListening))).toEqual([false, false, false]);
    expect(await readdir(folder)).toEqual(expect.arrayContaining(["relay.yaml", "kubeconfig", "relay.log", "queue"]));
    expect(await readdir(folder)).not.toContain("sandbox.pid");
  });
});

const dist = fileURLToPath(new URL("../dist", import.meta.url));

/** A started program; `lines` are its stdout so far. */
function start(command: string, args: readonly string[], cwd: string) {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  const lines: string[] = [];
  let stderr = "";
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, "close").then(([code]) => z.number().nullable().parse(code));
  cleanups.push(async () => {
    if (child.exitCode === null) child.kill("SIGKILL");
    await ended;
  });
  return { child, lines, ended, stderr: () => stderr };
}

const line = z.looseObject({ event: z.string(), outcome: z.string().optional() });
const ready = z.looseObject({
  event: z.literal("ready"),
  pid: z.number(),
  registry: z.string(),
  relay: z.string(),
  kubernetes: z.string(),
});
const jsonOf = (lines: readonly string[]) => lines.map((text) => line.parse(JSON.parse(text)));

async function isUp(program: { lines: string[]; child: ChildProcess; stderr: () => string }) {
  const isPickedUp = () => program.stderr() + program.lines.filter((text) => text.includes('"PICKED_UP"')).length;
  await until(isPickedUp).toBe("1");
  const { registry, relay, kubernetes, pid } = ready.parse(jsonOf(program.lines).find(({ event }) => event === "ready"));
  return { pid, ports: [registry, relay, kubernetes].map(portOf) };
}

describe("the built program", () => {
  it("ends with 0 by --once when the push is picked up, with JSON lines alone on stdout", async () => {
    const cwd = await temporary();
    const { ended, lines, stderr } = start(process.execPath, [join(dist, "cli.js"), "sandbox", "--once", "--json"], cwd);
    expect([await ended, stderr()]).toEqual([0, ""]);
    expect(jsonOf(lines).at(-1)).toMatchObject({ event: "push", outcome: "PICKED_UP" });
    expect(await readdir(cwd)).toEqual([".sandbox"]);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("ends by %s with nothing left listening", async (signal) => {
    const program = start(process.execPath, [join(dist, "cli.js"), "sandbox", "--json"], await temporary());
    const { ports } = await isUp(program);
    program.child.kill(signal);
    expect(await program.ended).toBe(0);
    expect(await Promise.all(ports.map(isListening))).toEqual([false, false, false]);
  });

  it("ends by a signal that is sent to npm alone", async () => {
    const cwd = await temporary();
    const manifest = z.object({ scripts: z.object({ start: z.string() }) });
    const { scripts } = manifest.parse(JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8")));
    await writeFile(join(cwd, "package.json"), JSON.stringify({ private: true, scripts: { start: scripts.start } }));
    await symlink(dist, join(cwd, "dist"));
    const program = start("npm", ["--silent", "start", "--", "--json"], cwd);
    const { ports, pid } = await isUp(program);
    expect(pid).not.toBe(program.child.pid);
    program.child.kill("SIGTERM");
    await program.ended;
    await until(() => isAlive(pid)).toBe(false);
    expect(await Promise.all(ports.map(isListening))).toEqual([false, false, false]);
  });

  it("ends with 1 and says why where it cannot start", async () => {
    const cwd = await temporary();
    await mkdir(join(cwd, "elsewhere"));
    await symlink("elsewhere", join(cwd, ".sandbox"));
    const { ended, lines, stderr } = start(process.execPath, [join(dist, "cli.js"), "sandbox", "--once"], cwd);
    expect([await ended, lines]).toEqual([1, []]);
    expect(stderr()).toContain(".sandbox is a link");
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe("the first push", () => {
  it("fails with how far it came and what the override says, once patience ends", async () => {
    const watch = watcher(() => undefined);
    watch.tell({ event: "push", outcome: "REFUSED", key: "k", image: "i", digest: "d", why: "The module disabled" });
    const stuck = { push: async () => "d", status: () => '{"message":"The module disabled"}' };
    const reason = 'it came to REFUSED (The module disabled); the override\'s status: {"message":"The module disabled"}';
    await expect(firstPush(stuck, watch, 5)).rejects.toThrow(`the first push was not picked up within 0.005 s; ${reason}`);
    const failing = { push: async () => Promise.reject(new Error("no registry")), status: () => "" };
    await expect(firstPush(failing, watch, 60_000)).rejects.toThrow("no registry");
  });

  it("ends with its own digest alone", async () => {
    const watch = watcher(() => undefined);
    const waiting = firstPush({ push: async () => "mine", status: () => "" }, watch, 60_000);
    watch.tell({ event: "push", outcome: "PICKED_UP", key: "k", image: "i", digest: "another" });
    watch.tell({ event: "push", outcome: "PICKED_UP", key: "k", image: "i", digest: "mine" });
    expect(await waiting).toBeNull();
  });
});

describe("the timeline", () => {
  const at = (ms: number) => new Date(1_000_000 + ms).toISOString();
  const push = { key: "k", image: "r/echo:t", digest: "sha256:1", pushedAt: at(0), receivedAt: at(3) };

  function told(): { observer: ReturnType<typeof timeline>; news: (PushNews | AlarmNews)[] } {
    const news: (PushNews | AlarmNews)[] = [];
    return { observer: timeline((each) => news.push(each)), news };
  }

  it("counts from the sender's time, keeps what earlier lines said, and is silent on repetitions", () => {
    const { observer, news } = told();
    const queued = { event: "delivery", outcome: "QUEUED", ...push, queuedAt: at(5) } as const;
    observer.outcome(queued);
    observer.outcome(queued);
    observer.outcome({ event: "record", outcome: "NUDGED", ...push, patchedAt: at(9) });
    observer.outcome({ event: "record", kind: "confirm", outcome: "DEFERRED", ...push, why: "look 2" });
    observer.outcome({ event: "record", outcome: "PICKED_UP", ...push, patchedAt: at(9), pickedUpAt: at(109) });
    expect(news.map((each) => each.event === "push" && each.outcome)).toEqual(["QUEUED", "NUDGED", "PICKED_UP"]);
    const times = { receivedMs: 3, queuedMs: 5, nudgedMs: 9, pickedUpMs: 109, polling: { meanMs: 7_600, maxMs: 15_100 } };
    expect(news.at(-1)).toEqual({ event: "push", outcome: "PICKED_UP", key: "k", image: "r/echo:t", digest: "sha256:1", ...times });
  });

  it("tells once that a nudge has to wait, and why", () => {
    const { observer, news } = told();
    for (let n = 0; n < 2; n++) observer.outcome({ event: "record", kind: "renew", outcome: "DEFERRED", ...push, why: "another nudge" });
    expect(news).toMatchObject([{ outcome: "DEFERRED", why: "another nudge" }]);
  });

  it("tells of what is skipped at the edge, but not of pulls, blobs and the relay's own start", () => {
    const { observer, news } = told();
    observer.outcome({ event: "process", outcome: "STARTED" });
    observer.outcome({ event: "delivery", outcome: "NOT_A_PUSH", repository: "a/b", tag: "t" });
    observer.outcome({ event: "delivery", outcome: "NOISE_TAG", repository: "a/b", tag: "meta" });
    observer.alarm("UNCONFIRMED", { what: "nudged, but …", why: "override echo …" });
    expect(news).toEqual([
      { event: "push", outcome: "NOISE_TAG", key: null, image: "a/b:meta", digest: null },
      { event: "alarm", alarm: "UNCONFIRMED", what: "nudged, but …", why: "override echo …" },
    ]);
  });
});

describe("the text for people", () => {
  it("gives commands to try with this sandbox's own places", () => {
    const text = sandboxText({ staysUp: true });
    const config = ".sandbox/relay.yaml";
    const places = { registry: "localhost:5001", relay: "http://localhost:8081", kubernetes: "https://127.0.0.1:1", kubeconfig: "K" };
    text({ event: "ready", pid: 1, ...places, config, deckhouse: "v1.67", delivery: "D", image: pickedUp.image, channel: "C" });
    const lines = text(pickedUp)?.split("\n") ?? [];
    expect(lines).toContain(`    export MPO_RELAY_CONFIG=${config}`);
    expect(lines.find((line) => line.includes("send sandbox"))).toMatch(/--url http:\/\/localhost:8081$/);
    expect(lines.find((line) => line.includes("explain"))).toContain("--body D");
  });

  const pickedUp: PushNews = {
    event: "push",
    outcome: "PICKED_UP",
    key: "k",
    image: "localhost:5000/deckhouse/modules/echo:main",
    digest: `sha256:${"a".repeat(64)}`,
    receivedMs: 3,
    queuedMs: 5,
    nudgedMs: 9,
    pickedUpMs: 109,
    polling: { meanMs: 7_600, maxMs: 15_100 },
  };

  it("shows the first push as a table beside what polling would have cost, later ones on a line each", () => {
    const text = sandboxText({ staysUp: false });
    expect(text({ ...pickedUp, outcome: "QUEUED" })).toBeNull();
    const lines = text(pickedUp)?.split("\n") ?? [];
    expect(lines.find((each) => each.includes("nudged"))).toMatch(/nudged\s+9 ms\s+7,500 ms\s+15,000 ms$/);
    expect(lines.find((each) => each.includes("picked up"))).toMatch(/picked up\s+109 ms\s+7,600 ms\s+15,100 ms$/);
    expect(text(pickedUp)).toMatch(/echo:main sha256:aaaaaaaaaaaa  picked up after 109 ms \(received 3, queued 5, nudged 9\)$/);
  });

  it("names skipped pushes in plain words, and lets no control character through", () => {
    const text = sandboxText({ staysUp: true });
    expect(text({ ...pickedUp, outcome: "TAG_DIFFERS" })).toContain("the override follows another tag");
    expect(text({ event: "alarm", alarm: "INVALID", what: "w", why: "a\u001b[2Jb" })).toMatch(/alarm INVALID: a \[2Jb$/);
  });
});
