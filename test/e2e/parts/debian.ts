/** Programs out of Debian's packages, unpacked and not installed: no root needed, and nothing of the machine changes. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { run } from "./child.ts";

/** `version` is upstream's: Debian builds the same one again now and then. `libraries` are packages that a small machine may not have. */
export const debianPart = (name: string, version: string, libraries: readonly string[] = []): Part => ({
  name: `${name}-debian`,
  version,
  cost: "about 5 MB, and Debian's package lists where there are none",
  build: async (folder) => {
    const packages = [`${name}=${version}*`, ...libraries];
    await run("apt-get", ["download", ...packages], { cwd: folder }).catch(async () => {
      await run("apt-get", ["update"]); // a fresh machine has no lists, an old one may name packages that are gone
      await run("apt-get", ["download", ...packages], { cwd: folder });
    });
    for (const file of await readdir(folder)) await run("dpkg-deb", ["-x", file, "."], { cwd: folder });
  },
});

/** The folders of an unpacked part in which its libraries lie, for LD_LIBRARY_PATH: https://wiki.debian.org/Multiarch */
export async function librariesOf(folder: string): Promise<string> {
  const roots = [join(folder, "lib"), join(folder, "usr/lib")];
  const found = roots.map(async (root) => (await readdir(root).catch(() => [])).map((name) => join(root, name)));
  return (await Promise.all(found)).flat().join(":");
}
