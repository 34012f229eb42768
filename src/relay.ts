/** A relay in a Node process: edge, consumers, or both, from one configuration. */
import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import { getConnInfo } from "@hono/node-server/conninfo";
import { createApp } from "./app.ts";
import type { RelayConfig } from "./config.ts";
import { consumeContext, openCluster, openSweeper } from "./consumer.ts";
import { watchExpiry } from "./expiry.ts";
import { startHub } from "./lend.ts";
import { createLimiter } from "./limiter.ts";
import { SECRETS_EVERY_MS } from "./limits.ts";
import { EDGE_PATIENCE_MS, type Journals, openJournals, PATIENCE_MS } from "./journals.ts";
import { listen } from "./listen.ts";
import { lookAgain, lookOnce } from "./look.ts";
import type { Metrics } from "./metrics/admin.ts";
import { type Observer, toAll } from "./observe.ts";
import { toRelayError } from "./outcome.ts";
import { type PushQuestion, tellPush } from "./pushes.ts";
import type { DeadLetters, Queue } from "./queue/queue.ts";
import { takeIn } from "./inbox.ts";
import { openQueues, openWebhookQueue, type Queues } from "./queues.ts";
import { receive, type ReceiveContext } from "./receive.ts";
import { boundRefusals } from "./refusals.ts";
import { watchSecrets } from "./secret-watch.ts";
import { createSecretReader } from "./secrets.ts";
import type { Swept } from "./sweep.ts";
import { createTroubleNews, sweepAgain } from "./sweeper.ts";
import { pause } from "./take.ts";
import { work } from "./worker.ts";

export interface RelayOptions {
  readonly config: RelayConfig;
  readonly observer: Observer;
  readonly roles?: readonly ("edge" | "consumer")[];
  /** Consume for these only; default: every cluster that has `kubernetes`. */
  readonly clusters?: readonly string[];
}
export interface Relay {
  /** Where the edge listens; null without one. */
  readonly url: string | null;
  readonly port: number | null;
  /** Where the edge's queues are lent; null where they are not. */
  readonly hubUrl: string | null;
  /** Where /metrics is; null where it is not. */
  readonly adminUrl: string | null;
  /** Answers what is in hand, settles what is in hand, then closes the queues. */
  stop(): Promise<void>;
}

const REFUSED_CALLS_PER_MINUTE = 30;

