/** Amazon ECR through EventBridge, the event as it is: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html */
import * as z from "zod";
import { instantOf, orNull, repositoryOf, tagAndDigest } from "./normalise.ts";
import { type DeliveryContext, type Push, readEach, type RegistryProvider } from "./provider.ts";

// Account and region become a host, so they must look like what they are.
const imageAction = z.object({
  id: z.string().optional(),
  time: z.string().optional(),
  account: z.string().regex(/^\d{12}$/),
  region: z.string().regex(/^[a-z]{2,5}(?:-[a-z]+)+-\d+$/),
  detail: z.object({
    "action-type": z.string(),
    result: z.string(),
    "repository-name": z.string(),
    "image-tag": z.string().optional(),
    "image-digest": z.string().optional(),
    "manifest-media-type": z.string().optional(),
  }),
});

export const ecr: RegistryProvider<Record<string, unknown>> = {
  name: "ecr",
  title: "Amazon ECR (EventBridge)",
  auth: [{ kind: "token", header: "authorization" }, { kind: "basic" }],
  payload: z.looseObject({ "detail-type": z.string() }),
  pushes(event, delivery) {
    if (event["detail-type"] !== "ECR Image Action") return []; // scans, replication and pull-through caches have other details
    return readEach([event], imageAction, (action) => toPush(action, delivery));
  },
};

function toPush({ id, time, account, region, detail }: z.infer<typeof imageAction>, delivery: DeliveryContext): Push | null {
  if (detail["action-type"] !== "PUSH" || detail.result !== "SUCCESS") return null;
  const { tag, digest } = tagAndDigest(detail["image-tag"], detail["image-digest"]);
  if (tag === null && digest === null) return null;
  return {
    host: delivery.host ?? `${account}.dkr.ecr.${region}.${domainOf(region)}`,
    repository: repositoryOf(detail["repository-name"]),
    tag,
    digest,
    mediaType: orNull(detail["manifest-media-type"]),
    actor: null,
    time: instantOf(time),
    id: orNull(id),
  };
}

/** https://docs.aws.amazon.com/general/latest/gr/ecr.html; other partitions (isolated regions) write the webhook's `host:`. */
function domainOf(region: string): string {
  if (region.startsWith("cn-")) return "amazonaws.com.cn";
  return region.startsWith("eusc-") ? "amazonaws.eu" : "amazonaws.com";
}
