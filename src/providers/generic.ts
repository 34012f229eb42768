/** Our own small JSON, for pipelines and for registries without a webhook. The format is written down in infra/registries/generic.md. */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const item = z.object({
  repository: z.string().regex(/^(?:https?:\/\/)?[^/\s@]+(?:\/[^/\s@:]+)*\/?$/i, "not [host/]path; the tag goes into `tag`"),
  tag: z.string().optional(),
  digest: z.string().optional(),
  actor: z.string().optional(),
  time: z.union([z.string(), z.number()]).optional(),
  id: z.string().optional(),
});
type Item = z.infer<typeof item>;

const payload = z.union([z.array(z.unknown()), z.looseObject({ pushes: z.array(z.unknown()).optional() })], {
  error: "neither a push, nor a list of pushes, nor { pushes: [...] }",
});

export const generic: RegistryProvider<z.infer<typeof payload>> = {
  name: "generic",
  title: "Pipelines, and whatever can send JSON",
  auth: [{ kind: "standard-webhooks" }, { kind: "token", header: "authorization", scheme: "Bearer" }],
  payload,
  pushes(body, delivery) {
    const items = Array.isArray(body) ? body : (body.pushes ?? [body]);
    return readEach(items, item, (push) => toPush(push, delivery));
  },
};

function toPush(push: Item, delivery: DeliveryContext): Push {
  const { tag, digest } = tagAndDigest(push.tag, push.digest);
  if (tag === null && digest === null) return { unreadable: "neither a `tag` nor a whole `digest`" };
  const { host, path } = place(push.repository, delivery.host);
  if (host === null) return NO_HOST;
  return {
    host,
    repository: repositoryOf(path),
    tag,
    digest,
    mediaType: null,
    actor: orNull(push.actor),
    time: instantOf(push.time),
    id: orNull(push.id) ?? orNull(delivery.headers["webhook-id"]), // a Standard Webhooks id is the same on every retry
  };
}

/** As every container tool reads a name: the first segment is a host if it has a dot or a port, or is `localhost`; so is all behind a scheme. */
function place(repository: string, otherwise: string | null): { host: string | null; path: string } {
  const named = splitReference(repository);
  const isHost = /^[^/]*[.:][^/]*\/|^localhost\//i.test(repository);
  return isHost ? named : { host: otherwise, path: repository };
}
