/**
 * The queue port over HTTP: how other processes reach an embedded queue beside its owner.
 * Here on a Unix socket in the queue's folder, which only its owner's user can use (mode 0600).
 */
import { rmSync } from "node:fs";
import { createServer, Agent, request, type IncomingMessage } from "node:http";
import { basename, dirname } from "node:path";
import { text } from "node:stream/consumers";
import { getRequestListener } from "@hono/node-server";
import { RelayError } from "../outcome.ts";
import { FILES, refusal } from "./embedded/folder.ts";
import { type HubCall, HubQueue, PATIENCE_MS } from "./hub/client.ts";
import { hubHandler, type LendableQueue } from "./hub/server.ts";
import { socketPlace } from "./hub/socket.ts";
import { type Answer, answers, type Operation, refusal as refusalBody } from "./hub/wire.ts";

/** What a hub lends; an EmbeddedStore is one. */
export interface Lender {
  readonly folder: string;
  queue(name: string): LendableQueue;
}

/**
 * Serves the queues of a folder on its socket. Only for the owner of the folder's lock: a socket that a dead owner left is replaced.
 * `close` ends the long polls of others, then the socket, and removes it. Throws QUEUE_UNAVAILABLE where the socket cannot be bound.
 */
export async function serveHub(lender: Lender): Promise<{ close(): Promise<void> }> {
  const handler = hubHandler((name) => lender.queue(name));
  // The rest of the process keeps Node's own Request and Response.
  const listener = getRequestListener((incoming) => handler.fetch(incoming), { overrideGlobalObjects: false });
  const server = createServer((incoming, outgoing) => void listener(incoming, outgoing));
  server.keepAliveTimeout = 0; // an idle connection that is closed just as a request comes would fail it
  const place = socketPlace(lender.folder, FILES.socket);
  try {
    rmSync(place.path, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      // The socket is bound within `listen`, so nobody else sees the mask, and there is no moment with a wider mode.
      const mask = process.umask(0o177);
      server.listen(place.path, resolve);
      process.umask(mask);
    });
  } catch (thrown) {
    place.release();
    throw refusal(lender.folder, `${FILES.socket} cannot be bound (${codeOf(thrown)})`, "Check the folder's permissions");
  }
  const close = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    handler.stop();
    setTimeout(() => server.closeAllConnections(), GRACE_MS).unref();
    await closed;
    rmSync(place.path, { force: true });
    place.release();
  };
  let closing: Promise<void> | null = null;
  return { close: () => (closing ??= close()) };
}

/** For answers on their way; whoever is cut off got nothing and asks again. */
const GRACE_MS = 200;

/**
 * A queue of the folder that another process owns. Opens no connection yet; `closed` is awaited at the end of `close`.
 * Throws QUEUE_UNAVAILABLE for a path that is too long.
 */
export function openHub({ socketPath, queue, closed }: { socketPath: string; queue: string; closed?: () => Promise<void> }): HubQueue {
  const place = socketPlace(dirname(socketPath), basename(socketPath));
  const agent = new Agent({ keepAlive: true });
  const call: HubCall = async (operation, ask, timeoutMs = PATIENCE_MS) => {
    const path = `/queues/${encodeURIComponent(queue)}/${operation}`;
    return readAnswer(operation, await post({ agent, socketPath: place.path, path }, JSON.stringify(ask), timeoutMs));
  };
  return new HubQueue(queue, call, async () => {
    agent.destroy();
    place.release();
    await closed?.();
  });
}

interface Reply {
  readonly status: number;
  readonly body: string;
}

/** Node's fetch knows no sockets in the file system. Throws QUEUE_UNAVAILABLE without an answer in time. */
async function post(to: { agent: Agent; socketPath: string; path: string }, body: string, timeoutMs: number): Promise<Reply> {
  try {
    const reply = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      request({ ...to, method: "POST", host: "hub", headers, signal: AbortSignal.timeout(timeoutMs) }, resolve)
        .on("error", reject)
        .end(body);
    });
    return { status: reply.statusCode ?? 0, body: await text(reply) };
  } catch (thrown) {
    throw new RelayError("QUEUE_UNAVAILABLE", `the owner of the queue does not answer on ${FILES.socket} (${codeOf(thrown)})`);
  }
}

function readAnswer<O extends Operation>(operation: O, { status, body }: Reply): Answer<O> {
  try {
    const json: unknown = JSON.parse(body);
    if (status === 200) return answers[operation].parse(json);
    const { code, message } = refusalBody.parse(json);
    throw new RelayError(code, message);
  } catch (thrown) {
    if (thrown instanceof RelayError) throw thrown;
    throw new RelayError("QUEUE_UNAVAILABLE", `the owner of the queue gave an answer that cannot be read (status ${status})`);
  }
}

function codeOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return "unknown error";
  return "code" in thrown && typeof thrown.code === "string" ? thrown.code : thrown.name;
}
