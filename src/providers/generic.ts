/** Our own small JSON, for pipelines and for registries without a webhook. The format is written down in infra/registries/generic.md. */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, placeOf, repositoryOf, tagAndDigest } from "./normalise.ts";
import { anyList, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const item = z.object({
  repository: z.string().regex(/^(?:https?:\/\/)?[^/\s@]+(?:\/[^/\s@:]+)*\/?$/i, "not [host/]path; the tag goes into `tag`"),
  tag: z.string().optional(),
  digest: z.string().optional(),
  actor: z.string().optional(),
  time: z.union([z.string(), z.number()]).optional(),
  id: z.string().optional(),
});
type Item = z.infer<typeof item>;

const payload = z.union([anyList, z.looseObject({ pushes: anyList.optional() })], {
  error: "neither a push, nor a list of pushes, nor { pushes: [...] }",
});

export const generic: RegistryProvider<z.infer<typeof payload>> = {
  name: "generic",
  title: "Pipelines, and whatever can send JSON",
  auth: [
    { kind: "standard-webhooks" },
    { kind: "hmac", header: "x-signature-256", hash: "sha256", encoding: "hex", prefix: "sha256=" },
    { kind: "token", header: "authorization", scheme: "Bearer" },
    { kind: "oidc" },
  ],
  payload,
  pushes(body, delivery) {
    const items = Array.isArray(body) ? body : (body.pushes ?? [body]);
    return readEach(items, item, (push) => toPush(push, delivery));
  },
};

function toPush(push: Item, delivery: DeliveryContext): Push {
  const { tag, digest } = tagAndDigest(push.tag, push.digest);
  if (tag === null && digest === null) return { unreadable: "neither a `tag` nor a whole `digest`" };
  const named = placeOf(push.repository);
  const host = named.path === push.repository ? delivery.host : named.host; // a host that cannot be one is not made good by ours
  if (host === null) return NO_HOST;
  return {
    host,
    repository: repositoryOf(named.path),
    tag,
    digest,
    mediaType: null,
    actor: orNull(push.actor),
    time: instantOf(push.time),
    id: orNull(push.id) ?? orNull(delivery.headers["webhook-id"]), // a Standard Webhooks id is the same on every retry
  };
}
