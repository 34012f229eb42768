/** Queues that are on their way out of the stack: how many records lie in them, and which of them may be deleted. */
import { setTimeout as sleep } from "node:timers/promises";
import { DeleteQueueCommand, GetQueueAttributesCommand, QueueDoesNotExist, type SQSClient } from "@aws-sdk/client-sqs";
import * as z from "zod";
import { counted } from "../../src/cli/terminal.ts";
import type { Problem } from "../../src/config.ts";
import { deadLettersOf, idOf, queueOf } from "../template/names.ts";
import type { DeployedStack } from "./stack.ts";

const POLL_MS = 5_000;

export interface Held {
  /** Its logical id. */
  readonly id: string;
  readonly url: string;
  /** Waiting, in hand and delayed, as SQS counts: approximately. */
  readonly records: number;
}

/** The stack's queues, or those of them that the new one does not have. */
export async function queuesOf(client: SQSClient, stack: DeployedStack, isKept: (id: string) => boolean): Promise<Held[]> {
  const ids = Object.entries(stack.template.Resources).flatMap(([id, { Type }]) => (Type === "AWS::SQS::Queue" && !isKept(id) ? [id] : []));
  const urls = ids.flatMap((id) => {
    const url = stack.ids.get(id);
    return url === undefined ? [] : [{ id, url }];
  });
  const held = await Promise.all(urls.map(async ({ id, url }) => ({ id, url, records: await recordsIn(client, url) })));
  return held.flatMap(({ id, url, records }) => (records === null ? [] : [{ id, url, records }]));
}

const COUNTERS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"] as const;

/** null: there is no such queue any more. */
async function recordsIn(client: SQSClient, QueueUrl: string): Promise<number | null> {
  try {
    const { Attributes = {} } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...COUNTERS] }));
    return COUNTERS.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
  } catch (error) {
    if (error instanceof QueueDoesNotExist) return null;
    throw error;
  }
}

/** Deletes those that are seen empty for `settleSeconds`; gives those that stay. */
export async function deleteEmpty(client: SQSClient, queues: readonly Held[], settleSeconds: number): Promise<Held[]> {
  const until = Date.now() + settleSeconds * 1000;
  const full = new Map<string, Held>();
  for (;;) {
    for (const each of queues) {
      const records = await recordsIn(client, each.url);
      if (records !== null && records > 0) full.set(each.id, { ...each, records });
    }
    const left = until - Date.now();
    if (left <= 0 || full.size === queues.length) break;
    await sleep(Math.min(left, POLL_MS));
  }
  for (const { id, url } of queues) {
    if (full.has(id)) continue;
    await client.send(new DeleteQueueCommand({ QueueUrl: url })).catch((error: unknown) => {
      if (!(error instanceof QueueDoesNotExist)) throw error;
    });
  }
  return [...full.values()];
}

/** Of what was taken out of relay.yaml: the records that would be left with nobody to work on them, and what to do. */
export function heldProblems(held: readonly Held[], stack: DeployedStack): Problem[] {
  const full = new Map(held.flatMap((each) => (each.records > 0 ? [[each.id, each] as const] : [])));
  const clusters = held.flatMap(({ id }) => {
    const cluster = /^Queue(.+)$/.exec(id)?.[1];
    return cluster === undefined ? [] : [{ cluster, waiting: full.get(id), dead: full.get(deadLettersOf(cluster)) }];
  });
  const ofClusters = new Set(clusters.flatMap(({ cluster }) => [queueOf(cluster), deadLettersOf(cluster)]));
  const others = [...full.values()].filter(({ id }) => !ofClusters.has(id));
  return [
    ...clusters.flatMap(({ cluster, waiting, dead }) => (waiting || dead ? [clusterProblem(cluster, waiting, dead, stack)] : [])),
    ...others.map(({ id, url, records }) => ({
      path: `queue ${id}`,
      message: `nothing in relay.yaml needs it any more, and it holds ${counted(records, "record")}`,
      hint: `put back what was taken out until it is empty: ${url}`,
    })),
  ];
}

