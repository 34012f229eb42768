/** Stands between a registry and the relay and holds answers back: to the registry, the relay is slow. */
import { createServer, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./parts/child.ts";

export interface Slow {
  readonly url: string;
  /** The bodies that were passed on so far, in their order. */
  readonly bodies: readonly string[];
  /** The next `count` answers come this much later. The relay itself has each request at once. */
  hold(count: number, ms: number): void;
  stop(): Promise<void>;
}

export async function startSlow(relayUrl: string): Promise<Slow> {
  const bodies: string[] = [];
  const held = { count: 0, ms: 0 };
  const stopping = new AbortController();

  const pass = async (request: IncomingMessage): Promise<number> => {
    const body = new Uint8Array(await buffer(request));
    bodies.push(Buffer.from(body).toString("utf8"));
    const late = held.count-- > 0;
    const { authorization = "", "content-type": type = "" } = request.headers;
    const headers = { authorization, "content-type": type };
    const { status } = await fetch(`${relayUrl}${request.url}`, { method: "POST", body, headers, signal: stopping.signal });
    if (late) await sleep(held.ms, undefined, { signal: stopping.signal });
    return status;
  };
  const server = createServer((request, answer) => {
    // No relay is no answer, as without this in between; so is an answer that nobody waits for any more.
    pass(request).then(
      (status) => answer.writeHead(status).end(),
      () => request.socket.destroy(),
    );
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${port}`,
    bodies,
    hold: (count, ms) => void Object.assign(held, { count, ms }),
    stop: async () => {
      stopping.abort();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
