/**
 * The desk of whoever is on call: a relay in trouble, in its container as shipped; its alarms in log, metrics and Prometheus; and the shell in
 * which a page's commands are typed, outside of the container as the runbook's preface says.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { pagesOf } from "../support/monitoring.ts";
import { SOURCE } from "./cluster.ts";
import { freePort } from "./parts/child.ts";
import { install, say } from "./parts/cache.ts";
import { kubectl as kubectlPart, openKubectl, type Kubectl } from "./parts/kubectl.ts";
import { startPrometheus } from "./parts/prometheus.ts";
import { type Line, type RelayProcess, serveRelay, workRelay } from "./relay.ts";
import { CONFIG, openShipped, VOLUME } from "./shipped.ts";
import { eventually } from "./wait.ts";
import { type ConfigOptions, startWorld, type World } from "./world.ts";

const root = join(import.meta.dirname, "../..");
/** The secret of whatever is posted by hand. */
const SECRET = "0123456789abcdef0123456789abcdef";
export const PIPELINES = { provider: "generic", auth: "token", secret: "file:pipelines.secret" };
export const REGISTRY = { provider: "distribution", secret: "file:webhook.secret" };
export const PUSHED = "echo";
/** Of a push whose image runs: one that waited meanwhile may be nudged behind it, and then that one is followed. */
const ENDS: ReadonlySet<string> = new Set(["PICKED_UP", "SUPERSEDED", "JOINED"]);

export interface Incident {
  readonly code: string;
  /** Other alarms that this cause cannot be had without. */
  readonly also?: readonly string[];
  /** Others that it may bring, by chance. */
  readonly may?: readonly string[];
  cause(): Promise<unknown>;
  /** What the page's commands say, in their order: `[exit code] output`. */
  readonly says: readonly RegExp[];
  /** Where the page's commands are not the remedy by themselves. */
  remedy?(): Promise<unknown>;
  /** Default: a push is picked up. */
  green?(): Promise<unknown>;
}