/** A cluster that keeps its queue and is called otherwise from now on: `stage-1`, and then `stage1`. */
export interface Renamed {
  readonly from: string;
  readonly to: string;
  /** Logical ids of its queue and its dead letters. */
  readonly queues: readonly string[];
}

/** Of clusters that functions consume: a worker inside has a name of its own. */
export function renamedIn(clusters: readonly string[], { template }: DeployedStack): Renamed[] {
  const before = new Map(
    variablesIn(template).flatMap(({ MPO_RELAY_CLUSTER: name }) => (typeof name === "string" ? [[idOf(name), name] as const] : [])),
  );
  return clusters.flatMap((to) => {
    const from = before.get(idOf(to)) ?? to;
    return from === to ? [] : [{ from, to, queues: [queueOf(idOf(to)), deadLettersOf(idOf(to))] }];
  });
}

/** A record names its cluster: under another name the consumer buries it, and nobody can redrive it. */
export function renamedProblems(renamed: readonly Renamed[], held: readonly Held[]): Problem[] {
  return renamed.flatMap(({ from, to, queues }) => {
    const records = held.reduce((sum, each) => sum + (queues.includes(each.id) ? each.records : 0), 0);
    const message = `was called ${from}, and its queues hold ${counted(records, "record")} for that name: each would end as WRONG_CLUSTER`;
    const hint = `call it ${from} until \`npx mpo-relay dlq list --cluster ${from}\` shows none`;
    return records === 0 ? [] : [{ path: `clusters.${to}`, message, hint }];
  });
}

function clusterProblem(cluster: string, waiting: Held | undefined, dead: Held | undefined, stack: DeployedStack): Problem {
  const { name, variable } = namesOf(queueOf(cluster), cluster, stack);
  const relay = `${variable}=${stack.ids.get(queueOf(cluster)) ?? ""} npx mpo-relay`;
  const what = [
    ...(waiting ? [`${counted(waiting.records, "record")} in its queue`] : []),
    ...(dead ? [counted(dead.records, "dead letter")] : []),
  ];
  const put = "put it back";
  const drain = `take it out of every source's \`clusters\`, deploy, and let what waits be worked on, also by hand: ${relay} worker --cluster ${name}`;
  const letters = `export what is dead: ${relay} dlq export --cluster ${name} > ${name}.jsonl, and then: ${relay} dlq purge --all --cluster ${name}`;
  const hint = [put, ...(waiting ? [drain] : []), ...(dead ? [letters] : [])].join("; ");
  return { path: `clusters.${name}`, message: `taken out, and holds ${what.join(" and ")}`, hint };
}

const lambda = z.object({ Environment: z.object({ Variables: z.record(z.string(), z.unknown()) }) });

function variablesIn({ Resources }: DeployedStack["template"]): Readonly<Record<string, unknown>>[] {
  return Object.values(Resources).flatMap(({ Properties }) => {
    const read = lambda.safeParse(Properties);
    return read.success ? [read.data.Environment.Variables] : [];
  });
}

/** The cluster's name, and its queue's variable, as a deployed function has them. `id` is the queue's. */
function namesOf(id: string, cluster: string, { template }: DeployedStack): { name: string; variable: string } {
  const isOurs = (value: unknown) => z.object({ Ref: z.literal(id) }).safeParse(value).success;
  const variables = variablesIn(template).filter((each) => Object.values(each).some(isOurs));
  const name = variables.map((each) => each["MPO_RELAY_CLUSTER"]).find((each) => typeof each === "string");
  const variable = variables.flatMap((each) => Object.entries(each)).find(([, value]) => isOurs(value))?.[0];
  return { name: name ?? cluster, variable: variable ?? "QUEUE" };
}
