/** Listening on loopback only, for clients that take "localhost" as IPv4 and for those that take it as IPv6. */
import { once } from "node:events";
import { type Server, type Socket, connect, createServer } from "node:net";

/** `port` is the wanted one, or a free one where that was taken (`moved`). `close` cuts open connections, too. */
export interface Listening {
  readonly port: number;
  readonly moved: boolean;
  readonly close: () => Promise<void>;
}

const TRIES = 20;

/** Listens on 127.0.0.1 and, where the machine has IPv6, on ::1, at one port for both. 0 asks for any free port. */
export async function listenOnLoopback(makeServer: () => Server, wanted: number): Promise<Listening> {
  for (let tries = 0; tries < TRIES; tries++) {
    const pair = await tryPair(makeServer, tries === 0 ? wanted : 0);
    if (pair !== null) return { ...pair, moved: wanted !== 0 && pair.port !== wanted };
  }
  throw new Error(`no free port on loopback after ${TRIES} tries`);
}

/** Keeps a port that nobody has on 127.0.0.1, nor on ::1, until `close`. */
export function reservePort(wanted: number): Promise<Listening> {
  return listenOnLoopback(() => createServer((socket) => socket.destroy()), wanted);
}

/** Hands connections to [::1]:port on to 127.0.0.1:port, for a server that listens on one address. Without IPv6: does nothing. */
export async function forwardFromIpv6(port: number): Promise<() => Promise<void>> {
  const server = createServer((socket) => {
    const onward = connect(port, "127.0.0.1");
    const end = () => (socket.destroy(), onward.destroy());
    socket.on("error", end).on("close", end).pipe(onward);
    onward.on("error", end).on("close", end).pipe(socket);
  });
  const close = closer([server]);
  await bind(server, "::1", port);
  return close;
}

async function tryPair(makeServer: () => Server, wanted: number): Promise<{ port: number; close: () => Promise<void> } | null> {
  const [four, six] = [makeServer(), makeServer()];
  const close = closer([four, six]);
  const port = await bind(four, "127.0.0.1", wanted);
  if (port === "taken" || port === "no address") return null;
  if ((await bind(six, "::1", port)) !== "taken") return { port, close };
  await close();
  return null;
}

async function bind(server: Server, host: string, port: number): Promise<number | "taken" | "no address"> {
  try {
    server.listen({ port, host });
    await once(server, "listening");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    // EACCES: a port below 1024, or one that the system keeps to itself.
    if (code === "EADDRINUSE" || code === "EACCES") return "taken";
    if (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT") return "no address";
    throw error;
  }
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server without a port");
  return address.port;
}

function closer(servers: readonly Server[]): () => Promise<void> {
  const sockets = new Set<Socket>();
  for (const server of servers) {
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
    });
  }
  return async () => {
    const closed = servers.filter((server) => server.listening).map((server) => once(server.close(), "close"));
    for (const socket of sockets) socket.destroy();
    await Promise.all(closed);
  };
}
