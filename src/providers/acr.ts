/** Azure Container Registry's own webhooks: https://learn.microsoft.com/azure/container-registry/container-registry-webhook-reference */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { anyObject, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

/** One event; Event Grid sends the same as its `data`. A ping has no target. */
export const acrEvent = z.object({
  id: z.string().optional(),
  timestamp: z.string().optional(),
  action: z.string(), // push, delete, quarantine, chart_push, chart_delete, ping
  target: z
    .object({
      mediaType: z.string().optional(),
      repository: z.string(),
      tag: z.string().optional(),
      digest: z.string().optional(),
    })
    .optional(),
  request: z.object({ host: z.string().default("") }).default({ host: "" }),
  actor: z.object({ name: z.string().optional() }).default({}),
});
export type AcrEvent = z.infer<typeof acrEvent>;

export const acr: RegistryProvider<Record<string, unknown>> = {
  name: "acr",
  title: "Azure Container Registry, own webhooks",
  auth: [{ kind: "token", header: "authorization" }, { kind: "url" }],
  payload: anyObject,
  pushes: (body, delivery) => readEach([body], acrEvent, (event) => acrPush(event, delivery)),
};

/** `quarantine` is a push that nobody may pull yet; once it is released a `push` follows. */
export function acrPush({ id, timestamp, action, target, request, actor }: AcrEvent, delivery: DeliveryContext): Push | null {
  if (action !== "push") return null;
  if (target === undefined) return { unreadable: "a push without `target`" };
  const { tag, digest } = tagAndDigest(target.tag, target.digest);
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? splitReference(request.host).host;
  if (host === null) return NO_HOST;
  return {
    host,
    repository: repositoryOf(target.repository),
    tag,
    digest,
    mediaType: orNull(target.mediaType),
    actor: orNull(actor.name),
    time: instantOf(timestamp),
    id: orNull(id),
  };
}
