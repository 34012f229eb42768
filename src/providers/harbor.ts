/** Harbor's project webhooks, every payload format: https://goharbor.io/docs/latest/working-with-projects/project-configuration/configure-webhooks/ */
import * as z from "zod";
import { problems } from "../event.ts";
import { cloudEvent, dataOf, eventsBody, eventsIn } from "./cloudevents-envelope.ts";
import { instantOf, NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { anyList, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

/** `pushImage` is Harbor 1.x, and hosted registries that kept its shape (Tencent's). */
const PUSHES: ReadonlySet<string> = new Set(["PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"]);

// Default differs from a CloudEvent in the names of two attributes
const event = cloudEvent.extend({ operator: z.string().optional(), occur_at: z.number().optional(), event_data: z.unknown().optional() });
type Common = { actor: string | null; time: string | null; id: string | null };

const eventData = z.object({
  resources: anyList,
  repository: z.object({ repo_full_name: z.string().optional() }).default({}),
});
const resource = z.object({ digest: z.string().optional(), tag: z.string().optional(), resource_url: z.string() });

// The form of Harbor 1.x's own pages: https://goharbor.io/docs/1.10/working-with-projects/project-configuration/configure-webhooks/
// Its `image_id` is no manifest's digest, and the only known `trigger_time` is neither seconds nor milliseconds of our time.
const list = z.object({ event_type: z.string(), events: anyList });
const listed = z.object({ project: z.string(), repo_name: z.string(), tag: z.string(), full_name: z.string().optional() });

export const harbor: RegistryProvider<z.infer<typeof eventsBody>> = {
  name: "harbor",
  title: "Harbor",
  auth: [{ kind: "token", header: "authorization" }],
  payload: eventsBody,
  *pushes(body, delivery) {
    const old = list.safeParse(body);
    if (!old.success) for (const item of eventsIn(body, delivery.headers)) yield* ofEvent(item, delivery);
    else if (PUSHES.has(old.data.event_type)) yield* readEach(old.data.events, listed, (item) => ofList(item, delivery));
  },
};

function ofEvent(item: unknown, delivery: DeliveryContext): Iterable<Push> {
  const read = event.safeParse(item);
  if (!read.success) return [{ unreadable: problems(read.error) }];
  const { type, id, time, operator, occur_at: occurred, event_data: ofDefault } = read.data;
  if (!PUSHES.has(type)) return [];
  const data = eventData.safeParse(ofDefault ?? dataOf(read.data));
  if (!data.success) return [{ unreadable: `data: ${problems(data.error)}` }];
  const { resources, repository } = data.data;
  const common = { actor: orNull(operator), time: instantOf(time ?? occurred), id: orNull(id) };
  // Harbor names one resource per push; other senders of this shape name several
  return readEach(resources, resource, (each) => ofResource(each, repository.repo_full_name, common, delivery));
}

function ofResource(item: z.infer<typeof resource>, name: string | undefined, common: Common, delivery: DeliveryContext): Push | null {
  const { tag, digest } = tagAndDigest(item.tag, item.digest);
  if (tag === null && digest === null) return null;
  const reference = splitReference(item.resource_url);
  const host = delivery.host ?? reference.host;
  if (host === null) return NO_HOST;
  const path = orNull(name) ?? reference.path.replace(/@.*$|:[^/:]*$/s, "");
  return { host, repository: repositoryOf(path), tag, digest, mediaType: null, ...common };
}

function ofList({ project, repo_name: name, full_name: whole, tag }: z.infer<typeof listed>, { host }: DeliveryContext): Push | null {
  if (host === null) return NO_HOST;
  const repository = repositoryOf(orNull(whole) ?? `${project}/${name}`);
  return { host, repository, ...tagAndDigest(tag), mediaType: null, actor: null, time: null, id: null };
}
