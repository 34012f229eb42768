/**
 * The cluster port: the ModulePullOverrides of one cluster. One adapter stands behind it (kubernetes.ts),
 * held to test/contracts/cluster.ts over the sandbox API and over a real kube-apiserver.
 * Every method throws RelayError: CLUSTER_UNREACHABLE, CLUSTER_BUSY, CLUSTER_ERROR, CLUSTER_UNAUTHORIZED, API_VERSION_GONE,
 * FORBIDDEN, FORBIDDEN_BY_POLICY, INVALID; those that patch also CONFLICT.
 */

/** What of a ModulePullOverride matters here. v1alpha1 has `source`; v1alpha2 has not. */
export interface Override {
  readonly name: string;
  readonly apiVersion: "v1alpha1" | "v1alpha2";
  readonly resourceVersion: string;
  /** "" where it cannot be read. */
  readonly imageTag: string;
  readonly source: string | null;
  readonly scanInterval: string | null;
  readonly annotations: Readonly<Record<string, string>>;
  /** The GitOps tool that keeps this override's scan interval, for people; null: nobody that we know. */
  readonly keeper: string | null;
  /** When whoever wrote `spec.imageTag` last wrote into `spec`: the tag is followed since then, or for longer. RFC 3339; null: nobody knows. */
  readonly taggedAt: string | null;
  readonly status: OverrideStatus;
  /**
   * What of it has another form than its definition allows, since it was stored before that changed, and is therefore left out here. null: nothing.
   * Nobody goes by such an override: it is named wherever it is met.
   */
  readonly odd: string | null;
}
/** `message` is "" in old versions and "Ready" in newer ones when all is well; `updatedAt` moves with deploys and errors, not with each check. */
export interface OverrideStatus {
  readonly message: string;
  readonly imageDigest: string | null;
  readonly updatedAt: string | null;
}

/** A Kubernetes Event about an override. `id`: letters, digits, `-` and `.`; the same id is told once. */
export interface OverrideEvent {
  readonly type: "Normal" | "Warning";
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
  readonly id: string;
}

/**
 * What a Module says of itself. `source` is the ModuleSource that it comes from; `message` is empty where all is well.
 * `isReady` null: it does not say how it is, as before Deckhouse v1.66.
 */
export interface ModuleState {
  readonly source: string | null;
  readonly isReady: boolean | null;
  readonly isBroken: boolean;
  readonly message: string;
}

export interface Overrides {
  /** For people: the cluster's name. */
  readonly cluster: string;
  /** null only for a Status with reason NotFound for this very object; any other 404 is API_VERSION_GONE. */
  get(module: string): Promise<Override | null>;
  /**
   * JSON merge patch of annotations only, with the resourceVersion of `override` (another one meanwhile: CONFLICT) and a field manager.
   * null deletes a key. Where only v1alpha1 is served, the label pulse `renew` goes with it (Deckhouse v1.56–v1.59 looks at the label).
   * Resolves with the override as patched; null where it is gone meanwhile.
   */
  annotate(override: Override, annotations: Readonly<Record<string, string | null>>): Promise<Override | null>;
  /**
   * The same with `spec.scanInterval` in the same patch: it and what the annotations say of it are written together or not at all.
   * null: it is not set, which Deckhouse's newer definitions answer with their default. Never a nudge's label.
   */
  setScanInterval(
    override: Override,
    scanInterval: string | null,
    annotations: Readonly<Record<string, string | null>>,
  ): Promise<Override | null>;
  /** Writes an Event about the override, by its UID, in the namespace default. Needs the verb `create` on events there. An override that is gone is no error. */
  tell(module: string, event: OverrideEvent): Promise<void>;
  /** The Module of this name; null where there is none, where it says nothing, and where we may not look. Needs the verb `get` on modules. */
  state(module: string): Promise<ModuleState | null>;
  /** All overrides. Needs the verb `list`. */
  list(): Promise<Override[]>;
  /** One cheap request that shows whether the API server answers us at all. Used while the circuit is open. */
  probe(): Promise<void>;
  /** The UID of the namespace kube-system: which cluster this is, for as long as it lives. Needs `get` on that one namespace. */
  uid(): Promise<string>;
  close(): void;
}
