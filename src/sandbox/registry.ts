/**
 * A stand-in for an OCI registry, in memory, on loopback, without authentication; real clients push to it (crane, skopeo, docker).
 * It speaks the distribution spec 1.1 (https://github.com/opencontainers/distribution-spec/blob/main/spec.md; without the referrers API,
 * for which clients have a fallback) and sends the notifications of CNCF Distribution 3.x.
 */
import { randomUUID } from "node:crypto";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { handleBlob, handleUpload } from "./registry-blobs.ts";
import { RegistryError } from "./registry-error.ts";
import { type Exchange, type RegistryEvent, answer, body } from "./registry-http.ts";
import { listenOnLoopback } from "./loopback.ts";
import { type Notifier, type Notify, startNotifier } from "./registry-notify.ts";
import { LIMITS, type Limits, RegistryStore } from "./registry-store.ts";
import { handleManifest, handleTags } from "./registry-manifests.ts";

export interface Registry {
  readonly port: number;
  /** Another port than the one asked for, which was taken. */
  readonly moved: boolean;
  /** `http://localhost:<port>` */
  readonly url: string;
  /** The digest of a tag (or of a digest that is there). */
  resolve(repository: string, reference: string): string | null;
  close(): Promise<void>;
}

/** `port` 0: a free one; a taken one is replaced. `notify` null: nobody is told. `seed` pushes to the URL what nobody is told of. `log` takes one line for a person. */
export async function startRegistry(options: {
  port: number;
  notify: Notify | null;
  seed?: (url: string) => Promise<void>;
  log: (line: string) => void;
  limits?: Partial<Limits>;
}): Promise<Registry> {
  const store = new RegistryStore({ ...LIMITS, ...options.limits });
  let notifier: Notifier | null = null;
  const instanceID = randomUUID();
  const listening = await listenOnLoopback(
    () => createServer((request, response) => void serve({ store, notifier, instanceID, log: options.log }, request, response)),
    options.port,
  );
  const url = `http://localhost:${listening.port}`;
  try {
    await options.seed?.(url);
  } catch (error) {
    await listening.close();
    throw error;
  }
  notifier = options.notify === null ? null : startNotifier(options.notify, options.log);
  return {
    port: listening.port,
    moved: listening.moved,
    url,
    resolve: (repository, reference) => store.manifest(repository, reference)?.digest ?? null,
    async close() {
      await Promise.all([listening.close(), notifier?.close()]);
    },
  };
}

interface Context {
  readonly store: RegistryStore;
  readonly notifier: Notifier | null;
  readonly instanceID: string;
  readonly log: (line: string) => void;
}

async function serve(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader("Docker-Distribution-Api-Version", "registry/2.0");
  try {
    await route(context, request, response);
  } catch (error) {
    if (request.destroyed && !request.complete) return; // the client went away in the middle of its body
    if (!(error instanceof RegistryError)) context.log(`registry: ${error instanceof Error ? error.stack : String(error)}`);
    const refusal = error instanceof RegistryError ? error : new RegistryError(500, "UNKNOWN", "an error of the stand-in; see relay.log");
    if (response.headersSent) response.destroy();
    else
      await body(request, 0)
        .catch(() => undefined)
        .then(() => answer(response, refusal.status, refusal));
  }
}

const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const ROUTES = [
  { path: /^\/v2\/(?<name>.+)\/blobs\/uploads\/(?<rest>[^/]*)$/, handle: handleUpload },
  { path: /^\/v2\/(?<name>.+)\/blobs\/(?<rest>[^/]+)$/, handle: handleBlob },
  { path: /^\/v2\/(?<name>.+)\/manifests\/(?<rest>[^/]+)$/, handle: handleManifest },
  { path: /^\/v2\/(?<name>.+)\/tags\/(?<rest>list)$/, handle: handleTags },
];

async function route(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const host = request.headers.host ?? "localhost";
  const url = new URL(request.url ?? "/", "http://registry.invalid");
  if (/^\/v2\/?$/.test(url.pathname)) return answer(response, 200, {});
  if (url.pathname === "/v2/_catalog") return answer(response, 200, { repositories: context.store.repositories() });
  for (const { path, handle } of ROUTES) {
    const { name, rest } = path.exec(url.pathname)?.groups ?? {};
    if (name === undefined || rest === undefined) continue;
    if (name.length > 255 || !NAME.test(name)) throw new RegistryError(400, "NAME_INVALID", "invalid repository name");
    const emit = (event: RegistryEvent) => context.notifier?.send(envelope(context, request, host, name, event));
    const exchange: Exchange = {
      store: context.store,
      request,
      response,
      query: url.searchParams,
      name,
      rest: decoded(rest),
      emit,
    };
    return handle(exchange);
  }
  throw new RegistryError(404, "UNSUPPORTED", "no such endpoint; this registry is the sandbox's stand-in");
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new RegistryError(400, "NAME_INVALID", "a percent sign that encodes nothing");
  }
}

/** In the shape of Distribution 3.x, `includereferences` off: https://distribution.github.io/distribution/about/notifications/#events */
function envelope({ instanceID }: Context, request: IncomingMessage, host: string, repository: string, event: RegistryEvent): object {
  const { action, part, mediaType = "", digest = "", size = 0, ...more } = event;
  const where = digest === "" || action === "delete" ? {} : { length: size, url: `http://${host}/v2/${repository}/${part}/${digest}` };
  const port = request.socket.localPort;
  return {
    id: randomUUID(),
    timestamp: new Date().toISOString(),
    action,
    target: { mediaType, digest, size, repository, ...where, ...more },
    request: {
      id: randomUUID(),
      addr: `${request.socket.remoteAddress}:${request.socket.remotePort}`,
      host,
      method: request.method,
      useragent: request.headers["user-agent"] ?? "",
    },
    actor: {},
    source: { addr: `sandbox:${port}`, instanceID },
  };
}
