/** What the Deckhouse stand-in sees of its cluster: the objects of deckhouse.io that its ModulePullOverride controller reads and writes. */

/** A ModulePullOverride as the controller sees it. `source` is of v1alpha1 alone. */
export interface PullOverride {
  readonly name: string;
  readonly resourceVersion: string;
  readonly generation: number;
  readonly annotations: Readonly<Record<string, string>>;
  readonly imageTag: string;
  readonly scanInterval: string | null;
  readonly status: PullStatus;
}
export interface PullStatus {
  readonly message: string;
  readonly imageDigest: string;
  /** RFC 3339 in whole seconds, as Kubernetes writes times; "" before the first write. */
  readonly updatedAt: string;
}
export interface Module {
  /** The active ModuleSource; "" for none, `Embedded` for modules of Deckhouse's own image. */
  readonly source: string;
  readonly disabled: boolean;
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
  writeStatus(override: PullOverride, status: Partial<PullStatus>): Promise<void>;
  removeAnnotation(name: string, key: string): Promise<void>;
  writeSourceModules(name: string, source: ModuleSource, modules: readonly SourceModule[]): Promise<void>;
}

/** The object changed after it was read. */
export class KubeConflict extends Error {}
