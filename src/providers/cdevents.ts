/** CDEvents, artifact published, in CloudEvents or bare: https://github.com/cdevents/spec/blob/main/continuous-integration.md#artifact-published */
import * as z from "zod";
import { cloudEvent, eventsBody, eventsIn, percentDecoded, readData } from "./cloudevents-envelope.ts";
import { instantOf, NO_HOST, orNull, repositoryOf, splitImage, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const context = z.object({ type: z.string(), id: z.string().optional(), timestamp: z.string().optional() });
const published = z.object({
  context: context.partial().default({}),
  subject: z.object({ id: z.string(), content: z.object({ user: z.string().optional() }).default({}) }),
});
/** A bare event becomes the data of one that is not. */
const event = z.union(
  [cloudEvent, z.looseObject({ context }).transform((data) => ({ type: data.context.type, id: undefined, time: undefined, data }))],
  {
    error: "neither a CloudEvent nor a CDEvent",
  },
);

export const cdevents: RegistryProvider<z.infer<typeof eventsBody>> = {
  name: "cdevents",
  title: "CDEvents (artifact published)",
  auth: [{ kind: "token", header: "authorization" }, { kind: "url" }],
  payload: eventsBody,
  pushes: (body, delivery) =>
    readEach(eventsIn(body, delivery.headers), event, (each) => {
      if (!each.type.startsWith("dev.cdevents.artifact.published.")) return null;
      return readData(each, published, ({ context: own, subject }) => {
        const id = orNull(each.id) ?? orNull(own.id);
        const time = instantOf(each.time) ?? instantOf(own.timestamp);
        return toPush(subject.id, delivery, { actor: orNull(subject.content.user), id, time });
      });
    }),
};

/** https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md */
const PURL = /^pkg:oci\/(?<name>[^@?#/]+)(?:@(?<version>[^?#]*))?(?:\?(?<qualifiers>[^#]*))?/i;

/** `repository_url` is the repository, the registry or namespace above it, or a reference with tag and digest: senders differ. */
function toPush(
  purl: string,
  delivery: DeliveryContext,
  common: { actor: string | null; id: string | null; time: string | null },
): Push | null {
  if (!/^pkg:/i.test(purl)) return { unreadable: "data: subject.id is no package URL" };
  const { name = "", version = "", qualifiers = "" } = PURL.exec(purl)?.groups ?? {};
  if (name === "") return null; // a package that is no container image
  const given = new URLSearchParams(qualifiers);
  const reference = splitImage(given.get("repository_url") ?? "");
  const { tag, digest } = tagAndDigest(given.get("tag") ?? reference.tag, percentDecoded(version) || reference.digest);
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? reference.host;
  if (host === null) return NO_HOST;
  const above = repositoryOf(reference.path);
  const own = repositoryOf(percentDecoded(name));
  const repository = above === own || above.endsWith(`/${own}`) ? above : repositoryOf(`${above}/${own}`);
  return { host, repository, tag, digest, mediaType: null, ...common };
}
