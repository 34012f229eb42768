/** The ways in which the relay is run, as real processes that can be killed and paused. */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeCertificates } from "../../src/sandbox/kubernetes/certificates.ts";
import { openFolder } from "../../src/queue/folder.ts";
import type { Queue } from "../../src/queue/queue.ts";
import { openSqs } from "../../src/queue/sqs.ts";
import { freePort, type Service } from "../e2e/parts/child.ts";
import { startElasticMq } from "../e2e/parts/elasticmq.ts";
import { serveRelay, workRelay } from "../e2e/relay.ts";
import type { ConfigOptions, World } from "../e2e/world.ts";

export const TOPOLOGIES = ["elasticmq", "hub", "serve"] as const;
export type TopologyName = (typeof TOPOLOGIES)[number];
export type Target = "edge" | "worker" | "queue";

export interface Process {
  /** SIGKILL, `ms` of silence, and a new one. */
  kill(ms: number): Promise<void>;
  /** SIGSTOP for `ms`. */
  pause(ms: number): Promise<void>;
  stop(signal: NodeJS.Signals): Promise<void>;
  /** The most memory that any of its lives held, in MiB, as far as it was asked. */
  peak(): Promise<number>;
}
export interface Topology {
  process(target: Target): Process;
  /** Peak memory of each of the relay's processes, in MiB. */
  memory(): Promise<ReadonlyMap<string, number>>;
  /** A worker of another cluster at this one's queue, for `ms`. */
  stranger(ms: number): Promise<void>;
  /** As an administrator's command opens it. */
  openQueue(): Promise<Queue>;
  /** Ends the relay's processes politely; the queue can still be opened. */
  quiet(): Promise<void>;
  stop(): Promise<void>;
}

type Running = Pick<Service, "pid" | "alive" | "stop">;
/** `nth` life of it. */
type Start = (nth: number) => Promise<Running>;

async function keep(name: string, start: Start): Promise<Process> {
  let lives = 0;
  let running = await start(lives++);
  let peak = 0;
  const measure = async (): Promise<number> => (peak = Math.max(peak, await peakOf(running.pid)));
  const alive = (): Running => {
    if (!running.alive()) throw new Error(`${name} ended by itself`);
    return running;
  };
  return {
    async kill(ms) {
      const dying = alive();
      await measure();
      await dying.stop("SIGKILL");
      await sleep(ms);
      running = await start(lives++);
    },
    async pause(ms) {
      process.kill(alive().pid, "SIGSTOP");
      await sleep(ms);
      process.kill(alive().pid, "SIGCONT");
    },
    async stop(signal) {
      await measure();
      await running.stop(signal);
    },
    peak: measure,
  };
}

/** https://man7.org/linux/man-pages/man5/proc_pid_status.5.html; 0 where it is gone. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Math.round(Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024);
}

export interface Common {
  readonly webhooks: object;
  /** The cluster's. */
  readonly uid: string;
}

/** Throws an Error where one of its processes does not get ready. */
export function startTopology(name: TopologyName, world: World, common: Common): Promise<Topology> {
  return START[name](world, common);
}

const edgeOf = (world: World, config: string) =>
  keep("the edge", (nth) => serveRelay({ config, log: join(world.folder, `edge-${nth}.log`), url: world.relayUrl }));
const workerOf = (world: World, config: string) =>
  keep("the worker", (nth) => workRelay({ config, log: join(world.folder, `worker-${nth}.log`), cluster: "dev" }));
const folderOf = (world: World) => openFolder(join(world.folder, "data"), "dev");

/** The one that may ask the registry: what the others do not know without it, they do not know. */
async function startServe(world: World, { webhooks }: Common): Promise<Topology> {
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true, webhooks, lookUp: true });
  return topologyOf(world, { edge: await edgeOf(world, config) }, { openQueue: () => folderOf(world) });
}

async function startElastic(world: World, { webhooks }: Common): Promise<Topology> {
  const queues = await startElasticMq({ durable: true });
  try {
    const { url } = await queues.createQueue("dev");
    const edge = await edgeOf(world, await world.writeConfig("edge.yaml", { queue: url, edge: true, consumer: false, webhooks }));
    const worker = await workerOf(world, await world.writeConfig("worker.yaml", { queue: url, edge: false, consumer: true }));
    const queue = await keep("the queue server", (nth) => (nth === 0 ? Promise.resolve(queues.service()) : queues.start()));
    const stranger = { queue: url };
    return topologyOf(world, { edge, worker, queue }, { openQueue: async () => openSqs({ url }), stranger, stop: () => queues.stop() });
  } catch (error) {
    await queues.stop();
    throw error;
  }
}

async function startHub(world: World, { webhooks, uid }: Common): Promise<Topology> {
  const { ca, cert, key } = await makeCertificates();
  const files = { "hub.crt": cert, "hub.key": key, "hub-ca.crt": ca, "hub.token": randomBytes(32).toString("hex") };
  for (const [name, text] of Object.entries(files)) await writeFile(join(world.folder, name), text, { mode: 0o600 });
  const listen = `127.0.0.1:${await freePort()}`;
  const hub = { listen, certificate: "file:hub.crt", key: "file:hub.key" };
  const hubToken = "file:hub.token";
  const lent = { queue: "embedded:./data", edge: true, consumer: false, webhooks, cluster: { hubToken }, more: { hub } };
  const borrowed = { queue: `hub:https://${listen}`, cluster: { hubToken, hubCa: "file:hub-ca.crt" } };
  const edge = await edgeOf(world, await world.writeConfig("edge.yaml", lent));
  const worker = await workerOf(
    world,
    await world.writeConfig("worker.yaml", { ...borrowed, cluster: { ...borrowed.cluster, uid }, edge: false, consumer: true }),
  );
  return topologyOf(world, { edge, worker }, { openQueue: () => folderOf(world), stranger: borrowed });
}

const START: Readonly<Record<TopologyName, (world: World, common: Common) => Promise<Topology>>> = {
  serve: startServe,
  elasticmq: startElastic,
  hub: startHub,
};

function topologyOf(
  world: World,
  processes: Partial<Record<Target, Process>>,
  more: Pick<Topology, "openQueue"> & { stranger?: Pick<ConfigOptions, "queue" | "cluster">; stop?: () => Promise<void> },
): Topology {
  const { edge, worker } = processes;
  return {
    openQueue: more.openQueue,
    process(target) {
      const found = processes[target];
      if (found === undefined) throw new Error(`no ${target} in this topology`);
      return found;
    },
    async memory() {
      const own = Object.entries({ edge, worker }).flatMap(([target, each]) => (each ? [{ target, each }] : []));
      const peaks = await Promise.all(own.map(async ({ target, each }) => [target, await each.peak()] as const));
      return new Map(peaks);
    },
    async stranger(ms) {
      if (more.stranger === undefined) throw new Error("no queue that another worker could take for its own");
      const config = await world.writeConfig("stranger.yaml", { ...more.stranger, name: "other", edge: false, consumer: true });
      const stranger = await workRelay({ config, log: join(world.folder, "stranger.log"), cluster: "other" });
      await sleep(ms);
      await stranger.stop("SIGTERM");
    },
    async quiet() {
      await edge?.stop("SIGTERM");
      await worker?.stop("SIGTERM");
    },
    async stop() {
      await Promise.all([edge?.stop("SIGKILL"), worker?.stop("SIGKILL")]);
      await more.stop?.();
    },
  };
}
