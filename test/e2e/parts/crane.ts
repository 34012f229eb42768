/** crane, with which CI pushes module images: https://github.com/google/go-containerregistry/tree/main/cmd/crane */
import { randomBytes, randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { install } from "./cache.ts";
import { run, temporaryFolder } from "./child.ts";
import { goPart } from "./go.ts";

export const crane = goPart("crane", "v0.22.1", "github.com/google/go-containerregistry/cmd/crane", "about 15 CPU seconds");

export interface Crane {
  /** Pushes a new one-layer image, unlike any before, under `host/repository:tag`; resolves with its digest. */
  push(reference: string): Promise<string>;
  /** Writes such an image into the folder, as a `docker save` archive; resolves with its path. */
  save(folder: string): Promise<string>;
  /** Pushes an archive's image; resolves with its digest. */
  pushArchive(archive: string, reference: string): Promise<string>;
  /** Gives the image one more tag in its repository. */
  tag(reference: string, tag: string): Promise<void>;
  /** The tags of a repository. */
  ls(repository: string): Promise<string[]>;
  /** Of the reference, or of its manifest for a platform where it is an index. */
  digest(reference: string, platform?: string): Promise<string>;
  manifest(reference: string): Promise<string>;
  /** What is in the image: the paths that are no directories, sorted, and the content of those that are named. */
  files(reference: string, ...contents: readonly string[]): Promise<{ paths: string[]; contents: string[] }>;
  /** Gives the image another name, within or between registries. */
  copy(from: string, to: string): Promise<void>;
}

/** crane, ready to use. It talks plain HTTP to loopback addresses by itself. `dockerConfig`: the folder of a config.json by which it logs in. */
export async function openCrane({ dockerConfig }: { dockerConfig?: string } = {}): Promise<Crane> {
  const path = join(await install(crane), "crane");
  const options = { env: { ...process.env, ...(dockerConfig !== undefined && { DOCKER_CONFIG: dockerConfig }) } };
  const callCrane = (...args: readonly string[]) => run(path, args, options);
  const append = async (reference: string, ...more: readonly string[]): Promise<string> => {
    const folder = await temporaryFolder("image");
    try {
      await writeFile(join(folder.path, "module.txt"), randomBytes(32).toString("hex"));
      const layer = join(folder.path, "layer.tar");
      await run("tar", ["-C", folder.path, "-cf", layer, "module.txt"]);
      return await callCrane("append", "--oci-empty-base", "--new_layer", layer, "--new_tag", reference, ...more);
    } finally {
      await folder.remove();
    }
  };
  return {
    push: async (reference) => digestIn(await append(reference)),
    save: async (folder) => {
      const archive = join(folder, `${randomUUID()}.tar`);
      await append("module:main", "--output", archive);
      return archive;
    },
    pushArchive: async (archive, reference) => digestIn(await callCrane("push", archive, reference)),
    tag: async (reference, tag) => void (await callCrane("tag", reference, tag)),
    ls: async (repository) => lines(await callCrane("ls", repository)),
    digest: async (reference, platform) => (await callCrane("digest", ...(platform ? ["--platform", platform] : []), reference)).trim(),
    manifest: (reference) => callCrane("manifest", reference),
    files: async (reference, ...contents) => {
      const folder = await temporaryFolder("export");
      try {
        const archive = join(folder.path, "image.tar");
        await callCrane("export", reference, archive);
        const entries = lines(await run("tar", ["-tvf", archive])).filter((line) => !line.startsWith("d"));
        const paths = entries.map((line) => line.split(/\s+/)[5] ?? ""); // mode, owner, size, date, time, path
        return { paths: paths.toSorted(), contents: await Promise.all(contents.map((path) => run("tar", ["-xOf", archive, path]))) };
      } finally {
        await folder.remove();
      }
    },
    copy: async (from, to) => void (await callCrane("copy", from, to)),
  };
}

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");
const digestIn = (pushed: string): string => pushed.trim().slice(pushed.indexOf("@") + 1);
