/** GitHub's container registry: webhook events `package` and `registry_package`, https://docs.github.com/webhooks/webhook-events-and-payloads#package */
import * as z from "zod";
import { problems } from "../event.ts";
import { digestOf, instantOf, NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { anyObject, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const packaged = z.object({
  package_type: z.string().default(""),
  updated_at: z.string().optional(), // the version's own times are Go's zero time
  package_version: z.looseObject({ container_metadata: z.unknown().optional() }).nullish(),
});
const event = z.object({
  action: z.string(),
  package: packaged.optional(),
  registry_package: packaged.optional(),
  sender: z.object({ login: z.string().optional() }).default({}),
});
type Event = z.infer<typeof event>;

const version = z.object({
  version: z.string(),
  package_url: z.string(), // ghcr.io/Owner/name:tag, or with nothing behind the colon
  container_metadata: z.object({
    tag: z.object({ name: z.string().optional() }).default({}),
    manifest: z.object({ digest: z.string().optional(), media_type: z.string().optional() }).default({}),
  }),
});

export const ghcr: RegistryProvider<Record<string, unknown>> = {
  name: "ghcr",
  title: "GitHub Container Registry (ghcr.io, GitHub Enterprise)",
  auth: [{ kind: "hmac", header: "x-hub-signature-256", hash: "sha256", encoding: "hex", prefix: "sha256=" }],
  payload: anyObject,
  pushes(body, delivery) {
    const kind = delivery.headers["x-github-event"] ?? "package";
    if (kind !== "package" && kind !== "registry_package") return []; // ping, and whatever else was ticked
    return readEach([body], event, (read) => toPush(read, delivery));
  },
};

function toPush(read: Event, delivery: DeliveryContext): Push | null {
  if (read.action !== "published" && read.action !== "updated") return null;
  const it = read.package ?? read.registry_package;
  if (it === undefined) return { unreadable: "neither a `package` nor a `registry_package`" };
  if (!isContainer(it)) return null;
  const data = version.safeParse(it.package_version);
  if (!data.success) return { unreadable: `package_version: ${problems(data.error)}` };
  const { version: name, package_url: url, container_metadata: container } = data.data;
  const { tag, digest } = tagAndDigest(container.tag.name, digestOf(name) ?? container.manifest.digest);
  if (tag === null && digest === null) return null;
  const reference = splitReference(url);
  const host = delivery.host ?? reference.host;
  if (host === null) return NO_HOST;
  return {
    host,
    repository: repositoryOf(reference.path.replace(/:[^/:]*$/, "")),
    tag,
    digest,
    mediaType: orNull(container.manifest.media_type),
    actor: orNull(read.sender.login),
    time: instantOf(it.updated_at),
    id: orNull(delivery.headers["x-github-delivery"]), // the same when it is delivered again
  };
}

/** The type's name is not reliable (GitHub's own samples call an image npm); what is no image has no container's metadata. */
function isContainer({ package_type: type, package_version: of }: z.infer<typeof packaged>): boolean {
  return type.toLowerCase() === "container" || (of?.container_metadata ?? null) !== null;
}
