/** Registries that write every tag in lower case, and find it by any spelling. */
import type { RenewRequest } from "./event.ts";

/** The request as its override spells the tag, where its registry takes both spellings for one; else as it is. */
export function asFollowed<Request extends Pick<RenewRequest, "tag" | "image" | "anyCase">>(request: Request, imageTag: string): Request {
  const { tag, image, anyCase } = request;
  if (!anyCase || tag === imageTag || tag.toLowerCase() !== imageTag.toLowerCase() || !image.endsWith(`:${tag}`)) return request;
  return { ...request, tag: imageTag, image: `${image.slice(0, -tag.length)}${imageTag}` };
}
