/** Requests of the Deckhouse stand-in to deckhouse.io, over the Kubernetes API itself: the sandbox's or a real kube-apiserver's. */
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import * as z from "zod";
import { KubeConflict } from "./deckhouse-port.ts";

const GROUP = "/apis/deckhouse.io";
const TIMEOUT_MS = 10_000;

const listing = z.object({ metadata: z.object({ resourceVersion: z.string() }), items: z.array(z.unknown()) });
const watchEvent = z.object({ type: z.string(), object: z.unknown() });
const named = z.object({ metadata: z.object({ name: z.string() }) });
const failure = z.object({ kind: z.literal("Status"), reason: z.string(), message: z.string() });

/** An answer that is no success. `reason` is the Status's, or "" for plain text. */
export class KubeError extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, text: string) {
    const read = failure.safeParse(parse(text));
    super(`the API answered ${status}: ${read.success ? read.data.message : text.slice(0, 200)}`);
    this.status = status;
    this.reason = read.success ? read.data.reason : "";
  }
}

export interface KubeAccess {
  /** `https://host:port` */
  readonly server: string;
  /** PEM */
  readonly ca: string;
  /** A bearer token that may read and write the deckhouse.io objects with their status. */
  readonly token: string;
}
export interface Follower<T> {
  changed(object: T): void;
  gone(name: string): void;
}
export type KubeClient = ReturnType<typeof kubeClient>;

/** Paths begin behind `/apis/deckhouse.io`. */
export function kubeClient({ server, ca, token }: KubeAccess) {
  const agent = new Agent({ keepAlive: true, ca });

  const open = (method: string, path: string, patch: object | null, signal: AbortSignal) => {
    const headers = {
      authorization: `Bearer ${token}`,
      accept: "application/json",
      ...(patch === null ? {} : { "content-type": method === "POST" ? "application/json" : "application/merge-patch+json" }),
    };
    return new Promise<IncomingMessage>((resolve, reject) => {
      const sent = request(new URL(GROUP + path, server), { method, headers, agent, signal }, resolve);
      sent.on("error", reject); // stays on: one that comes after the response is told by the response, too
      sent.end(patch === null ? undefined : JSON.stringify(patch));
    });
  };
  const call = async (method: string, path: string, patch: object | null = null, signal?: AbortSignal): Promise<unknown> => {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const response = await open(method, path, patch, signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
    const text = await textOf(response);
    if (response.statusCode === 200 || response.statusCode === 201) return parse(text);
    const error = new KubeError(response.statusCode ?? 0, text);
    if (error.status === 409) throw new KubeConflict(error.message);
    throw error;
  };
  /** null only for a Status that says NotFound: plain text is an API version that is not served. */
  const get = async <T>(path: string, schema: z.ZodType<T>): Promise<T | null> => {
    try {
      return schema.parse(await call("GET", path));
    } catch (error) {
      if (error instanceof KubeError && error.status === 404 && error.reason === "NotFound") return null;
      throw error;
    }
  };
  return { call, get, follow, close: () => agent.destroy() };

  /** Hands on each object there is, then each one as it changes, until the watch ends. `known` outlives several of these: names that were seen. */
  async function follow<T extends { readonly name: string }>(
    path: string,
    schema: z.ZodType<T>,
    known: Set<string>,
    on: Follower<T>,
    signal: AbortSignal,
  ): Promise<void> {
    const list = listing.parse(await call("GET", path, null, signal));
    const items = list.items.map((item) => schema.parse(item));
    const names = new Set(items.map(({ name }) => name));
    for (const name of known) if (!names.has(name) && known.delete(name)) on.gone(name);
    const take = (object: T) => {
      known.add(object.name);
      on.changed(object);
    };
    items.forEach(take);
    const query = new URLSearchParams({ watch: "true", resourceVersion: list.metadata.resourceVersion, allowWatchBookmarks: "true" });
    const response = await open("GET", `${path}?${query.toString()}`, null, signal);
    if (response.statusCode !== 200) throw new KubeError(response.statusCode ?? 0, await textOf(response));
    for await (const line of linesOf(response)) {
      const { type, object } = watchEvent.parse(parse(line));
      if (type === "ERROR") return;
      if (type === "ADDED" || type === "MODIFIED") take(schema.parse(object));
      if (type !== "DELETED") continue;
      const { name } = named.parse(object).metadata;
      known.delete(name);
      on.gone(name);
    }
  }
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of response.setEncoding("utf8")) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += String(chunk);
  return text;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
