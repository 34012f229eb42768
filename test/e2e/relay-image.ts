/** The image of infra/Dockerfile: its last stage, over what its first one leaves. That one's commands run on this machine. */
import { cp, mkdir, readdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { Buildah } from "./parts/buildah.ts";
import { run } from "./parts/child.ts";

const ROOT = join(import.meta.dirname, "../..");
export const DOCKERFILE = join(ROOT, "infra/Dockerfile");

/** Resolves with the image's name. Takes a folder of that one for itself. */
export async function buildRelayImage(buildah: Buildah, folder: string): Promise<string> {
  const [, last] = (await readFile(DOCKERFILE, "utf8")).split(/^(?=FROM .* AS run$)/m);
  const context = join(folder, "context");
  await layOut(context);
  const sqlite = join(context, "node_modules/@libsql");
  const addons = (await readdir(sqlite)).map((name) => join(sqlite, name, "index.node"));
  const stage = last?.replaceAll("--from=build /build/", "");
  return buildah.build(`ARG NODE\n${stage}`, context, { NODE: await buildah.nodeImage(addons) });
}

/** What the first stage leaves. */
async function layOut(context: string): Promise<void> {
  await mkdir(join(context, "infra"), { recursive: true });
  for (const file of ["package.json", "package-lock.json", "LICENSE", "dist", "infra/healthcheck.mjs"]) {
    await cp(join(ROOT, file), join(context, file), { recursive: true });
  }
  await run("npm", ["ci", "--ignore-scripts", "--omit=dev", "--prefer-offline", "--no-audit", "--no-fund"], { cwd: context });
  const scope = join(context, "node_modules/@libsql");
  const foreign = (await readdir(scope)).filter((name) => name.endsWith("-musl")).map((name) => join(scope, name));
  for (const each of [...foreign, ...["lambda", "workers", "meta.json"].map((name) => join(context, "dist", name))])
    await rm(each, { recursive: true, force: true });
  await mkdir(join(context, "bin"));
  await symlink("../dist/cli.js", join(context, "bin/mpo-relay"));
}
