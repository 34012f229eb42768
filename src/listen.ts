/** A listening HTTP or HTTPS server of a Node process: its patience with callers, and how it ends. */
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type Http2Bindings, type HttpBindings, serve, type ServerType } from "@hono/node-server";

/** PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}
export interface Listener {
  readonly fetch: (request: Request, env: HttpBindings | Http2Bindings) => Response | Promise<Response>;
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** Its key in the configuration, for errors. */
  readonly setting: string;
  readonly certificate?: Certificate | null;
}
export interface Listening {
  readonly url: string;
  readonly port: number;
  /** For connections from now on. Throws what OpenSSL says where the two are no pair. */
  replace(certificate: Certificate): void;
  stop(): Promise<void>;
}

/**
 * A delivery is there within seconds or not at all. Node's own limits (a minute, five minutes, looked at every 30 s) would let callers
 * without a secret hold what all bodies may hold together: https://nodejs.org/api/http.html#serverrequesttimeout
 * A connection that only waits stays open longer than a load balancer keeps it (60 s), or a sender or proxy written in Go (90 s: Harbor, zot,
 * Traefik), so that the other is the one to close it: a POST that meets our end is not sent again by Go, and some registries send once.
 * https://pkg.go.dev/net/http#DefaultTransport
 */
const PATIENCE = { headersTimeout: 10_000, requestTimeout: 20_000, connectionsCheckingInterval: 5_000, keepAliveTimeout: 95_000 };
/** For requests in hand when we are told to stop: longer than any is worked on, shorter than whoever stops us waits (Docker: 10 s). */
const GRACE_MS = 2_000;

/** Throws an Error that says what to do where the port cannot be had, or the certificate is none. */
export async function listen({ fetch, host, port, setting, certificate = null }: Listener): Promise<Listening> {
  const tls = certificate && {
    createServer: createHttpsServer,
    serverOptions: { ...PATIENCE, handshakeTimeout: PATIENCE.headersTimeout, ...certificate },
  };
  const how = tls ?? { createServer: createHttpServer, serverOptions: PATIENCE };
  const { server, info } = await new Promise<{ server: ServerType; info: AddressInfo }>((resolve, reject) => {
    const starting: ServerType = serve({ fetch, hostname: host, port, ...how }, (address) => resolve({ server: starting, info: address }));
    starting.once("error", (error: Error) => reject(new Error(`cannot listen on ${host}:${port}: ${whyNot(error, setting)}`)));
  });
  return {
    url: `${certificate ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${info.port}`,
    port: info.port,
    replace(next) {
      if ("setSecureContext" in server) server.setSecureContext(next);
    },
    stop: () => close(server),
  };
}

function whyNot(error: Error, setting: string): string {
  const code = "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") return `the port is taken; stop who has it (ss -ltnp), or set another \`${setting}.port\``;
  return code === "EACCES" ? `not allowed; set a \`${setting}.port\` from 1024 on` : error.message;
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
