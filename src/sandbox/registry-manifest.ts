/** Manifests and indexes, OCI's and Docker's, as far as a registry looks into them. */
import * as z from "zod";
import { problems } from "../event.ts";
import { RegistryError } from "./registry-error.ts";

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";

/** For requests that take any of them. */
export const MANIFEST_TYPES: readonly string[] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

const platformSchema = z.object({ os: z.string(), architecture: z.string() });
const descriptor = z.object({ digest: z.string(), urls: z.array(z.string()).optional(), platform: platformSchema.optional() });
const image = z.object({ mediaType: z.string().optional(), config: descriptor, layers: z.array(descriptor) });
const index = z.object({ mediaType: z.string().optional(), manifests: z.array(descriptor) });
const claimed = z.object({ mediaType: z.string().optional() });

export interface Manifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly content: z.infer<typeof image> | z.infer<typeof index>;
}

/** Reads a manifest; the media type is the header's, else its own. Throws MANIFEST_INVALID. */
export function readManifest(contentType: string | undefined, bytes: Buffer, digest: string): Manifest {
  const json = parse(bytes);
  const own = read(claimed, json).mediaType;
  const mediaType = contentType?.split(";")[0]?.trim() || own;
  if (mediaType === undefined || !MANIFEST_TYPES.includes(mediaType))
    throw invalid(`media type ${mediaType ?? "(none)"} is not known here`);
  if (own !== undefined && own !== mediaType) throw invalid(`Content-Type is ${mediaType}, the manifest says ${own}`);
  const content = mediaType === OCI_INDEX || mediaType === DOCKER_LIST ? read(index, json) : read(image, json);
  return { digest, mediaType, bytes, content };
}

/** What must be in the repository before the manifest is. Layers with `urls` lie elsewhere: https://github.com/opencontainers/image-spec/blob/main/layer.md#non-distributable-layers */
export function descriptorsOf({ content }: Manifest): { kind: "blob" | "manifest"; digest: string }[] {
  if ("manifests" in content) return content.manifests.map(({ digest }) => ({ kind: "manifest", digest }));
  const layers = content.layers.filter(({ urls }) => urls === undefined || urls.length === 0);
  return [content.config, ...layers].map(({ digest }) => ({ kind: "blob", digest }));
}

/**
 * The child for linux/amd64 of an index: what go-containerregistry's `remote.Image` follows to; a child without a platform counts as that.
 * https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/index.go null: none, or no index.
 */
export function amd64ChildOf({ content }: Manifest): string | null {
  if (!("manifests" in content)) return null;
  const fits = ({ platform }: { platform?: z.infer<typeof platformSchema> | undefined }) =>
    platform === undefined || (platform.os === "linux" && platform.architecture === "amd64");
  return content.manifests.find(fits)?.digest ?? null;
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    throw invalid("not JSON");
  }
}

function read<T>(schema: z.ZodType<T>, json: unknown): T {
  const result = schema.safeParse(json);
  if (!result.success) throw invalid(problems(result.error));
  return result.data;
}

function invalid(why: string): RegistryError {
  return new RegistryError(400, "MANIFEST_INVALID", `manifest invalid: ${why}`);
}
