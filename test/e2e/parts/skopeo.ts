/** skopeo, the other client with which pipelines push: https://github.com/containers/skopeo */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { install } from "./cache.ts";
import { run, temporaryFolder } from "./child.ts";
import { debianPart } from "./debian.ts";

export const skopeo = debianPart("skopeo", "1.9.3", ["libgpgme11", "libassuan0", "libdevmapper1.02.1"]);

export interface Skopeo {
  /** Pushes the image of a `docker save` archive under `host/repository:tag` over plain HTTP; resolves with its digest. */
  push(archive: string, reference: string): Promise<string>;
}

export async function openSkopeo(): Promise<Skopeo> {
  const folder = await install(skopeo);
  const env = { PATH: process.env["PATH"] };
  return {
    push: async (archive, reference) => {
      const scratch = await temporaryFolder("skopeo");
      try {
        const digest = join(scratch.path, "digest");
        const options = ["--insecure-policy", "--tmpdir", scratch.path];
        const names = [`docker-archive:${archive}`, `docker://${reference}`];
        await run(
          join(folder, "usr/bin/skopeo"),
          [...options, "copy", "--quiet", "--dest-tls-verify=false", "--digestfile", digest, ...names],
          { env },
        );
        return (await readFile(digest, "utf8")).trim();
      } finally {
        await scratch.remove();
      }
    },
  };
}
