/** The stand-in's network half: TLS, bearer tokens, ordered faults, watches, and the way from a request to its answer. */
import { randomUUID } from "node:crypto";
import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import type { Socket } from "node:net";
import { text as readText } from "node:stream/consumers";
import type { Certificates } from "./certificates.ts";
import { reviewOf } from "./access.ts";
import { CoreEvents } from "./core-events.ts";
import { discover } from "./discovery.ts";
import { failureOf, FaultList, type Ordered } from "./faults.ts";
import { answer, selectedName, type Target, targetOf, verbOf } from "./requests.ts";
import { ApiError, forbidden, unauthorized } from "./status.ts";
import type { ObjectStore } from "./store.ts";
import type { User, Users } from "./users.ts";
import { type OpenWatch, serveWatch } from "./watch.ts";

const HOST = "127.0.0.1";

export class ApiServer {
  readonly faults = new FaultList();
  uid: string = randomUUID();
  connections = 0;
  requests = 0;
  port = 0;
  readonly #store: ObjectStore;
  readonly #users: Users;
  readonly #certificates: Certificates;
  readonly #events = new CoreEvents();
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Map<OpenWatch, Target>();
  readonly #hanging = new Set<Socket>();
  #server: Server | null = null;

  constructor(store: ObjectStore, users: Users, certificates: Certificates) {
    this.#store = store;
    this.#users = users;
    this.#certificates = certificates;
  }

  /** Listens on `port`; 0 takes a free one. Rejects where the port is taken. */
  async start(port: number): Promise<void> {
    const { cert, key } = this.#certificates;
    const server = createServer({ cert, key }, (request, response) => void this.#serve(request, response));
    server.on("connection", (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    server.on("tlsClientError", (_error, socket) => socket.destroy());
    server.listen(port, HOST);
    await once(server, "listening");
    this.#server = server;
    const address = server.address();
    if (typeof address === "object" && address !== null) this.port = address.port;
  }

  /** Cuts every connection at once and stops listening. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    const closed = once(server, "close");
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  release(): void {
    for (const socket of this.#hanging) socket.destroy();
    this.#hanging.clear();
  }

  cutWatches(): void {
    for (const watch of this.#watches.keys()) watch.cut();
  }

  /** Ends the watches of versions that are no longer served. */
  endUnserved(): void {
    for (const [watch, target] of this.#watches) {
      if (!this.#store.servedOf(target.resource).includes(target.version)) watch.end();
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    try {
      await this.#route(request, response);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      sendFailure(response, error);
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const method = request.method ?? "GET";
    const url = new URL(request.url ?? "/", `https://${HOST}`);
    const accept = request.headers.accept ?? "";
    const body = await readText(request);
    const target = targetOf(this.#store, url, accept);
    const watch = ["1", "true"].includes(url.searchParams.get("watch") ?? "");

    const fault = this.faults.take(method);
    if (fault !== null) return this.#fail(fault, request, response, method.toLowerCase(), target?.name ?? "");
    const user = this.#users.of(request.headers.authorization);
    if (user === null) throw unauthorized();
    if (target === null) return this.#others(method, url, body, user, response);

    const { plural } = target.resource;
    const verb = verbOf(method, target, watch);
    if (!user.may(verb, target.status)) throw forbidden(user.name, verb, target.status ? `${plural}/status` : plural, target.name ?? "");
    const selectors = { fieldSelector: url.searchParams.get("fieldSelector"), labelSelector: url.searchParams.get("labelSelector") };
    if (method === "GET" && watch) return this.#watch(target, url.searchParams, response);

    const contentType = (request.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    const manager = url.searchParams.get("fieldManager") ?? (request.headers["user-agent"]?.split("/")[0] || "unknown");
    const { code, body: reply } = answer(this.#store, target, user.isSystem, method, contentType, body, { ...selectors, manager });
    if (target.version !== this.#store.servedOf(target.resource)[0]) {
      response.setHeader("warning", `299 - "deckhouse.io/${target.version} ${target.resource.kind} is deprecated"`);
    }
    sendJson(response, code, reply);
  }

  /** Who may patch overrides may tell of them, as infra/cluster grants it. */
  #others(method: string, url: URL, body: string, user: User, response: ServerResponse): void {
    const reviewed = reviewOf(method, url.pathname, body, user);
    if (reviewed !== null) return sendJson(response, 201, reviewed);
    const isTold = method === "POST" && user.may("patch", false);
    const events = method === "GET" || isTold ? this.#events.answer(method, url, body) : null;
    if (events !== null) return sendJson(response, events.code, events.body);
    if (method === "POST") throw new ApiError(403, "Forbidden", `events is forbidden: User "${user.name}" cannot create resource "events"`);
    this.#discovery(url.pathname, response);
  }

  #discovery(path: string, response: ServerResponse): void {
    if (["/healthz", "/livez", "/readyz"].includes(path)) return send(response, 200, "text/plain", "ok");
    const document = discover(path, (resource) => this.#store.servedOf(resource), this.uid);
    if (document === null) return sendNoSuchPath(response);
    sendJson(response, 200, document);
  }

  #watch(target: Target, query: URLSearchParams, response: ServerResponse): void {
    const from = query.get("resourceVersion");
    const name = target.name ?? selectedName(query.get("fieldSelector"));
    const timeout = Number(query.get("timeoutSeconds"));
    const options = {
      from: from === null || from === "" || from === "0" ? null : Number(from),
      name,
      bookmarks: query.get("allowWatchBookmarks") === "true",
      timeoutSeconds: timeout > 0 ? timeout : null,
    };
    const watch: OpenWatch | null = serveWatch(this.#store, target, options, response, () => watch && this.#watches.delete(watch));
    if (watch !== null) this.#watches.set(watch, target);
  }

  #fail(ordered: Ordered, request: IncomingMessage, response: ServerResponse, verb: string, name: string): void {
    const failure = failureOf(ordered, verb, name);
    if (failure !== null) return sendFailure(response, failure);
    switch (ordered.fault) {
      case "hang":
        return void this.#hanging.add(request.socket);
      case "reset":
        return void request.socket.destroy();
      case "html":
        return send(response, 200, "text/html", "<!doctype html><title>Sign in</title>");
      case "429-plain":
        // As the API server words it when its in-flight limit is reached.
        response.setHeader("retry-after", String(ordered.retryAfterSeconds));
        return send(response, 429, "text/plain; charset=utf-8", "Too many requests, please try again later.\n");
      default:
        return sendNoSuchPath(response);
    }
  }
}

function sendFailure(response: ServerResponse, failure: ApiError): void {
  const { retryAfterSeconds } = failure.details ?? {};
  if (retryAfterSeconds !== undefined) response.setHeader("retry-after", String(retryAfterSeconds));
  sendJson(response, failure.code, failure.status());
}

// A path or version that nobody serves gets Go's own 404, in plain text.
const sendNoSuchPath = (response: ServerResponse): void => send(response, 404, "text/plain; charset=utf-8", "404 page not found\n");
const sendJson = (response: ServerResponse, code: number, body: unknown): void =>
  send(response, code, "application/json", `${JSON.stringify(body)}\n`);

function send(response: ServerResponse, code: number, contentType: string, body: string): void {
  response.writeHead(code, { "content-type": contentType, "content-length": Buffer.byteLength(body) });
  response.end(body);
}
