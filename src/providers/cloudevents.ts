/** Any sender of CloudEvents whose data names repository, and tag or digest. The names that are read are written down in infra/registries/cloudevents.md. */
import * as z from "zod";
import { type CloudEvent, cloudEvent, eventsBody, eventsIn, readData } from "./cloudevents-envelope.ts";
import { instantOf, NO_HOST, orNull, placeOf, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const text = z.string().optional();
const image = z.object({
  repository: text,
  repositoryName: text,
  tag: text,
  imageTag: text,
  digest: text,
  imageDigest: text,
  registry: text,
  registryUrl: text,
  mediaType: text,
  actor: text,
});
type Image = z.infer<typeof image>;

/** Types are free. What says of itself that it is something else is no push; the rest is for the data to say. */
const OTHER = /(?:^|[^a-z])(?:delet|remov|untag|pull|scan|sign|quota|replicat|ping)/i;

export const cloudevents: RegistryProvider<z.infer<typeof eventsBody>> = {
  name: "cloudevents",
  title: "Any sender of CloudEvents",
  auth: [{ kind: "token", header: "authorization" }, { kind: "url" }],
  payload: eventsBody,
  pushes: (body, delivery) =>
    readEach(eventsIn(body, delivery.headers), cloudEvent, (event) =>
      OTHER.test(event.type) ? null : readData(event, image, (data) => toPush(data, event, delivery)),
    ),
};

function toPush(data: Image, event: CloudEvent, delivery: DeliveryContext): Push {
  const [, subject, subjectTag] = /^([^@]+?)(?::([^/:@]+))?$/.exec(event.subject ?? "") ?? [];
  const repository = orNull(data.repository) ?? orNull(data.repositoryName) ?? orNull(subject);
  const { tag, digest } = tagAndDigest(orNull(data.tag) ?? orNull(data.imageTag) ?? subjectTag, orNull(data.digest) ?? data.imageDigest);
  if (repository === null || (tag === null && digest === null))
    return { unreadable: "data: no repository, or neither a tag nor a whole digest" };
  const place = placeOf(repository);
  const registry = orNull(data.registryUrl) ?? data.registry ?? "";
  const host = delivery.host ?? place.host ?? splitReference(registry).host ?? hostOf(event.source ?? "");
  if (host === null) return NO_HOST;
  const common = { mediaType: orNull(data.mediaType), actor: orNull(data.actor), time: instantOf(event.time), id: orNull(event.id) };
  return { host, repository: repositoryOf(place.path), tag, digest, ...common };
}

/** A URL, or the name of a repository of ECR. */
function hostOf(source: string): string | null {
  const [, china, region, account] = /^(?:urn|arn):aws(-cn)?:ecr:([a-z]{2}(?:-[a-z]+)+-\d):(\d{12}):/.exec(source) ?? [];
  if (region !== undefined) return `${account}.dkr.ecr.${region}.amazonaws.com${china === undefined ? "" : ".cn"}`;
  return /^https?:\/\//i.test(source) ? splitReference(source).host : null;
}
