/** What is done to the parts of a run, a row for each. Two faults of one target follow one another; those of different targets meet. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../e2e/cluster.ts";
import type { Api, Trouble } from "./api.ts";
import type { Target, Topology, TopologyName } from "./topologies.ts";

export interface Stage {
  readonly topology: Topology;
  readonly cluster: Cluster;
  readonly api: Api;
}
interface Fault {
  readonly name: string;
  readonly target: Target | "api" | "stranger";
  readonly topologies: readonly TopologyName[];
  /** Once in a run. */
  readonly once?: true;
  /** `ms`: how long it lasts, drawn from the seed. */
  run(stage: Stage, ms: number): Promise<void>;
}

const ALL = ["serve", "elasticmq", "hub"] as const;
const APART = ["elasticmq", "hub"] as const;

const kill =
  (target: Target) =>
  ({ topology }: Stage, ms: number) =>
    topology.process(target).kill(ms);
const pause =
  (target: Target) =>
  ({ topology }: Stage, ms: number) =>
    topology.process(target).pause(ms);
const trouble =
  (what: Trouble) =>
  async ({ api }: Stage, ms: number): Promise<void> => {
    api.trouble(what);
    await sleep(ms);
    api.trouble(null);
  };

const TABLE = [
  { name: "kill edge", target: "edge", topologies: ALL, run: kill("edge") },
  { name: "kill worker", target: "worker", topologies: APART, run: kill("worker") },
  { name: "kill queue server", target: "queue", topologies: ["elasticmq"], run: kill("queue") },
  { name: "pause edge", target: "edge", topologies: ALL, run: pause("edge") },
  { name: "pause worker", target: "worker", topologies: APART, run: pause("worker") },
  { name: "pause queue server", target: "queue", topologies: ["elasticmq"], run: pause("queue") },
  {
    name: "kill API server",
    target: "api",
    topologies: ALL,
    run: async ({ cluster }, ms) => {
      await cluster.kube.kill();
      await sleep(ms);
      await cluster.kube.start();
    },
  },
  { name: "API server answers 429", target: "api", topologies: ALL, run: trouble("429") },
  { name: "API server answers 500", target: "api", topologies: ALL, run: trouble("500") },
  { name: "API server answers 503", target: "api", topologies: ALL, run: trouble("503") },
  { name: "connections are reset", target: "api", topologies: ALL, run: trouble("reset") },
  { name: "answers get lost", target: "api", topologies: ALL, run: trouble("unheard") },
  { name: "API server hangs", target: "api", topologies: ALL, run: trouble("hang") },
  { name: "version switch", target: "api", topologies: ALL, once: true, run: ({ cluster }) => cluster.upgrade() },
  {
    name: "worker on the wrong queue",
    target: "stranger",
    topologies: APART,
    once: true,
    run: ({ topology }, ms) => topology.stranger(ms),
  },
] as const satisfies readonly Fault[];

export const FAULTS: readonly (Fault & { readonly name: FaultName })[] = TABLE;
export type FaultName = (typeof TABLE)[number]["name"];
