/** What stands for Deckhouse under measurement. */
import type { Cluster } from "./cluster.ts";

export interface Deckhouse {
  nudges(): number;
  readonly digests: ReadonlyMap<string, string>;
}

/** Takes up each nudge at once, and shows what the tag resolves to at that moment. A real one takes longer; the relay is measured here. */
export async function startDeckhouse(cluster: Cluster, tags: ReadonlyMap<string, { readonly digest: string }>): Promise<Deckhouse> {
  const seen = new Map<string, string>();
  const digests = new Map<string, string>();
  let nudges = 0;
  await cluster.watch(({ metadata: { name, annotations }, status }) => {
    digests.set(name, status.imageDigest);
    const key = annotations["mpo-relay/key"];
    if (key === undefined || seen.get(name) === key) return;
    seen.set(name, key);
    nudges++;
    const imageDigest = tags.get(name)?.digest ?? "";
    if (imageDigest !== status.imageDigest) void cluster.patch(name, { status: { imageDigest, message: "Ready" } }, "/status");
  });
  return { digests, nudges: () => nudges };
}
