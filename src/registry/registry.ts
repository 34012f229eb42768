/**
 * The registry port: what a tag names now. Read only, and only at the places that the configuration names: never where a payload points.
 * Asked where no message can tell: senders without digest, indexes, and what is at rest.
 */

import type { RenewRequest } from "../event.ts";

/** What a tag resolves to. */
export interface Resolved {
  /** The digest of what the tag names: a manifest or an index. */
  readonly digest: string;
  /** What Deckhouse shows as `imageDigest`: of an index the manifest for linux/amd64, else the same digest. */
  readonly image: string;
}

export interface Registry {
  /**
   * Resolves the tag of a push in the repository that its source names, which is where the cluster pulls from.
   * null: the tag is not there, or the configuration does not say how to ask this source's registry.
   * Throws RelayError REGISTRY_UNAVAILABLE: no answer, refused, no image for linux/amd64. With `retryAfterSeconds` it is the whole source
   * (or its host) that is not asked again before then.
   */
  resolve(push: Pick<RenewRequest, "image" | "module" | "tag">): Promise<Resolved | null>;
}
