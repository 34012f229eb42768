/** Quay's repository notifications, event "Push to Repository": https://docs.quay.io/guides/notifications.html */
import * as z from "zod";
import { NO_HOST, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

// Quay's own front end bears tags as a list and as the keys of an object. Other events have the same fields and no `updated_tags`.
const payload = z.object({
  repository: z.string(),
  docker_url: z.string(),
  updated_tags: z.union([z.array(z.unknown()), z.record(z.string(), z.unknown())]).optional(),
});
type Payload = z.infer<typeof payload>;

export const quay: RegistryProvider<Payload> = {
  name: "quay",
  title: "Quay (quay.io, Red Hat Quay)",
  auth: [{ kind: "url" }],
  payload,
  pushes(body, delivery) {
    if (body.updated_tags === undefined) return [];
    const tags = Array.isArray(body.updated_tags) ? body.updated_tags : Object.keys(body.updated_tags);
    if (tags.length === 0) return [{ unreadable: "`updated_tags` names no tag" }];
    return readEach(tags, z.string().min(1), (tag) => toPush(tag, body, delivery));
  },
};

function toPush(name: string, { repository, docker_url }: Payload, delivery: DeliveryContext): Push | null {
  const { tag, digest } = tagAndDigest(name);
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? splitReference(docker_url).host;
  if (host === null) return NO_HOST;
  return { host, repository: repositoryOf(repository), tag, digest, mediaType: null, actor: null, time: null, id: null };
}
