/**
 * The relay's container as infra/cluster runs it: the image's root that nobody can write to, its user and environment, and the pod's mounts.
 * In place of a kubelet stand namespaces (https://man7.org/linux/man-pages/man1/unshare.1.html), in place of `kubectl exec` nsenter.
 */
import { chmod, chown, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod";
import { type Buildah, openBuildah } from "./parts/buildah.ts";
import { temporaryFolder } from "./parts/child.ts";
import { buildRelayImage } from "./relay-image.ts";

export const CONFIG = "/etc/mpo-relay";
export const VOLUME = "/var/lib/mpo-relay";
/** A volume of eight megabytes, which is soon full. In one of a single one the queue was in the way of itself: its write-ahead log takes up to four. */
export const SMALL = join(VOLUME, "small");

const SCRIPT = `set -e
root=$1 config=$2 volume=$3 user=$4 directory=$5; shift 5
mount --bind "$root" "$root"
mkdir -p "$root${CONFIG}" "$root${VOLUME}" "$root/dev" "$root/proc"
mount --bind "$config" "$root${CONFIG}"
mount -o remount,bind,ro "$root${CONFIG}"
mount --bind "$volume" "$root${VOLUME}"
mount -t tmpfs -o size=8m,uid=$user,gid=$user none "$root${SMALL}"
mount --rbind /dev "$root/dev"
mount -t proc none "$root/proc"
mount -o remount,bind,ro "$root"
if touch "$root/tmp/written" 2>/dev/null; then echo "the root can be written" >&2; exit 1; fi
exec chroot --userspec="$user:$user" --groups= "$root" /bin/sh -c 'cd "$0"; exec "$@"' "$directory" "$@"`;

const image = z.object({
  Docker: z.object({
    config: z.object({ User: z.string(), WorkingDir: z.string(), Env: z.array(z.string()), Entrypoint: z.array(z.string()) }),
  }),
});
const deployment = z.object({
  spec: z.object({
    template: z.object({
      spec: z.object({
        securityContext: z.object({ runAsUser: z.int(), runAsGroup: z.int() }),
        containers: z.tuple([
          z.object({
            args: z.array(z.string()),
            env: z.array(z.object({ name: z.string(), value: z.string() })),
            securityContext: z.object({ readOnlyRootFilesystem: z.literal(true) }),
            volumeMounts: z.array(z.object({ mountPath: z.string() })),
          }),
        ]),
      }),
    }),
  }),
});

export interface Shipped {
  /** The folder behind VOLUME. */
  readonly volume: string;
  /** The image's user, who must be able to read what lies in the configuration's folder. */
  readonly user: number;
  /** What stands before a program of the image; `env` goes with it. */
  readonly by: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** A shell's line that does what `kubectl exec` does: runs what follows it in the container whose first process this is. `own`: its variables. */
  exec(pid: number, own: NodeJS.ProcessEnv): string;
  close(): Promise<void>;
}

/** `config`: the folder that is mounted, to be read alone, where relay.yaml is looked for. */
export async function openShipped(config: string): Promise<Shipped> {
  const folder = await temporaryFolder("shipped");
  const buildah = await openBuildah();
  const close = async () => {
    await buildah.close();
    await folder.remove();
  };
  try {
    return await layOut(config, folder.path, buildah, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function layOut(config: string, folder: string, buildah: Buildah, close: () => Promise<void>): Promise<Shipped> {
  const name = await buildRelayImage(buildah, folder);
  const { User, WorkingDir, Env } = image.parse(await buildah.inspect(name)).Docker.config;
  const text = await readFile(join(import.meta.dirname, "../../infra/cluster/serve/deployment.yaml"), "utf8");
  const { securityContext, containers } = deployment.parse(parse(text)).spec.template.spec;
  const user = securityContext.runAsUser;
  const [{ env: own, volumeMounts }] = containers;
  const places = volumeMounts.map(({ mountPath }) => mountPath);
  if (User !== `${user}:${user}` || ![CONFIG, VOLUME].every((place) => places.includes(place)))
    throw new Error("image and deployment do not look as this expects");
  const root = await buildah.mount(await buildah.from(name));
  const volume = join(folder, "volume");
  await mkdir(join(volume, "small"), { recursive: true });
  for (const each of [volume, join(volume, "small")]) await chown(each, user, user); // as fsGroup would
  await chmod(folder, 0o755);
  const env = Object.fromEntries([...Env, ...own.map(({ name: key, value }) => `${key}=${value}`)].map(pairOf));
  return {
    volume,
    user,
    by: ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", root, config, volume, String(user), WorkingDir],
    env,
    exec: (pid, more) => {
      const quoted = Object.entries({ ...env, ...more }).map(([key, value = ""]) => `'${key}=${value}'`);
      return `exec nsenter --target ${pid} --mount --root --wd --setuid ${user} --setgid ${user} env -i ${quoted.join(" ")}`;
    },
    close,
  };
}

const pairOf = (text: string): [string, string] => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)];
