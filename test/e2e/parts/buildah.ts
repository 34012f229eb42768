/** buildah, which builds and runs images without a daemon: https://github.com/containers/buildah. It needs root, or a machine set up for rootless containers. */
import { cp, mkdir, realpath, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { install } from "./cache.ts";
import { run, temporaryFolder } from "./child.ts";
import { debianPart } from "./debian.ts";

export const buildah = debianPart("buildah", "1.28.2", ["libgpgme11", "libassuan0", "libgpg-error0", "libdevmapper1.02.1", "libseccomp2"]);

export interface Buildah {
  /** An image of this machine's own Node, and of what every Debian has and a page of the runbook types, with the libraries that these and the addons need: no registry is at hand to pull one from. Resolves with its name. */
  nodeImage(addons: readonly string[]): Promise<string>;
  /** Builds the Dockerfile's text over the context; resolves with the image's name. */
  build(dockerfile: string, context: string, args?: Readonly<Record<string, string>>): Promise<string>;
  /** All that the image says of itself. */
  inspect(image: string): Promise<unknown>;
  /** A container of the image. */
  from(image: string): Promise<string>;
  /** The container's root as a folder. Needs root. */
  mount(container: string): Promise<string>;
  /** What stands before a command to run it in the container, which shares this machine's network. `mounts`: host folder → place in the container. */
  running(container: string, mounts: Readonly<Record<string, string>>): { readonly by: readonly string[]; readonly env: NodeJS.ProcessEnv };
  /** Writes the image into the folder as an OCI layout: https://github.com/opencontainers/image-spec/blob/main/image-layout.md */
  layout(image: string, folder: string): Promise<void>;
  /** Pushes over plain HTTP. */
  push(image: string, reference: string): Promise<void>;
  close(): Promise<void>;
}

export async function openBuildah(): Promise<Buildah> {
  const part = await install(buildah);
  const folder = await temporaryFolder("buildah");
  const at = (name: string) => join(folder.path, name);
  const program = join(part, "usr/bin/buildah");
  await writeFile(at("policy.json"), JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  await writeFile(at("registries.conf"), "unqualified-search-registries = []\n");
  const env = {
    PATH: process.env["PATH"],
    HOME: folder.path,
    TMPDIR: folder.path,
    CONTAINERS_REGISTRIES_CONF: at("registries.conf"),
  };
  const storage = ["--root", at("images"), "--runroot", at("run"), "--storage-driver", "vfs"];
  const policy = ["--signature-policy", at("policy.json")];
  const call = (...args: readonly string[]) => run(program, [...storage, ...args], { env });
  let builds = 0;
  const build: Buildah["build"] = async (dockerfile, context, args = {}) => {
    const image = `localhost/build-${builds++}`;
    const file = at(`Dockerfile-${builds}`);
    await writeFile(file, dockerfile);
    const given = Object.entries(args).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]);
    await call(
      "build",
      "--isolation",
      "chroot",
      "--format",
      "docker",
      "--pull-never",
      ...policy,
      ...given,
      "-f",
      file,
      "-t",
      image,
      context,
    );
    return image;
  };
  return {
    nodeImage: async (addons) => {
      const root = at("node");
      const programs = [await realpath(process.execPath), "/usr/bin/env", "/bin/sh", "/bin/df", "/bin/du"];
      const linked = await Promise.all([...programs, ...addons].map((each) => run("ldd", [each])));
      const libraries = linked.flatMap((text) => text.match(/\/\S+(?= \()/g) ?? []);
      for (const file of new Set([...programs.slice(1), ...libraries])) {
        await mkdir(join(root, dirname(file)), { recursive: true });
        await cp(file, join(root, file), { dereference: true });
      }
      await mkdir(join(root, "usr/local/bin"), { recursive: true });
      await cp(programs[0] ?? "", join(root, "usr/local/bin/node"));
      for (const each of ["etc", "tmp", "run", "var/lib"]) await mkdir(join(root, each), { recursive: true });
      await writeFile(join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n");
      const image = await build("FROM scratch\nCOPY . /\n", root);
      await rm(root, { recursive: true });
      return image;
    },
    build,
    inspect: async (image) => JSON.parse(await call("inspect", "--type", "image", image)),
    from: async (image) => (await call("from", "--pull-never", ...policy, image)).trim(),
    mount: async (container) => (await call("mount", container)).trim(),
    running: (container, mounts) => ({
      by: [
        program,
        ...storage,
        "run",
        "--isolation",
        "chroot",
        ...Object.entries(mounts).flatMap(([host, place]) => ["--volume", `${host}:${place}`]),
        container,
        "--",
      ],
      env,
    }),
    layout: async (image, folder) => void (await call("push", ...policy, image, `oci:${folder}:relay`)),
    push: async (image, reference) => void (await call("push", "--tls-verify=false", ...policy, image, `docker://${reference}`)),
    close: () => folder.remove(),
  };
}