/** `worker` in place of `serve`; `env`: variables of the container. */
interface Start {
  readonly worker?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

export interface Desk {
  readonly world: World;
  readonly kubectl: Kubectl;
  /** The folder behind the container's volume. */
  readonly volume: string;
  /** Starts the relay anew over a queue of its own, by another configuration. */
  serve(options?: Partial<ConfigOptions>, how?: Start): Promise<RelayProcess>;
  relay(): RelayProcess;
  /** Ends it, where one runs. */
  rest(): Promise<void>;
  /** Starts it again, over the same queue. */
  again(): Promise<RelayProcess>;
  /** Puts a file beside relay.yaml, for the relay to read. */
  write(name: string, text: string): Promise<void>;
  /** What a page's `$NAME` stands for. */
  readonly names: Record<string, string>;
  /** Since the last `serve`. */
  alarms(): Promise<string[]>;
  /** By /metrics, since the last `serve`. */
  counted(): Promise<Record<string, number>>;
  metrics(): Promise<string>;
  /** Alerts of rules.yml that fire in Prometheus now. */
  firing(): Promise<Record<string, string>[]>;
  post(webhook: string, body: string, headers?: Record<string, string>): Promise<number>;
  /** A push to the registry that Deckhouse is to run. */
  expectPickedUp(module?: string): Promise<void>;
  /** `[exit code] output` */
  shell(line: string): Promise<string>;
  /** Types the first commands of a page, one after the other. Gives what each said. */
  follow(title: string): Promise<string[]>;
  incident(incident: Incident): Promise<void>;
  /** Codes that fired, and whose page was followed. */
  readonly done: Map<string, { fired: boolean; followed: number }>;
  stop(): Promise<void>;
}

/** `rules`: in place of the shipped ones. */
export async function openDesk({ rules, ...options }: Parameters<typeof startWorld>[0] & { rules?: string }): Promise<Desk> {
  const stops: (() => Promise<unknown>)[] = [];
  const world = await startWorld(options);
  stops.push(() => world.stop());
  const opened = await openKubectl(world.cluster.kube);
  stops.push(opened.close);
  const { folder } = world;
  const adminPort = await freePort();
  const admin = `http://127.0.0.1:${adminPort}`;
  const targets = [`127.0.0.1:${adminPort}`];
  const prometheus = await startPrometheus({ rules: rules ?? join(root, "infra/monitoring/rules.yml"), targets });
  stops.push(() => prometheus.stop());
  const shipped = await openShipped(folder);
  stops.push(shipped.close);
  await mkdir(join(folder, "bin"));
  const program = async (name: string, script: string) => {
    await writeFile(join(folder, "bin", name), `#!/bin/sh\n${script}\n`);
    await chmod(join(folder, "bin", name), 0o755);
  };
  await program("kubectl", `exec "${join(await install(kubectlPart), "kubectl")}" "$@"`);
  await symlink(join(root, "infra"), join(folder, "infra"));
  // as a mounted secret's: its group is the container's, and that of files to come
  for (const each of await readdir(folder)) await chown(join(folder, each), 0, shipped.user);
  for (const each of ["webhook.secret", "ca.crt", "token"]) await chmod(join(folder, each), 0o640);
  await chown(folder, 0, shipped.user);
  await chmod(folder, 0o2750);
  await writeFile(join(folder, "kubeconfig"), world.cluster.kube.config(world.cluster.kube.adminToken).exportConfig(), { mode: 0o600 });
  const names = {
    CLUSTER: "dev",
    WEBHOOK: "registry",
    MODULE: PUSHED,
    SOURCE,
    DATA: VOLUME,
    TOKEN: join(folder, "token"),
    RELAY: world.relayUrl,
    ADMIN: admin,
  };
  const env = { PATH: `${join(folder, "bin")}:${process.env["PATH"]}`, KUBECONFIG: join(folder, "kubeconfig"), HOME: folder };

  let relay: RelayProcess | null = null;
  let nth = 0;
  let started: Start = {};
  stops.push(async () => relay?.stop("SIGTERM"));
  const current = () => relay ?? expect.fail("no relay runs");
  const done: Desk["done"] = new Map();

  const shell = async (line: string): Promise<string> => {
    const child = spawn("sh", ["-c", line], { cwd: folder, env: { ...env, ...names } });
    let said = "";
    child.stdout.on("data", (text) => (said += String(text)));
    child.stderr.on("data", (text) => (said += String(text)));
    await once(child, "close");
    return `[${child.exitCode}] ${said}`;
  };

  const write: Desk["write"] = async (name, text) => {
    await writeFile(join(folder, name), text);
    await chmod(join(folder, name), 0o640);
  };
  await write("pipelines.secret", SECRET);

  const run = async ({ worker = false, env: own = {} }: Start) => {
    await relay?.stop("SIGTERM");
    const inside = { by: shipped.by, env: { ...shipped.env, ...own } };
    const options = {
      config: join(CONFIG, "relay.yaml"),
      log: join(folder, `relay-${nth}.log`),
      node: "node",
      cli: "/opt/mpo-relay/dist/cli.js",
      under: inside,
    };
    relay = await (worker ? workRelay({ ...options, cluster: "dev" }) : serveRelay({ ...options, url: world.relayUrl }));
    await program("relay", `${shipped.exec(relay.pid, own)} "$@"`);
    await program("mpo-relay", `exec relay mpo-relay "$@"`);
    return relay;
  };

  const desk: Desk = {
    world,
    done,
    volume: shipped.volume,
    names,
    write,
    kubectl: opened.kubectl,
    relay: current,
    shell,
    async follow(title) {
      const page = pagesOf().find((each) => each.title === title) ?? expect.fail(`no page ${title}`);
      const [, block = ""] = /```sh\n([^`]+)\n```/.exec(page.text) ?? [];
      const said: string[] = [];
      for (const line of block.split("\n")) said.push(await shell(line));
      return said;
    },
    async serve({ more = {}, ...written } = {}, how = {}) {
      nth += 1;
      started = how;
      const { edge = true } = written;
      const queue = `embedded:${VOLUME}/data-${nth}`;
      await world.writeConfig("relay.yaml", {
        queue,
        edge,
        consumer: true,
        webhooks: { registry: REGISTRY, pipelines: PIPELINES },
        more: { admin: adminPort, ...(edge && { unparsed: queue }), ...more },
        ...written,
      });
      await chmod(join(folder, "relay.yaml"), 0o640);
      return run(how);
    },
    rest: async () => relay?.stop("SIGTERM"),
    again: () => run(started),
    alarms: async () => (await current().lines()).flatMap(({ alarm }: Line) => alarm ?? []),
    metrics: async () => (await fetch(`${admin}/metrics`)).text(),
    async counted() {
      const text = await desk.metrics();
      const found = [...text.matchAll(/^mpo_relay_alarms_total\{code="([^"]+)"\} (\d+)$/gm)];
      return Object.fromEntries(found.flatMap(([, code = "", count = ""]) => (count === "0" ? [] : [[code, Number(count)]])));
    },
    firing: () => prometheus.firing(),
    async post(webhook, body, headers = { authorization: `Bearer ${SECRET}` }) {
      const answer = await fetch(`${world.relayUrl}/hooks/${webhook}`, { method: "POST", body, headers });
      return answer.status;
    },
    async expectPickedUp(module = PUSHED) {
      const digest = await world.crane.push(world.image(module));
      await eventually(`the push of ${module} is picked up`, async () => {
        const { status, metadata } = await world.cluster.override(module);
        const told = (await current().lines()).filter(({ digest: of }) => of === digest);
        if (status.imageDigest === digest && told.some(({ outcome }) => ENDS.has(outcome ?? ""))) return true;
        const lines = told.map(({ outcome, why, message, seconds }) => [outcome, why, message, seconds].join(" "));
        throw new Error(JSON.stringify({ digest, status, metadata, lines }));
      });
    },
    async incident({ code, also = [], may = [], cause, says, remedy, green = () => desk.expectPickedUp() }) {
      const expected = [code, ...also].toSorted();
      await cause();
      // a process of its own may have been started by the cause, so what came before is looked at behind it
      await eventually(`alarm ${code} is told`, async () => ((await desk.alarms()).includes(code) ? true : null));
      const line = (await current().lines()).findLast(({ alarm }) => alarm === code);
      expect(line).toMatchObject({ page: `infra/runbook.md#${code.toLowerCase()}` });
      await eventually(`alarm ${code} is an alert`, async () =>
        (await desk.firing()).some((labels) => labels["code"] === code) ? true : null,
      );
      const said = await desk.follow(code);
      done.set(code, { fired: true, followed: said.length });
      expect(said, JSON.stringify(said)).toHaveLength(says.length);
      for (const [index, pattern] of says.entries()) expect(said[index], code).toMatch(pattern);
      const toldOf = async () => [...new Set(await desk.alarms())].filter((each) => !may.includes(each)).toSorted();
      const countedOf = async () =>
        Object.keys(await desk.counted())
          .filter((each) => !may.includes(each))
          .toSorted();
      expect([await toldOf(), await countedOf()]).toEqual([expected, expected]);
      await remedy?.(); // it may start the relay anew, whose log and counters begin anew then
      await green();
      const since = [...(await toldOf()), ...(await countedOf())];
      expect(since.filter((each) => !expected.includes(each))).toEqual([]);
      say(`on call: ${code} fired, ${said.length} commands of its page, green`);
    },
    async stop() {
      for (const each of stops.splice(0).toReversed()) await each();
    },
  };
  return desk;
}
