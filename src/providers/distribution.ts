/** CNCF Distribution (`registry:2`, `registry:3`), and registries built from it: https://distribution.github.io/distribution/about/notifications/ */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { anyList, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const MANIFESTS: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v1+prettyjws",
]);

// 2.x leaves empty fields out, 3.x sends "": https://github.com/distribution/distribution/blob/main/notifications/event.go
const notification = z.object({
  id: z.string().optional(),
  timestamp: z.string().optional(),
  action: z.string(),
  target: z.object({
    mediaType: z.string().default(""),
    digest: z.string().optional(),
    repository: z.string(),
    url: z.string().default(""),
    tag: z.string().optional(),
  }),
  request: z.object({ host: z.string().default("") }).default({ host: "" }),
  actor: z.object({ name: z.string().optional() }).default({}),
});
type Notification = z.infer<typeof notification>;

export const distribution: RegistryProvider<{ events: unknown[] }> = {
  name: "distribution",
  title: "CNCF Distribution (docker registry 2.8, 3.x)",
  auth: [{ kind: "token", header: "authorization", scheme: "Bearer" }],
  payload: z.object({ events: anyList }),
  pushes: ({ events }, delivery) => readEach(events, notification, (event) => toPush(event, delivery)),
  tellsBeforeTag: true, // PutManifest: https://github.com/distribution/distribution/blob/main/registry/handlers/manifests.go
  redact: ["events.*.actor.user"], // a JWT, where the registry is GitLab's
};

function toPush(event: Notification, delivery: DeliveryContext): Push | null {
  const { target } = event;
  if (event.action !== "push" || !isManifest(target)) return null;
  const { tag, digest } = tagAndDigest(target.tag, target.digest);
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? hostOf(event);
  if (host === null) return NO_HOST;
  return {
    host,
    repository: repositoryOf(target.repository),
    tag,
    digest,
    mediaType: orNull(target.mediaType),
    actor: orNull(event.actor.name),
    time: instantOf(event.timestamp),
    id: orNull(event.id),
  };
}

/** Blobs and manifests arrive as the same kind of event. The URL tells them apart only where no media type does: it is built anew by proxies. */
function isManifest({ mediaType, url, tag }: Notification["target"]): boolean {
  if (mediaType !== "") return MANIFESTS.has(mediaType);
  return /\/manifests\/[^/]+$/.test(url) || (url === "" && orNull(tag) !== null);
}

/** `target.url` knows `http.host` and X-Forwarded-Host; `request.host` is often an inner name. With `http.relativeurls` the URL has no host. */
function hostOf({ target, request }: Notification): string | null {
  const byUrl = /^https?:\/\//i.test(target.url) ? splitReference(target.url).host : null;
  return byUrl ?? splitReference(request.host).host;
}
