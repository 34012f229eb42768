/** Stands before a cluster's API server, and lets it be as clusters are: there, gone, slow, or silent. Knows bytes only, so TLS stays end to end. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** `refused`: nobody listens. `slow`: each answer comes 5 s late. `hung`: connections are accepted, and nothing is ever answered. */
export type Mode = "open" | "refused" | "slow" | "hung";
const LATE_MS = 5_000;

export class Gate {
  #mode: Mode = "open";
  #server: Server | null = null;
  #port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #target: number;

  constructor(target: number) {
    this.#target = target;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** Connections that are open are cut. */
  async set(mode: Mode): Promise<void> {
    this.#mode = mode;
    for (const socket of this.#sockets) socket.destroy();
    if (mode === "refused") return this.close();
    if (this.#server) return;
    this.#server = createServer((socket) => this.#accept(socket)).listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = portOf(this.#server.address());
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    for (const socket of this.#sockets) socket.destroy();
    if (server) await new Promise((resolve) => server.close(resolve));
  }

  #accept(caller: Socket): void {
    this.#keep(caller);
    if (this.#mode === "hung") return void caller.resume();
    const api = this.#keep(connect(this.#target, "127.0.0.1"));
    const lateMs = this.#mode === "slow" ? LATE_MS : 0;
    let asked = 0;
    caller.on("data", (bytes) => (asked++, api.write(bytes)));
    // what answers the first bytes is TLS's handshake, and no answer of the API server
    api.on("data", (bytes) => void setTimeout(() => caller.destroyed || caller.write(bytes), asked > 1 ? lateMs : 0));
    caller.on("close", () => api.destroy());
    api.on("close", () => caller.destroy());
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => undefined); // "close" follows
    socket.on("close", () => this.#sockets.delete(socket));
    return socket;
  }
}

const portOf = (address: AddressInfo | string | null) => (typeof address === "object" ? (address?.port ?? 0) : 0);
