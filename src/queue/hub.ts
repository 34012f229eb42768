/**
 * The queue port over HTTP: how other processes reach an embedded queue beside its owner.
 * Here on a Unix socket in the queue's folder, which only its owner's user can use (mode 0600).
 */
import { rmSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { basename, dirname } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { FILES, refusal } from "./embedded/folder.ts";
import { type HubCall, HubQueue, PATIENCE_MS } from "./hub/client.ts";
import { journalOfCluster } from "./hub/journal.ts";
import { hubHandler, type LendableQueue } from "./hub/server.ts";
import { socketPlace } from "./hub/socket.ts";
import { askHub, codeOf } from "./hub/transport.ts";

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
  const handler = hubHandler((name) => ({ queue: lender.queue(name), journal: NO_JOURNAL }));
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

/** Whoever reaches the socket reaches the journal's file too, which needs nobody between. */
const NO_JOURNAL = journalOfCluster(null, "");

/** For answers on their way; whoever is cut off got nothing and asks again. */
const GRACE_MS = 200;

/**
 * A queue of the folder that another process owns. Opens no connection yet; `closed` is awaited at the end of `close`.
 * Throws QUEUE_UNAVAILABLE for a path that is too long.
 */
export function openHub({ socketPath, queue, closed }: { socketPath: string; queue: string; closed?: () => Promise<void> }): HubQueue {
  const place = socketPlace(dirname(socketPath), basename(socketPath));
  const agent = new Agent({ keepAlive: true });
  const options = { agent, socketPath: place.path, host: "hub" };
  const way = { request, options, headers: {}, who: `the owner of the queue on ${FILES.socket}`, queue };
  const call: HubCall = (operation, ask, timeoutMs = PATIENCE_MS) => askHub(way, operation, ask, timeoutMs);
  return new HubQueue(queue, call, async () => {
    agent.destroy();
    place.release();
    await closed?.();
  });
}
