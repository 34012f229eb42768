/** Harbor's project webhooks, both payload formats: https://goharbor.io/docs/latest/working-with-projects/project-configuration/configure-webhooks/ */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type DeliveryHeaders, type Push, readEach, type RegistryProvider } from "./provider.ts";

/** `pushImage` is Harbor 1.x, and hosted registries that kept its shape. */
const PUSHES: ReadonlySet<string> = new Set(["PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"]);

const eventData = {
  resources: z.array(z.unknown()).optional(),
  repository: z.object({ repo_full_name: z.string().optional() }).optional(),
};
// The envelopes give no name to two different things, so one schema reads all three: Default has `event_data`,
// structured CloudEvents have `data`, and in binary mode the body is that data and the rest is in ce-* headers.
const payload = z.object({
  type: z.string().optional(),
  operator: z.string().optional(),
  occur_at: z.number().optional(),
  time: z.string().optional(),
  id: z.string().optional(),
  event_data: z.object(eventData).optional(),
  data: z.object(eventData).optional(),
  ...eventData,
});
type Payload = z.infer<typeof payload>;
type EventData = Pick<Payload, "resources" | "repository">;

const resource = z.object({ digest: z.string().optional(), tag: z.string().optional(), resource_url: z.string() });
type Resource = z.infer<typeof resource>;

export const harbor: RegistryProvider<Payload> = {
  name: "harbor",
  title: "Harbor",
  auth: [{ kind: "token", header: "authorization" }],
  payload,
  pushes(body, delivery) {
    const binary = body.type === undefined ? ceHeaders(delivery.headers) : null;
    const type = body.type ?? binary?.type;
    const data = binary === null ? (body.event_data ?? body.data) : body;
    if (type === undefined || data === undefined) return [{ unreadable: "neither `type` with `event_data`, nor a CloudEvent" }];
    if (!PUSHES.has(type)) return [];
    if (data.resources === undefined) return [{ unreadable: "a push without `resources`" }];
    const event = binary ?? body;
    const common = { actor: orNull(event.operator), time: instantOf(event.time ?? body.occur_at), id: orNull(event.id) };
    return readEach(data.resources, resource, (item) => toPush(item, data, delivery, common));
  },
};

/** Harbor names one resource per push; other senders of this shape name several. */
function toPush(
  item: Resource,
  { repository }: EventData,
  delivery: DeliveryContext,
  common: { actor: string | null; time: string | null; id: string | null },
): Push | null {
  const { tag, digest } = tagAndDigest(item.tag, item.digest);
  if (tag === null && digest === null) return null;
  const reference = splitReference(item.resource_url);
  const host = delivery.host ?? reference.host;
  if (host === null) return NO_HOST;
  const path = orNull(repository?.repo_full_name) ?? reference.path.replace(/@.*$|:[^/:]*$/, "");
  return { host, repository: repositoryOf(path), tag, digest, mediaType: null, ...common };
}

/** Percent-decoded once: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values */
function ceHeaders(headers: DeliveryHeaders) {
  const value = (name: string) => {
    const text = headers[name];
    try {
      return text === undefined ? undefined : decodeURIComponent(text);
    } catch {
      return text; // a bare % that nobody encoded
    }
  };
  return { type: value("ce-type"), id: value("ce-id"), time: value("ce-time"), operator: value("ce-operator") };
}
