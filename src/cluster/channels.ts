/**
 * The second cluster port: ModuleSources that are made to scan, and the ModuleReleases that come of it. Held to test/contracts/channels.ts over the
 * sandbox API and over a real kube-apiserver. Its methods throw what those of {@link Overrides} throw.
 *
 * A ModuleSource holds the registry's credentials in clear text. Nothing of its `spec.registry` leaves the adapter, nor is it looked at there.
 */
import type { Overrides } from "./overrides.ts";

/** What of a ModuleSource matters here. */
export interface ModuleSource {
  readonly name: string;
  readonly resourceVersion: string;
  /** As it is spelled there: `3m`, `3m0s`. null: not given, or not known to this version of Deckhouse. */
  readonly scanInterval: string | null;
  /** When we last changed `scanInterval`, by the API server's clock in whole seconds; null: never, or somebody else changed it since. */
  readonly rescannedAt: string | null;
}

/** What of a ModuleRelease matters here. */
export interface ModuleRelease {
  readonly name: string;
  /** As in the channel: `v1.2.3`. */
  readonly version: string;
  /** RFC 3339 in whole seconds. */
  readonly createdAt: string;
  /** `Pending`, `Deployed`, `Superseded` …; "" before Deckhouse looked at it. */
  readonly phase: string;
  /** What it waits for, in Deckhouse's words; "" where it says nothing. */
  readonly message: string;
  /** The ModuleUpdatePolicy that it goes by; null: none is named, and the platform's own settings hold. */
  readonly policy: string | null;
  /** A canary release: not before this. */
  readonly applyAfter: string | null;
}

export interface Channels {
  /** null only for a Status with reason NotFound for this very object. Needs the verb `get` on modulesources. */
  source(name: string): Promise<ModuleSource | null>;
  /**
   * Merge patch of `spec.scanInterval` alone, with the resourceVersion of `source` (another one meanwhile: CONFLICT). Resolves with the source as it is
   * now: a Deckhouse before v1.75 does not keep the field. null where it is gone meanwhile. Needs the verb `patch` on modulesources.
   */
  respell(source: ModuleSource, scanInterval: string): Promise<ModuleSource | null>;
  /** All of one module, in no order. Needs the verb `list` on modulereleases. */
  releases(module: string): Promise<ModuleRelease[]>;
}

/** Both ports of one cluster, over one connection. */
export interface ClusterPort extends Overrides {
  readonly channels: Channels;
}
