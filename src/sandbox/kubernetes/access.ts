/** Access reviews, by which a user learns what it may do: https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/ */
import * as z from "zod";
import { jsonOf } from "../../json.ts";
import { badRequest, GROUP } from "./status.ts";
import type { User } from "./users.ts";

const PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const review = z.looseObject({
  kind: z.literal("SelfSubjectAccessReview"),
  spec: z.object({
    resourceAttributes: z.object({
      verb: z.string(),
      group: z.string().default(""),
      resource: z.string(),
      subresource: z.string().default(""),
      name: z.string().optional(),
      namespace: z.string().optional(),
    }),
  }),
});

/** null: no question of this kind. */
export function reviewOf(method: string, path: string, text: string, user: User): unknown {
  if (method !== "POST" || path !== PATH) return null;
  const read = review.safeParse(jsonOf(text));
  if (!read.success) throw badRequest(`SelfSubjectAccessReview cannot be handled: ${z.prettifyError(read.error)}`);
  return { ...read.data, apiVersion: "authorization.k8s.io/v1", status: { allowed: isAllowed(read.data.spec.resourceAttributes, user) } };
}

/** As the server itself decides: events may be written by whoever may patch overrides, and kube-system's name be read by everybody. */
function isAllowed(
  { verb, group, resource, subresource, name }: z.infer<typeof review>["spec"]["resourceAttributes"],
  user: User,
): boolean {
  if (group === GROUP) return user.may(verb, subresource !== "");
  if (group === "" && resource === "events") return verb === "create" && user.may("patch", false);
  return group === "" && resource === "namespaces" && verb === "get" && name === "kube-system";
}
