/** Google Artifact Registry (and Container Registry) through a Pub/Sub push subscription: https://cloud.google.com/artifact-registry/docs/configure-notifications */
import * as z from "zod";
import { instantOf, NO_HOST, orNull, repositoryOf, splitImage, tagAndDigest } from "./normalise.ts";
import { type Push, readEach, type RegistryProvider } from "./provider.ts";

// https://cloud.google.com/pubsub/docs/payload-unwrapping: unwrapped, the body is the data and the rest is in headers
const payload = z.looseObject({
  message: z.object({ data: z.string(), messageId: z.string().optional(), publishTime: z.string().optional() }).optional(),
});

const notification = z.object({ action: z.string(), digest: z.string().optional(), tag: z.string().optional() });

export const gar: RegistryProvider<z.infer<typeof payload>> = {
  name: "gar",
  title: "Google Artifact Registry (Pub/Sub)",
  // https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions#validate_tokens
  auth: [
    {
      kind: "oidc",
      issuers: ["https://accounts.google.com", "accounts.google.com"],
      keys: "https://www.googleapis.com/oauth2/v3/certs",
    },
  ],
  payload,
  pushes({ message, ...body }, { headers, host }) {
    const data = message === undefined ? body : decoded(message.data);
    const id = orNull(message === undefined ? headers["x-goog-pubsub-message-id"] : message.messageId);
    const time = instantOf(message === undefined ? headers["x-goog-pubsub-publish-time"] : message.publishTime);
    return readEach([data], notification, (read) => toPush(read, host, { id, time }));
  },
};

/** A tag that moves is told with its digest, or alone. Both name the whole repository. */
function toPush(
  { action, tag = "", digest = "" }: z.infer<typeof notification>,
  configured: string | null,
  common: Pick<PushOf, "id" | "time">,
): Push | null {
  if (action !== "INSERT") return null;
  if (tag === "" && digest === "") return { unreadable: "neither `tag` nor `digest`" };
  const [byTag, byDigest] = [splitImage(tag), splitImage(digest)];
  const named = tagAndDigest(byTag.tag, byDigest.digest);
  if (named.tag === null && named.digest === null) return null;
  const place = tag === "" ? byDigest : byTag;
  const host = configured ?? place.host;
  if (host === null) return NO_HOST;
  return { host, repository: repositoryOf(place.path), ...named, mediaType: null, actor: null, ...common };
}
type PushOf = Exclude<Push, { unreadable: string }>;

function decoded(base64: string): unknown {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return null; // Buffer would skip what is no base64
  try {
    return JSON.parse(Buffer.from(base64, "base64").toString("utf8"));
  } catch {
    return null;
  }
}
