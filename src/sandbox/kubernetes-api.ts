/**
 * A stand-in for a cluster's API server, for `npm start` and tests: TLS with its own CA, bearer tokens, and the
 * deckhouse.io resources with the behaviour that the relay and kubectl rely on. Not a Kubernetes: no pods, no namespaces.
 */
import type { KubernetesApi, OverrideVersion } from "./kubernetes/types.ts";

export type * from "./kubernetes/types.ts";

/** `port` 0 or none: a free one. `served` defaults to v1alpha1 and v1alpha2. Listens on loopback only. */
export async function startKubernetesApi(_options: {
  port?: number;
  token: string;
  served?: readonly OverrideVersion[];
}): Promise<KubernetesApi> {
  throw new Error("being written");
}
