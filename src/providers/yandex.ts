/** Yandex Container Registry, the body that its trigger hands to a function or container: https://yandex.cloud/en/docs/functions/concepts/trigger/cr-trigger */
import * as z from "zod";
import { instantOf, orNull, repositoryOf, tagAndDigest } from "./normalise.ts";
import { anyList, type DeliveryContext, firstOf, type Push, readEach, type RegistryProvider } from "./provider.ts";

const CREATED = /^yandex\.cloud\.events\.containerregistry\.CreateImage(?:Tag)?$/;
const NAME = /^[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$/;

const message = z.object({
  event_metadata: z.object({ event_type: z.string(), event_id: z.string().optional(), created_at: z.string().optional() }),
  details: z.object({ repository_name: z.string().default(""), tag: z.string().optional(), image_digest: z.string().optional() }),
});

export const yandex: RegistryProvider<{ messages: unknown[] }> = {
  name: "yandex",
  title: "Yandex Container Registry",
  auth: [{ kind: "token", header: "authorization", scheme: "Bearer" }, { kind: "url" }],
  payload: z.object({ messages: anyList }),
  pushes: ({ messages }, delivery) =>
    latestOfEach(
      firstOf(
        readEach(messages, message, (each) => toPush(each, delivery)),
        delivery.most,
      ),
    ),
};

function toPush({ event_metadata: event, details }: z.infer<typeof message>, delivery: DeliveryContext): Push | null {
  if (!CREATED.test(event.event_type)) return null;
  const { tag, digest } = tagAndDigest(details.tag, details.image_digest);
  if (tag === null && digest === null) return null;
  if (!NAME.test(details.repository_name)) return { unreadable: "details.repository_name: not a repository's name" }; // masked, for one
  return {
    host: delivery.host ?? "cr.yandex",
    repository: repositoryOf(details.repository_name), // begins with the registry's id
    tag,
    digest,
    mediaType: null,
    actor: null,
    time: instantOf(event.created_at),
    id: orNull(event.event_id),
  };
}

/** One push is told twice, as CreateImage and as CreateImageTag. A batch comes after all that it tells of, so the last of each image speaks for all. */
function latestOfEach(pushes: Iterable<Push>): Iterable<Push> {
  const latest = new Map<unknown, Push>();
  for (const push of pushes) {
    const key = "unreadable" in push ? push : JSON.stringify([push.repository, push.tag, push.digest]);
    latest.delete(key);
    latest.set(key, push);
  }
  return latest.values();
}