/** Throws an Error that says what to do where a queue, a cluster or the port cannot be had. */
export async function startRelay({ config, observer: log, roles = ["edge", "consumer"], clusters }: RelayOptions): Promise<Relay> {
  const metrics = config.admin && (await import("./metrics/admin.ts")).openMetrics(config);
  const bound = boundRefusals(log);
  const observer = metrics ? toAll(bound.observer, metrics.observer) : bound.observer;
  const reachable = Object.keys(config.clusters).filter((name) => config.clusters[name]?.kubernetes);
  const consumed = roles.includes("consumer") ? (clusters ?? reachable) : [];
  const isEdge = roles.includes("edge");
  const queues = await openQueues(config, {
    clusters: isEdge ? Object.keys(config.clusters) : consumed,
    unparsed: isEdge,
    as: "owner",
    observer,
  });
  const journals = await openJournals(config, { observer, patienceMs: isEdge ? EDGE_PATIENCE_MS : PATIENCE_MS });
  const stopping: (() => Promise<void>)[] = [];
  const stopAll = async () => {
    await Promise.all(stopping.map((stop) => stop()));
    await journals.close();
    await queues.close();
    bound.close();
  };
  try {
    const telling = { observer, ...journals, tellTroubles: createTroubleNews(observer), metrics };
    const starting = consumed.map(async (cluster) => {
      stopping.push(await startConsumer(config, cluster, queues.of(cluster), { ...telling, isAlone: !isEdge }));
    });
    // side by side: clusters that do not answer must not keep the edge from listening one after the other
    const failed = (await Promise.allSettled(starting)).find((start) => start.status === "rejected");
    if (failed) throw toRelayError(failed.reason);
    if (queues.unparsed) stopping.push(startWatch("unparsed", queues.unparsed, observer));
    const context = edgeContext(config, queues, telling);
    const edge = isEdge ? await startEdge(context, queues, journals) : null;
    if (edge) stopping.push(edge.stop);
    const hub = isEdge && config.hub ? await startHub(config.hub, { ...context, queues, journal: journals.journal }) : null;
    if (hub) stopping.push(hub.stop);
    for (const webhook of isEdge ? Object.keys(config.webhooks) : []) stopping.push(await startInbox(webhook, context));
    const admin =
      config.admin && metrics && (await startAdmin(config.admin, metrics, queues, isEdge ? Object.keys(config.clusters) : consumed));
    if (admin) stopping.push(admin.stop);
    const ports = { port: edge?.port ?? null, ...(hub && { hubPort: hub.port }), ...(admin && { adminPort: admin.port }) };
    observer.outcome({ event: "process", outcome: "STARTED", roles: roles.join(" "), ...ports, clusters: consumed.join(" ") });
    return { url: edge?.url ?? null, port: ports.port, hubUrl: hub?.url ?? null, adminUrl: admin?.url ?? null, stop: stopAll };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

type Telling = Pick<Journals, "note"> & { readonly observer: Observer };
interface ConsumerTelling extends Telling {
  readonly tellTroubles: (swept: Swept) => void;
  readonly isAlone: boolean;
  readonly metrics: Metrics | null;
}

async function startConsumer(
  config: RelayConfig,
  cluster: string,
  queue: Queue,
  { observer, note, tellTroubles, isAlone, metrics }: ConsumerTelling,
): Promise<() => Promise<void>> {
  const overrides = openCluster(config, cluster, observer);
  const context = consumeContext(config, { cluster, queue, overrides, observer, note });
  metrics?.readings.circuit(cluster, context.circuit);
  await lookOnce(context, isAlone);
  const stopWork = startLoop((signal) => work({ ...context, queue }, signal));
  const stopWatch = startWatch(cluster, queue.deadLetters, observer);
  const swept = openSweeper(config, context, tellTroubles);
  const stopSweep = startLoop((signal) => (swept ? sweepAgain(swept.sweeper, swept.context, signal) : lookAgain(context, signal)));
  return async () => {
    await Promise.all([stopWork(), stopWatch(), stopSweep()]);
    overrides.close();
  };
}

/** A listener of its own: what it tells is for whoever operates the relay, and never on the port that registries reach. */
function startAdmin(at: NonNullable<RelayConfig["admin"]>, { readings, fetch }: Metrics, queues: Queues, clusters: readonly string[]) {
  for (const cluster of clusters) {
    readings.queue(cluster, queues.of(cluster));
    readings.deadLetters(cluster, queues.of(cluster).deadLetters);
  }
  if (queues.unparsed) readings.deadLetters("unparsed", queues.unparsed);
  return listen({ ...at, fetch, setting: "admin" });
}

const startWatch = (place: string, letters: DeadLetters, observer: Observer) =>
  startLoop((signal) => watchExpiry({ place, letters, observer }, signal));

/** Begins a loop that runs until its signal is aborted; gives what ends it and waits for its end. */
function startLoop(run: (signal: AbortSignal) => Promise<void>): () => Promise<void> {
  const controller = new AbortController();
  const running = run(controller.signal);
  return async () => {
    controller.abort();
    await running;
  };
}

function edgeContext(config: RelayConfig, { store, storeUnparsed }: Queues, { observer, note }: Telling): ReceiveContext {
  return { config, observer, store, storeUnparsed, note, readSecret: createSecretReader(), now: () => new Date() };
}

/** Takes in the deliveries of a webhook that has a queue. One that does not answer is told by the first poll, and keeps nobody from starting. */
async function startInbox(webhook: string, context: ReceiveContext): Promise<() => Promise<void>> {
  const form = context.config.webhooks[webhook]?.queue;
  if (!form) return async () => {};
  const queue = await openWebhookQueue(form).catch((thrown: unknown) => {
    throw new Error(`webhooks.${webhook}.queue: ${toRelayError(thrown).message}`);
  });
  const stop = startLoop((signal) => takeIn({ ...context, webhook, queue }, signal));
  return async () => {
    await stop();
    await queue.close();
  };
}

async function startEdge(context: ReceiveContext, queues: Queues, { journal }: Pick<Journals, "journal">) {
  const { config, observer, readSecret } = context;
  const lookAtSecrets = watchSecrets(config, readSecret, observer);
  await lookAtSecrets(); // one that is not there is told at start and not with the first push
  const stopWatch = startLoop(async (signal) => {
    while (!signal.aborted) {
      await pause(signal, SECRETS_EVERY_MS);
      await lookAtSecrets();
    }
  });
  const isTooMany = createLimiter(REFUSED_CALLS_PER_MINUTE);
  const app = createApp({
    config,
    observer,
    receive: (delivery) => receive(delivery, context),
    ...(journal && { tellPush: (question: PushQuestion) => tellPush(question, { ...context, journal }) }),
    ready: queues.ready,
    tooMany: (c) => isTooMany(getConnInfo(c).remote.address ?? ""),
    bodyOf,
  });
  const listening = await listen({ ...config.listen, fetch: app.fetch, setting: "listen" }).catch(async (error: unknown) => {
    await stopWatch();
    throw error;
  });
  return { ...listening, stop: async () => void (await Promise.all([stopWatch(), listening.stop()])) };
}

/** From Node's own stream; a body that is left half-way must not take the connection with it, on which the answer goes back. */
export function bodyOf(c: Context<{ Bindings: HttpBindings }>): AsyncIterable<Uint8Array> {
  return c.env.incoming.iterator({ destroyOnReturn: false });
}
