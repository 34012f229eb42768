/** A watch: one JSON line per event, https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes */
import type { ServerResponse } from "node:http";
import { apiVersionOf } from "./resources.ts";
import { ApiError } from "./status.ts";
import type { ObjectStore } from "./store.ts";
import { renderOne, type Rendering } from "./tables.ts";
import type { KubeObject, StoreEvent } from "./types.ts";

const BOOKMARK_MS = 60_000;

export interface WatchQuery {
  /** From which resourceVersion on; null: ADDED for every object there is, then what changes. */
  readonly from: number | null;
  /** `fieldSelector=metadata.name=…` */
  readonly name: string | null;
  readonly bookmarks: boolean;
  readonly timeoutSeconds: number | null;
}
export interface OpenWatch {
  end(): void;
  /** Half a line, then the end of the connection. */
  cut(): void;
}

/** Streams until the client goes, the time is over or somebody ends it; then `done` is called. null: it ended at once, with an ERROR event. */
export function serveWatch(
  store: ObjectStore,
  rendering: Rendering,
  query: WatchQuery,
  response: ServerResponse,
  done: () => void,
): OpenWatch | null {
  let head = true;
  const line = (type: string, object: unknown): void => void response.write(`${JSON.stringify({ type, object })}\n`);
  const tell = (event: Pick<StoreEvent, "type" | "object">): void => {
    if (query.name !== null && event.object.metadata.name !== query.name) return;
    line(event.type, renderOne(rendering, event.object, head));
    head = false;
  };
  const bookmark = (): void => {
    if (query.bookmarks) line("BOOKMARK", bookmarkOf(rendering, store.version));
  };

  response.writeHead(200, { "content-type": "application/json" });
  response.flushHeaders();
  try {
    for (const event of query.from === null ? existing(store, rendering) : changes(store, rendering, query.from)) tell(event);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    line("ERROR", error.status());
    response.end();
    return null;
  }
  const stop = store.subscribe((change) => change.plural === rendering.resource.plural && tell(change));
  const ticking = setInterval(bookmark, BOOKMARK_MS);
  const ending = query.timeoutSeconds === null ? undefined : setTimeout(() => (bookmark(), response.end()), query.timeoutSeconds * 1000);
  response.once("close", () => {
    stop();
    clearInterval(ticking);
    clearTimeout(ending);
    done();
  });
  return {
    end: () => void response.end(),
    cut: () =>
      void response.write(`{"type":"MODIFIED","object":{"apiVersion":"${apiVersionOf(rendering.version)}`, () => response.destroy()),
  };
}

const existing = (store: ObjectStore, { resource }: Rendering): Pick<StoreEvent, "type" | "object">[] =>
  store.list(resource.plural).map((object) => ({ type: "ADDED", object }));
const changes = (store: ObjectStore, { resource }: Rendering, from: number): StoreEvent[] =>
  store.since(from).filter((change) => change.plural === resource.plural);

function bookmarkOf({ resource, version, table }: Rendering, resourceVersion: number): unknown {
  const metadata = { resourceVersion: String(resourceVersion) };
  if (table) return { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions: null, rows: [] };
  const bookmark: Pick<KubeObject, "apiVersion" | "kind"> = { apiVersion: apiVersionOf(version), kind: resource.kind };
  return { ...bookmark, metadata: { ...metadata, creationTimestamp: null } };
}
