/** What the Deckhouse stand-in sees of its cluster: the objects of deckhouse.io that its ModulePullOverride controller reads and writes. */

/** A ModulePullOverride as the controller sees it. `source` is of v1alpha1 alone, "" otherwise. */
export interface PullOverride {
  readonly name: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly finalizers: readonly string[];
  /** It is deleted, and waits for its finalizers to go. */
  readonly deleting: boolean;
  readonly imageTag: string;
  readonly source: string;
  readonly scanInterval: string | null;
  readonly rollback: boolean;
  readonly status: PullStatus;
}
export interface PullStatus {
  readonly message: string;
  readonly imageDigest: string;
  /** RFC 3339 in whole seconds, as Kubernetes writes times; "" before the first write. */
  readonly updatedAt: string;
}
/** Labels and annotations as a merge patch: null deletes. The finalizers are the whole list. */
export interface Metadata {
  readonly labels?: Readonly<Record<string, string | null>>;
  readonly annotations?: Readonly<Record<string, string | null>>;
  readonly finalizers?: readonly string[];
}
export interface Module {
  readonly resourceVersion: string;
  /** The active ModuleSource; "" for none. */
  readonly source: string;
  /** The PackageRepository, in newer versions; "" for none. */
  readonly repository: string;
  /** It comes with Deckhouse's own image. */
  readonly embedded: boolean;
  /** Only where a condition says so. */
  readonly disabled: boolean;
  readonly conditions: readonly Condition[];
}
interface Condition {
  readonly type: string;
  readonly status: string;
  readonly [field: string]: unknown;
}
export interface ModuleSource {
  /** `host[:port]/path` */
  readonly repo: string;
  readonly scheme: "http" | "https";
  readonly resourceVersion: string;
  readonly modules: readonly SourceModule[];
}
/** An entry of a ModuleSource's status.modules; what else it holds is kept. */
interface SourceModule {
  readonly name: string;
  readonly overridden?: boolean | undefined;
  readonly [field: string]: unknown;
}

/** Reads give null for what is not there. Writes with an outdated resourceVersion reject with {@link KubeConflict}. */
export interface KubePort {
  /** Hands on every override there is, then each one as it changes, or its name when it is gone. Resolves when the signal is aborted, never rejects. */
  follow(on: { changed(override: PullOverride): void; gone(name: string): void }, signal: AbortSignal): Promise<void>;
  override(name: string): Promise<PullOverride | null>;
  module(name: string): Promise<Module | null>;
  source(name: string): Promise<ModuleSource | null>;
  /** Both resolve with the override as written. */
  writeStatus(override: PullOverride, status: Partial<PullStatus>): Promise<PullOverride>;
  writeMetadata(override: PullOverride, metadata: Metadata): Promise<PullOverride>;
  writeConditions(name: string, module: Module, conditions: readonly Condition[]): Promise<void>;
  writeSourceModules(name: string, source: ModuleSource, modules: readonly SourceModule[]): Promise<void>;
}

/** The object changed after it was read. */
export class KubeConflict extends Error {}
