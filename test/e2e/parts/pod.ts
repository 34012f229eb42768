/** What a kubelet would put around a process, for lack of one here: its files at their places, and a root that nobody can write to. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { KubeApiserver } from "./kube-apiserver.ts";

/** Mounts of a namespace of its own, which ends with the process: https://man7.org/linux/man-pages/man1/unshare.1.html. /var/run is /run in Debian and in the image. */
const SCRIPT = `set -e
folder=$1; shift
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount /run/secrets/mpo-relay
mount --bind "$folder/serviceaccount" /run/secrets/kubernetes.io/serviceaccount
mount --bind "$folder/secrets" /run/secrets/mpo-relay
mount -t tmpfs none /var/lib
mkdir /var/lib/mpo-relay
mount --bind "$folder/volume" /var/lib/mpo-relay
mount -o remount,bind,ro /
if touch "$folder/written" 2>/dev/null; then echo "the root can be written" >&2; exit 1; fi
exec "$@"`;

export interface Pod {
  /** What stands before the command, and its environment. */
  readonly under: { readonly by: readonly string[]; readonly env: NodeJS.ProcessEnv };
  /** Another token, as the kubelet writes one: the new file takes the old one's place. */
  setToken(token: string): Promise<void>;
}

/** `folder` must be there; `secrets` are the files of the pod's secret. */
export async function asPod(options: {
  folder: string;
  kube: Pick<KubeApiserver, "server" | "ca">;
  token: string;
  secrets: Readonly<Record<string, string>>;
}): Promise<Pod> {
  const { folder, kube, secrets } = options;
  const account = join(folder, "serviceaccount");
  for (const each of ["serviceaccount", "secrets", "volume"]) await mkdir(join(folder, each), { recursive: true });
  const setToken = async (token: string) => {
    await writeFile(join(account, ".token"), token, { mode: 0o600 });
    await rename(join(account, ".token"), join(account, "token"));
  };
  await setToken(options.token);
  await writeFile(join(account, "ca.crt"), kube.ca);
  await writeFile(join(account, "namespace"), "mpo-relay");
  for (const [name, value] of Object.entries(secrets)) await writeFile(join(folder, "secrets", name), value, { mode: 0o600 });
  const { hostname, port } = new URL(kube.server);
  return {
    under: {
      by: ["unshare", "--mount", "--map-root-user", "sh", "-c", SCRIPT, "sh", folder],
      env: { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
    },
    setToken,
  };
}
