/** Events of the core group, as far as the relay writes them and `kubectl describe` and `kubectl get events` read them. */
import * as z from "zod";
import { jsonOf } from "../../json.ts";
import { ApiError, badRequest } from "./status.ts";

/** https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/events.go: of an object without namespace they lie in `default`. */
const NAMESPACE = "default";
const PATH = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?events$/;
/** The API server keeps them for an hour. */
const MOST = 1000;

const newEvent = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Event"),
  metadata: z.looseObject({ name: z.string().regex(/^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/), namespace: z.literal(NAMESPACE) }),
  involvedObject: z.looseObject({ kind: z.string(), name: z.string(), uid: z.string().optional(), namespace: z.string().optional() }),
  type: z.enum(["Normal", "Warning"]),
  reason: z.string().max(128),
  message: z.string().max(1024),
});
type Event = z.infer<typeof newEvent>;

export class CoreEvents {
  readonly #events = new Map<string, Event>();

  /** null: no path of theirs. */
  answer(method: string, url: URL, text: string): { code: number; body: unknown } | null {
    const [path, namespace] = PATH.exec(url.pathname) ?? [];
    if (path === undefined) return null;
    if (method === "POST") return { code: 201, body: this.#create(text) };
    const wanted = namespace === undefined || namespace === NAMESPACE ? selector(url.searchParams.get("fieldSelector") ?? "") : () => false;
    return { code: 200, body: { kind: "EventList", apiVersion: "v1", metadata: {}, items: [...this.#events.values()].filter(wanted) } };
  }

  #create(text: string): Event {
    const read = newEvent.safeParse(jsonOf(text));
    if (!read.success) throw badRequest(`Event in version "v1" cannot be handled: ${z.prettifyError(read.error)}`);
    const { name } = read.data.metadata;
    if (this.#events.has(name)) throw new ApiError(409, "AlreadyExists", `events "${name}" already exists`, { name, kind: "events" });
    const [oldest] = this.#events.keys();
    if (oldest !== undefined && this.#events.size >= MOST) this.#events.delete(oldest);
    this.#events.set(name, read.data);
    return read.data;
  }
}

/** `involvedObject.name=echo,involvedObject.uid=…`, as `kubectl describe` asks. */
function selector(text: string): (event: Event) => boolean {
  const wanted = text.split(",").flatMap((part) => {
    const [, field, value] = /^involvedObject\.(\w+)=(.*)$/.exec(part) ?? [];
    return field === undefined ? [] : [{ field, value }];
  });
  return ({ involvedObject }) => wanted.every(({ field, value }) => (involvedObject[field] ?? "") === value);
}
