/** A relay in a Node process: edge, consumers, or both, from one configuration. */
import { type AddressInfo } from "node:net";
import { type HttpBindings, serve, type ServerType } from "@hono/node-server";
import type { Context } from "hono";
import { getConnInfo } from "@hono/node-server/conninfo";
import { createApp } from "./app.ts";
import type { RelayConfig } from "./config.ts";
import type { ConsumeContext } from "./consume.ts";
import { consumeContext, openCluster } from "./consumer.ts";
import { watchExpiry } from "./expiry.ts";
import { createLimiter } from "./limiter.ts";
import { type Journals, openJournals } from "./journals.ts";
import type { Observer } from "./observe.ts";
import { toRelayError } from "./outcome.ts";
import { type PushQuestion, tellPush } from "./pushes.ts";
import type { DeadLetters, Queue } from "./queue/queue.ts";
import { takeIn } from "./inbox.ts";
import { openQueues, openWebhookQueue, type Queues } from "./queues.ts";
import { receive, type ReceiveContext } from "./receive.ts";
import { createSecretReader, type SecretReader } from "./secrets.ts";
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
  /** Answers what is in hand, settles what is in hand, then closes the queues. */
  stop(): Promise<void>;
}

const REFUSED_CALLS_PER_MINUTE = 30;
/**
 * A delivery is there within seconds or not at all. Node's own limits (a minute, five minutes, looked at every 30 s) would let callers
 * without a secret hold what all bodies may hold together: https://nodejs.org/api/http.html#serverrequesttimeout
 * A connection that only waits stays open longer than a load balancer keeps it (60 s), so that the balancer is the one to close it.
 */
const PATIENCE = { headersTimeout: 10_000, requestTimeout: 20_000, connectionsCheckingInterval: 5_000, keepAliveTimeout: 65_000 };
/** For requests in hand when we are told to stop: longer than any is worked on, shorter than whoever stops us waits (Docker: 10 s). */
const GRACE_MS = 2_000;

