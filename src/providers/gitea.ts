/** Gitea's webhooks, event `package`: https://docs.gitea.com/usage/webhooks. Forgejo grew out of it and differs in the names of the headers. */
import * as z from "zod";
import { NO_HOST, orNull, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { anyObject, type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const packageEvent = z.object({
  action: z.string(),
  package: z.object({
    type: z.string(),
    owner: z.object({ login: z.string() }),
    name: z.string(),
    version: z.string(),
    html_url: z.string(),
  }),
  sender: z.object({ login: z.string().optional() }).default({}),
});
type PackageEvent = z.infer<typeof packageEvent>;

export const gitea = giteaLike("gitea", "Gitea");

/** Both also send GitHub's headers, so only those of their own name count. */
export function giteaLike(name: "gitea" | "forgejo", title: string): RegistryProvider<Record<string, unknown>> {
  return {
    name,
    title,
    auth: [{ kind: "hmac", header: `x-${name}-signature`, hash: "sha256", encoding: "hex", over: "form:payload" }],
    payload: anyObject,
    // https://github.com/go-gitea/gitea/blob/main/models/packages/container/search.go (BlobSearchOptions.toConds), and createPackageAndVersion
    lowersTags: true,
    pushes(body, delivery) {
      const { [`x-${name}-event`]: event = "package", [`x-${name}-delivery`]: id } = delivery.headers;
      return event === "package" ? readEach([body], packageEvent, (each) => toPush(each, delivery, orNull(id))) : [];
    },
  };
}

function toPush({ action, package: image, sender }: PackageEvent, delivery: DeliveryContext, id: string | null): Push | null {
  if (action !== "created" || image.type !== "container") return null;
  const { tag, digest } = tagAndDigest(image.version);
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? splitReference(image.html_url).host;
  if (host === null) return NO_HOST;
  return {
    host,
    repository: repositoryOf(`${image.owner.login}/${image.name}`),
    tag,
    digest,
    mediaType: null,
    actor: orNull(sender.login),
    time: null, // `created_at` is when the tag was first made: newer versions keep it when the tag moves
    id,
  };
}
