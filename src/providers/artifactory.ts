/** JFrog Artifactory, predefined webhook, event "Docker tag was pushed": https://docs.jfrog.com/administration/docs/event-types */
import * as z from "zod";
import { problems } from "../event.ts";
import { NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { anyObject, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const HEADER = "x-jfrog-event-auth";

const event = z.object({
  domain: z.string(),
  event_type: z.string(),
  jpd_origin: z.string().default(""), // absent where the platform has no base URL
  source: z.string().default(""),
  data: z.unknown().optional(), // of every domain another shape
});
type Event = z.infer<typeof event>;

const image = z.object({
  repo_key: z.string(),
  path: z.string(), // <image>/<tag>/manifest.json or list.manifest.json
  name: z.string(),
  tag: z.string(),
  sha256: z.string().default(""),
});

export const artifactory: RegistryProvider<Record<string, unknown>> = {
  name: "artifactory",
  title: "JFrog Artifactory",
  // "Use secret for payload signing" on, and off
  auth: [
    { kind: "hmac", header: HEADER, hash: "sha256", encoding: "hex", prefix: "sha256=", prefixOptional: true },
    { kind: "token", header: HEADER },
  ],
  payload: anyObject,
  pushes: (body, delivery) => readEach([body], event, (read) => toPush(read, delivery)),
};

function toPush(read: Event, delivery: DeliveryContext): Push | null {
  if (read.domain !== "docker" || read.event_type !== "pushed") return null;
  const data = image.safeParse(read.data);
  if (!data.success) return { unreadable: `data: ${problems(data.error)}` };
  const { repo_key: key, path, name, tag: label, sha256 } = data.data;
  const { tag, digest } = tagAndDigest(label, /^(?:list\.)?manifest\.json$/.test(name) ? `sha256:${sha256}` : "");
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? splitReference(read.jpd_origin).host;
  if (host === null) return NO_HOST;
  // always as the repository-path method writes it; by which other names clients pull, the source's aliases say
  const repository = repositoryOf(`${key}/${path.split("/").slice(0, -2).join("/")}`);
  return { host, repository, tag, digest, mediaType: null, actor: orNull(read.source.replace(/^jfrog\//, "")), time: null, id: null };
}