/** Throws an Error that says what to do where a queue, a cluster or the port cannot be had. */
export async function startRelay({ config, observer, roles = ["edge", "consumer"], clusters }: RelayOptions): Promise<Relay> {
  const reachable = Object.keys(config.clusters).filter((name) => config.clusters[name]?.kubernetes);
  const consumed = roles.includes("consumer") ? (clusters ?? reachable) : [];
  const isEdge = roles.includes("edge");
  const queues = await openQueues(config, {
    clusters: isEdge ? Object.keys(config.clusters) : consumed,
    unparsed: isEdge,
    as: "owner",
    observer,
  });
  const journals = await openJournals(config, observer);
  const stopping: (() => Promise<void>)[] = [];
  const stopAll = async () => {
    await Promise.all(stopping.map((stop) => stop()));
    await journals.close();
    await queues.close();
  };
  try {
    const telling = { observer, ...journals };
    for (const cluster of consumed) stopping.push(await startConsumer(config, cluster, queues.of(cluster), telling));
    if (queues.unparsed) stopping.push(startWatch("unparsed", queues.unparsed, observer));
    const context = edgeContext(config, queues, telling);
    const edge = isEdge ? await startEdge(context, queues, journals) : null;
    if (edge) stopping.push(edge.stop);
    for (const webhook of isEdge ? Object.keys(config.webhooks) : []) stopping.push(await startInbox(webhook, context));
    const port = edge?.port ?? null;
    observer.outcome({ event: "process", outcome: "STARTED", roles: roles.join(" "), port, clusters: consumed.join(" ") });
    return { url: edge?.url ?? null, port, stop: stopAll };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

type Telling = Pick<Journals, "note"> & { readonly observer: Observer };

async function startConsumer(
  config: RelayConfig,
  cluster: string,
  queue: Queue,
  { observer, note }: Telling,
): Promise<() => Promise<void>> {
  const overrides = openCluster(config, cluster);
  const context = consumeContext(config, { cluster, queue, overrides, observer, note });
  await lookOnce(context);
  const controller = new AbortController();
  const running = work({ ...context, queue }, controller.signal);
  const stopWatch = startWatch(cluster, queue.deadLetters, observer);
  return async () => {
    controller.abort();
    await Promise.all([running, stopWatch()]);
    overrides.close();
  };
}

function startWatch(place: string, letters: DeadLetters, observer: Observer): () => Promise<void> {
  const controller = new AbortController();
  const watching = watchExpiry({ place, letters, observer }, controller.signal);
  return async () => {
    controller.abort();
    await watching;
  };
}

/** A cluster that cannot be reached is told at start and not with the first push; it keeps nobody else from starting. */
async function lookOnce({ overrides, circuit }: ConsumeContext): Promise<void> {
  try {
    await overrides.probe();
  } catch (thrown) {
    circuit.open(toRelayError(thrown, "CLUSTER_ERROR"));
  }
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
  const controller = new AbortController();
  const running = takeIn({ ...context, webhook, queue }, controller.signal);
  return async () => {
    controller.abort();
    await running;
    await queue.close();
  };
}

async function startEdge(context: ReceiveContext, queues: Queues, { journal }: Pick<Journals, "journal">) {
  const { config, observer, readSecret } = context;
  await readSecrets(config, readSecret, observer);
  const isTooMany = createLimiter(REFUSED_CALLS_PER_MINUTE);
  const app = createApp({
    config,
    receive: (delivery) => receive(delivery, context),
    ...(journal && { tellPush: (question: PushQuestion) => tellPush(question, { ...context, journal }) }),
    ready: queues.ready,
    tooMany: (c) => isTooMany(getConnInfo(c).remote.address ?? ""),
    bodyOf,
  });
  const { host, port } = config.listen;
  const server = await listen(
    (listening) => serve({ fetch: app.fetch, hostname: host, port, serverOptions: PATIENCE }, listening),
    `${host}:${port}`,
  );
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${server.port}`;
  return { url, port: server.port, stop: server.stop };
}

/** A secret that is not there is told at start and not with the first push, which gets 503 until it is. */
async function readSecrets(config: RelayConfig, readSecret: SecretReader, observer: Observer): Promise<void> {
  for (const [webhook, { secret }] of Object.entries(config.webhooks)) {
    if (!secret) continue;
    await readSecret(secret).catch((thrown: unknown) => {
      const why = toRelayError(thrown).message;
      observer.alarm("SECRET_MISSING", { what: "this webhook refuses every delivery with 503 until its secret can be read", webhook, why });
    });
  }
}

/** From Node's own stream; a body that is left half-way must not take the connection with it, on which the answer goes back. */
export function bodyOf(c: Context<{ Bindings: HttpBindings }>): AsyncIterable<Uint8Array> {
  return c.env.incoming.iterator({ destroyOnReturn: false });
}

async function listen(start: (listening: (info: AddressInfo) => void) => ServerType, where: string) {
  return new Promise<{ port: number; stop(): Promise<void> }>((resolve, reject) => {
    const server = start(({ port }) => resolve({ port, stop: () => close(server) }));
    server.once("error", (error: Error) => reject(new Error(`cannot listen on ${where}: ${whyNot(error)}`)));
  });
}

function whyNot(error: Error): string {
  const code = "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") return "the port is taken; stop who has it (ss -ltnp), or set another `listen.port`";
  return code === "EACCES" ? "not allowed; set a `listen.port` from 1024 on" : error.message;
}

/** Requests in hand are answered; connections that only wait are closed, and after a while those whose request never comes to its end. */
async function close(server: ServerType): Promise<void> {
  await new Promise<void>((done) => {
    server.close(() => done());
    if (!("closeIdleConnections" in server)) return;
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), GRACE_MS).unref();
  });
}
