/** Docker Hub's webhooks: https://docs.docker.com/docker-hub/repos/manage/webhooks/ */
import * as z from "zod";
import { instantOf, orNull, repositoryOf, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

// `callback_url` is left unread: nothing that a payload names is ever called.
const pushed = z.object({
  push_data: z.object({ tag: z.string().optional(), pusher: z.string().optional(), pushed_at: z.number().optional() }),
  repository: z.object({ repo_name: z.string().min(1) }),
});

export const dockerhub: RegistryProvider = {
  name: "dockerhub",
  title: "Docker Hub",
  auth: [{ kind: "url" }],
  payload: z.unknown(),
  pushes: (body, delivery) => readEach([body], pushed, (each) => toPush(each, delivery)),
};

function toPush({ push_data, repository: { repo_name } }: z.infer<typeof pushed>, delivery: DeliveryContext): Push | null {
  const { tag, digest } = tagAndDigest(push_data.tag);
  if (tag === null && digest === null) return null;
  const repository = repositoryOf(repo_name);
  return {
    host: delivery.host ?? "docker.io",
    repository: repository.includes("/") ? repository : `library/${repository}`,
    tag,
    digest,
    mediaType: null, // what is called `media_type` here is that of the image's configuration
    actor: orNull(push_data.pusher),
    time: instantOf(push_data.pushed_at),
    id: null,
  };
}
