/** The shapes of the sandbox's Kubernetes API stand-in: objects, the in-process store, faults that tests order. */

export type Fields = Readonly<Record<string, unknown>>;
export type Plural = "modulepulloverrides" | "modulesources" | "modulereleases" | "modules";
export type OverrideVersion = "v1alpha1" | "v1alpha2";

/**
 * `generation` moves with spec, and once with the deletion of what has finalizers; `resourceVersion` with every change.
 * A write that changes nothing moves neither.
 */
export interface ObjectMeta {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly creationTimestamp: string;
  /** It is deleted, and goes with the last of its finalizers. */
  readonly deletionTimestamp?: string;
  readonly finalizers?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of `spec` alone, and of writes by the API alone. */
  readonly managedFields?: readonly ManagedFields[];
}
export interface ManagedFields {
  readonly manager: string;
  readonly operation: "Update";
  readonly apiVersion: string;
  /** When it last changed a field that it owns now. */
  readonly time: string;
  readonly fieldsType: "FieldsV1";
  readonly fieldsV1: { readonly "f:spec": Fields };
}
/** As stored: immutable, a write makes a new one. `apiVersion` is that of the newest served version. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly spec?: Fields;
  /** Modules alone: what the newest release says of the module (`source`, `weight`, `version` …). */
  readonly properties?: Fields;
  readonly status?: Fields;
}
export interface NewObject {
  readonly metadata: {
    readonly name: string;
    readonly finalizers?: readonly string[];
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Fields;
  readonly properties?: Fields;
}

/** `previous` is the object before a MODIFIED; what a controller's predicates (generation or annotations changed) compare with. */
export interface StoreEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubeObject;
  readonly previous: KubeObject | null;
}

/**
 * In-process access, as a system component has it: no token, no RBAC, no admission policy, no faults; validation stays.
 * Every method throws {@link import("./status.ts").ApiError} (`code` 404, 409, 422 …) as the API would answer.
 */
export interface Store {
  get(plural: Plural, name: string): KubeObject | null;
  list(plural: Plural): KubeObject[];
  create(plural: Plural, object: NewObject, version?: string, manager?: string | null): KubeObject;
  /** JSON merge patch of the main resource (`status` in it is ignored). With `metadata.resourceVersion` in it: 409 if it moved. `manager`: who writes, where that is to be seen. */
  patch(plural: Plural, name: string, patch: Fields, manager?: string): KubeObject;
  /** JSON merge patch of `status` alone: `patchStatus("modulepulloverrides", "echo", { message: "Ready" })`. */
  patchStatus(plural: Plural, name: string, status: Fields, options?: { resourceVersion?: string }): KubeObject;
  /** JSON merge patch of `spec` alone, past the schema: what was stored before its definition changed. */
  spoil(plural: Plural, name: string, spec: Fields): KubeObject;
  /** What has finalizers stays, marked by `deletionTimestamp`, until they are gone. */
  delete(plural: Plural, name: string): KubeObject;
  /** Like an informer: ADDED for each object there is, then every change, in order, each in a microtask of its own. Gives back `stop`. */
  watch(plural: Plural, listener: (event: StoreEvent) => void): () => void;
}

/** What a request can be answered with instead of its real answer. `hang`: never; `reset`: the connection is cut; `html`: a proxy's 200. */
export type Fault =
  | "401"
  | "403-rbac"
  | "403-policy"
  | "403-webhook"
  | "404-plain"
  | "409"
  | "429"
  | "429-plain"
  | "500"
  | "503"
  | "hang"
  | "reset"
  | "html";
export interface Faults {
  /** The next `count` requests (those with that method, where one is named) get this answer. Several calls queue up. `Infinity` until {@link clear}. */
  next(count: number, fault: Fault, options?: { method?: "GET" | "PATCH" | "POST" | "PUT" | "DELETE"; retryAfterSeconds?: number }): void;
  /** Forgets what was ordered and cuts the requests that hang. */
  clear(): void;
  /** Ends every open watch in the middle of a line. */
  cutWatches(): void;
  /** Forgets the history: a watch from an older resourceVersion is answered 410 Expired. */
  expireHistory(): void;
}

export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete";

export interface KubernetesApi {
  /** `https://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** Of the namespace kube-system. */
  readonly uid: string;
  /** PEM of the CA that signed the server's certificate; made at start. */
  readonly ca: string;
  /** The administrator's bearer token. */
  readonly token: string;
  /** The bearer token of Deckhouse's own service account: it may everything, too, and no admission policy holds for it. */
  readonly systemToken: string;
  /** A kubeconfig as JSON, which is YAML too; the administrator's, or that of the given token. */
  kubeconfig(token?: string): string;
  readonly store: Store;
  readonly faults: Faults;
  /**
   * A bearer token of a user that may do only this with deckhouse.io objects (no status): RBAC, as infra/cluster grants it.
   * Asked again for the same user it changes the verbs and gives the same token.
   */
  grant(user: string, verbs: readonly Verb[]): string;
  /** Whether ModuleSources have a `spec.scanInterval` from now on, as from Deckhouse v1.75 on; otherwise it is pruned from whatever is written. */
  setScannable(scannable: boolean): void;
  /** Which versions of ModulePullOverride are served from now on; other versions are answered 404 in plain text. Watches of those end. */
  setServed(versions: readonly OverrideVersion[]): void;
  /** Since start: accepted TCP connections and requests. */
  counters(): { connections: number; requests: number };
  /** As if another cluster answered at this address. */
  setUid(uid: string): void;
  /** Cuts every connection and stops listening, keeping objects, CA and tokens, as a restart of the API server does. */
  stop(): Promise<void>;
  /** Listens again on the same port. */
  start(): Promise<void>;
  /** Cuts every connection and ends for good. */
  close(): Promise<void>;
}
