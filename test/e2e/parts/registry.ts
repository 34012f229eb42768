/** The CNCF Distribution registry in both versions that people run: https://distribution.github.io/distribution/ */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { install } from "./cache.ts";
import { freePort, serve, temporaryFolder } from "./child.ts";
import { debianPart } from "./debian.ts";
import { goPart } from "./go.ts";
import { slowedWrites } from "./strace.ts";

const built = goPart("registry", "v3.1.2", "github.com/distribution/distribution/v3/cmd/registry", "about 3 CPU minutes");
export type RegistryVersion = "2.8.2" | "3.1.2";
export const registries: Readonly<Record<RegistryVersion, { readonly part: Part; readonly program: string }>> = {
  "2.8.2": { part: debianPart("docker-registry", "2.8.2"), program: "usr/bin/docker-registry" },
  "3.1.2": { part: built, program: "registry" },
};

/** An endpoint that hears of events: https://distribution.github.io/distribution/about/notifications/ */
export interface Hook {
  readonly url: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** How long an answer may take, and how soon it is tried again, as Go durations. */
  readonly timeout?: string;
  readonly backoff?: string;
  readonly ignore?: { readonly mediatypes?: readonly string[]; readonly actions?: readonly string[] };
}
/** Whose tokens it wants: https://distribution.github.io/distribution/about/configuration/#token. `jwks` is the path of the issuer's keys; 3.x only. */
export interface TokenAuth {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  readonly jwks: string;
}
export interface Registry {
  /** `127.0.0.1:<port>`, as it stands in image names and in events. */
  readonly host: string;
  /** The digest that the tag resolves to; null where there is none. */
  resolve(repository: string, tag: string): Promise<string | null>;
  /** Ends it as a service manager does, and starts it again over the same images. `hooks`: those that it notifies from then on. */
  restart(hooks?: readonly Hook[]): Promise<void>;
  /** Ends it; `restart` brings it back. */
  pause(): Promise<void>;
  stop(): Promise<void>;
}

const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/** A registry of its own, empty, that notifies the hooks. Take a port beforehand where the hook must know it. */
export async function startRegistry(options: {
  hooks: readonly Hook[];
  port?: number;
  version?: RegistryVersion;
  token?: TokenAuth;
  /** Its storage takes so long to write where the tag points, as an object store does. */
  slowTag?: { readonly repository: string; readonly tag: string; readonly ms: number };
}): Promise<Registry> {
  const { part, program } = registries[options.version ?? "3.1.2"];
  const command = join(await install(part), program);
  const host = `127.0.0.1:${options.port ?? (await freePort())}`;
  const folder = await temporaryFolder("registry");
  const file = join(folder.path, "config.yml");
  const configure = (hooks: readonly Hook[]) => {
    const auth = options.token && { auth: { token: options.token } };
    return writeFile(file, JSON.stringify({ ...configuration(host, join(folder.path, "images"), hooks), ...auth }), { mode: 0o600 });
  };
  await configure(options.hooks);
  const { slowTag } = options;
  const current =
    slowTag &&
    join(folder.path, `images/docker/registry/v2/repositories/${slowTag.repository}/_manifests/tags/${slowTag.tag}/current/link`);
  const before: readonly string[] = slowTag && current ? await slowedWrites(current, slowTag.ms, join(folder.path, "strace")) : [];
  const [first = command, ...rest] = before.concat(command, "serve", file);
  const start = () =>
    serve({
      name: "registry",
      command: first,
      args: rest,
      env: { PATH: process.env["PATH"], OTEL_TRACES_EXPORTER: "none" }, // the default sends traces to a collector that nobody runs
      log: join(folder.path, "log"),
      ready: async () => (await fetch(`http://${host}/v2/`)).status === (options.token ? 401 : 200),
    });
  let service = await start();
  return {
    host,
    resolve: async (repository, tag) => {
      const answer = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { method: "HEAD", headers: { accept: MANIFESTS } });
      if (answer.status === 404) return null;
      if (!answer.ok) throw new Error(`registry: HEAD ${repository}:${tag} answered ${answer.status}`);
      return answer.headers.get("docker-content-digest");
    },
    restart: async (hooks) => {
      await service.stop("SIGTERM");
      if (hooks) await configure(hooks);
      service = await start();
    },
    pause: () => service.stop("SIGTERM"),
    stop: async () => {
      await service.stop();
      await folder.remove();
    },
  };
}

/** What `registry serve` reads: a registry at that address whose images lie in that folder. */
export const configuration = (host: string, images: string, hooks: readonly Hook[]) => ({
  version: "0.1",
  log: { level: "warn", accesslog: { disabled: true } },
  storage: { filesystem: { rootdirectory: images }, delete: { enabled: true } },
  http: { addr: host, host: `http://${host}` },
  notifications: {
    endpoints: hooks.map((hook, index) => ({
      name: `hook-${index}`,
      url: hook.url,
      headers: hook.headers,
      timeout: hook.timeout ?? "1s",
      threshold: 3,
      backoff: hook.backoff ?? "1s",
      ...(hook.ignore === undefined ? {} : { ignore: hook.ignore }),
    })),
  },
});
