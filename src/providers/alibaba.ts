/** Triggers of Alibaba Cloud Container Registry: https://www.alibabacloud.com/help/en/acr/user-guide/manage-triggers */
import * as z from "zod";
import { instantOf, NO_HOST, repositoryOf, splitReference, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

const pushed = z.object({
  push_data: z.object({ tag: z.string().optional(), digest: z.string().optional(), pushed_at: z.string().default("") }),
  repository: z.object({ repo_full_name: z.string(), region: z.string().default("") }),
});

export const alibaba: RegistryProvider = {
  name: "alibaba",
  title: "Alibaba Cloud Container Registry",
  auth: [{ kind: "url" }],
  payload: z.unknown(),
  pushes: (body, delivery) => readEach([body], pushed, (each) => toPush(each, delivery)),
};

function toPush({ push_data, repository }: z.infer<typeof pushed>, delivery: DeliveryContext): Push | null {
  const { tag, digest } = tagAndDigest(push_data.tag, push_data.digest);
  if (tag === null && digest === null) return null;
  const host = delivery.host ?? hostOf(repository.region);
  if (host === null) return NO_HOST;
  const time = instantOf(push_data.pushed_at) ?? instantOf(`${push_data.pushed_at}+08:00`); // China's time, without saying so
  return { host, repository: repositoryOf(repository.repo_full_name), tag, digest, mediaType: null, actor: null, time, id: null };
}

/** Of a personal instance of the first kind; all others have a name of their own and need the webhook's `host:`. */
function hostOf(region: string): string | null {
  return /^[a-z0-9-]+$/.test(region) ? splitReference(`registry.${region}.aliyuncs.com`).host : null;
}
