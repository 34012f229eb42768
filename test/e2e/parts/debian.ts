/** Programs out of Debian's packages, unpacked and not installed: no root needed, and nothing of the machine changes. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { run, temporaryFolder } from "./child.ts";

/** `version` is upstream's: Debian builds the same one again now and then. `libraries` are packages that a small machine may not have. */
export const debianPart = (name: string, version: string, libraries: readonly string[] = []): Part => ({
  name: `${name}-debian`,
  version: libraries.length === 0 ? version : `${version}-with-libraries`,
  cost: "about 5 MB, and Debian's package lists where there are none",
  build: async (folder, place) => {
    await unpack([`${name}=${version}*`, ...libraries], folder);
    if (libraries.length === 0) return;
    const tool = await temporaryFolder("patchelf");
    try {
      await unpack(["patchelf"], tool.path);
      await run(join(tool.path, "usr/bin/patchelf"), ["--force-rpath", "--set-rpath", rpathOf(place), join(folder, "usr/bin", name)]);
    } finally {
      await tool.remove();
    }
  },
});

/**
 * Where the program itself then looks for what it needs (https://wiki.debian.org/Multiarch), and what its libraries need. Not LD_LIBRARY_PATH, since
 * buildah starts itself anew with the environment of the container; nor $ORIGIN, since it does so from a copy of itself.
 */
const rpathOf = (place: string) =>
  ["x86_64-linux-gnu", "aarch64-linux-gnu"].flatMap((kind) => [join(place, "usr/lib", kind), join(place, "lib", kind)]).join(":");

async function unpack(packages: readonly string[], folder: string): Promise<void> {
  await run("apt-get", ["download", ...packages], { cwd: folder }).catch(async () => {
    await run("apt-get", ["update"]); // a fresh machine has no lists, an old one may name packages that are gone
    await run("apt-get", ["download", ...packages], { cwd: folder });
  });
  for (const file of await readdir(folder)) await run("dpkg-deb", ["-x", file, "."], { cwd: folder });
}
