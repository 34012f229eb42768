/** Sonatype Nexus Repository 3, capability "Webhook: Repository": https://help.sonatype.com/en/example-headers-and-payloads.html */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, repositoryOf, tagAndDigest } from "./normalise.ts";
import { anyObject, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

// of a tag that is pushed again some versions tell by the component, some only by the manifest's asset
const event = z.object({
  timestamp: z.string().optional(),
  initiator: z.string().default(""),
  action: z.string(), // CREATED, UPDATED, DELETED, PURGED; the last has only lists of ids
  component: z.object({ format: z.string(), name: z.string(), version: z.string().optional() }).optional(),
  asset: z.object({ format: z.string(), name: z.string() }).optional(),
});
type Event = z.infer<typeof event>;

export const nexus: RegistryProvider<Record<string, unknown>> = {
  name: "nexus",
  title: "Sonatype Nexus Repository 3",
  auth: [{ kind: "hmac", header: "x-nexus-webhook-signature", hash: "sha1", encoding: "hex" }],
  payload: anyObject,
  // A component is created, committed and told of before its manifest's asset is: ComponentStore.createComponent (postCommitEvent), and
  // https://github.com/sonatype/nexus-public/blob/main/components/nexus-repository-content/src/main/java/org/sonatype/nexus/repository/content/fluent/internal/FluentComponentBuilderImpl.java
  tellsBeforeTag: true,
  pushes(body, delivery) {
    const kind = delivery.headers["x-nexus-webhook-id"];
    if (kind !== undefined && !kind.startsWith("rm:repository:")) return []; // the audit's, of a capability "Webhook: Global"
    return readEach([body], event, (read) => toPush(read, delivery));
  },
};

function toPush(read: Event, delivery: DeliveryContext): Push | null {
  if (read.action !== "CREATED" && read.action !== "UPDATED") return null;
  const item = read.component ?? read.asset;
  if (item === undefined) return { unreadable: "neither a `component` nor an `asset`" };
  if (item.format !== "docker") return null;
  const image = read.component ?? manifestOf(item.name);
  if (image === null) return null; // a blob
  const { tag, digest } = tagAndDigest(image.version);
  if (tag === null && digest === null) return { unreadable: "a docker component without a `version`" };
  if (delivery.host === null) return NO_HOST;
  return {
    host: delivery.host,
    repository: repositoryOf(image.name),
    tag,
    digest,
    mediaType: null,
    actor: orNull(read.initiator.replace(/\/[^/]*$/, "")), // admin/10.0.0.7
    time: instantOf(read.timestamp),
    id: orNull(delivery.headers["x-nexus-webhook-delivery"]),
  };
}

/** `v2/<image>/manifests/<tag or digest>`; newer versions begin with a slash. */
function manifestOf(asset: string): { name: string; version: string } | null {
  const [, name, version] = /^\/?v2\/(.+)\/manifests\/([^/]+)$/.exec(asset) ?? [];
  return name !== undefined && version !== undefined ? { name, version } : null;
}
