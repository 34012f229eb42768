/** The relay.yaml of these tests, and where they deploy to. */

export const REGION = "eu-central-1";

const REPO = "registry.example.com/deckhouse/modules";
export const SECRET = "/mpo-relay/registry";
export const caOf = (cluster: string) => `/mpo-relay/${cluster}/ca`;
export const tokenOf = (cluster: string) => `/mpo-relay/${cluster}/token`;
const variableOf = (cluster: string) => `${cluster.toUpperCase().replaceAll("-", "_")}_QUEUE`;

/** One webhook, one source, and each cluster at the same API server. */
export function relayYaml({ clusters, api }: { clusters: readonly string[]; api: string }) {
  const each = (cluster: string) => ({
    queue: `env:${variableOf(cluster)}`,
    kubernetes: { server: api, ca: `ssm:${caOf(cluster)}`, token: `ssm:${tokenOf(cluster)}` },
  });
  return {
    webhooks: { registry: { provider: "distribution", secret: `ssm:${SECRET}` } },
    sources: [{ repo: REPO, name: "test", registry: {} }],
    clusters: Object.fromEntries(clusters.map((cluster) => [cluster, each(cluster)])),
    unparsed: "env:MPO_RELAY_UNPARSED",
    journal: "env:MPO_RELAY_JOURNAL",
  };
}
