/** What a module source holds, as plain data. Reads no more than was asked for. */
import * as z from "zod";
import { jsonOf } from "../../json.ts";
import { isModule, isNoise } from "../../match.ts";
import { RelayError } from "../../outcome.ts";
import { type ImageFile, listFiles, readFiles } from "../../registry/layers.ts";
import type { Place } from "../../registry/place.ts";
import type { Descriptor, RegistryReader } from "../../registry/reader.ts";

/** https://deckhouse.io/products/kubernetes-platform/documentation/v1/module-development/build/: `<module>/release:<channel>` */
const CHANNELS = ["alpha", "beta", "early-access", "stable", "rock-solid", "lts"];

export interface Tags {
  /** As the registry orders them. */
  readonly all: readonly string[];
  /** All but werf's and cosign's own. */
  readonly plain: readonly string[];
}
export interface Channel {
  readonly channel: string;
  readonly version: string | null;
  readonly digest: string | null;
  /** Why there is no version. */
  readonly why: string | null;
}
export interface ImageLook {
  readonly digest: string;
  readonly index: string | null;
  readonly mediaType: string;
  readonly layers: readonly Descriptor[];
  readonly files: readonly ImageFile[];
  /** The text of module.yaml; null: there is none. */
  readonly module: string | null;
  /** What version.json says. */
  readonly version: string | null;
  /** By name, from images_digests.json; null: there is none. */
  readonly components: Readonly<Record<string, string>> | null;
}

export interface Modules extends Tags {
  readonly modules: readonly string[];
}

/** Told of long listings: how many tags so far. */
export type Progress = (tags: number) => void;

/** null: there is no such repository. */
export async function tagsOf(reader: RegistryReader, place: Place, progress: Progress): Promise<Tags | null> {
  const all: string[] = [];
  for await (const page of reader.tags(place)) {
    if (page === null) return null;
    if (all.length > 0) progress(all.length + page.length);
    for (const tag of page) all.push(tag);
  }
  return { all, plain: all.filter((tag) => !isNoise(tag)) };
}

/** The tags of the source's own repository are the names of its modules. */
export async function modulesOf(reader: RegistryReader, place: Place, progress: Progress): Promise<Modules | null> {
  const tags = await tagsOf(reader, place, progress);
  return tags && { ...tags, modules: tags.plain.filter(isModule) };
}

/** The channels among the tags of `<module>/release`, from the least stable on. One that cannot be read keeps no other back. */
export async function channelsOf(reader: RegistryReader, place: Place, releases: readonly string[]): Promise<Channel[]> {
  const versions = new Map<string, Promise<string | null>>();
  const look = async (channel: string): Promise<Channel> => {
    let digest: string | null = null;
    try {
      const image = await reader.image(place, channel);
      if (image === null) return { channel, version: null, digest, why: "its tag has just gone" };
      digest = image.digest;
      const open = (layer: Descriptor) => reader.layer(place, layer);
      // Channels often name one image.
      const version = versions.get(digest) ?? readFiles(image, open, ["version.json"]).then(({ contents }) => versionIn(contents));
      versions.set(digest, version);
      const found = await version;
      return { channel, version: found, digest, why: found === null ? "its image has no version.json with a version" : null };
    } catch (error) {
      if (!(error instanceof RelayError)) throw error;
      return { channel, version: null, digest, why: error.message };
    }
  };
  const found: Channel[] = [];
  for (const channel of CHANNELS) if (releases.includes(channel)) found.push(await look(channel));
  return found;
}

/** null: it is not there. */
export async function lookInto(reader: RegistryReader, place: Place, reference: string): Promise<ImageLook | null> {
  const image = await reader.image(place, reference);
  if (image === null) return null;
  const wanted = ["module.yaml", "version.json", "images_digests.json"];
  const { files, contents } = await listFiles(image, (layer) => reader.layer(place, layer), wanted);
  const components = contents.get("images_digests.json");
  return {
    ...image,
    files,
    module: contents.get("module.yaml") ?? null,
    version: versionIn(contents),
    components: components === undefined ? null : componentsIn(components),
  };
}

const versionFile = z.object({ version: z.string() });
const versionIn = (contents: ReadonlyMap<string, string>): string | null =>
  versionFile.safeParse(jsonOf(contents.get("version.json") ?? "")).data?.version ?? null;

/** Digests by image, or by module and image: `echo.server`. */
const digests = z.record(z.string(), z.union([z.string(), z.record(z.string(), z.string())]));

function componentsIn(text: string): Record<string, string> | null {
  const read = digests.safeParse(jsonOf(text));
  if (!read.success) throw new RelayError("REGISTRY_UNAVAILABLE", "its images_digests.json is not of the form {name: digest}");
  const pairs = Object.entries(read.data).flatMap(([name, value]) =>
    typeof value === "string"
      ? [[name, value] as const]
      : Object.entries(value).map(([part, digest]) => [`${name}.${part}`, digest] as const),
  );
  return Object.fromEntries(pairs);
}
