/** All that stands around the relay in a scenario: a registry that notifies it, a cluster, and Deckhouse's stand-in in that cluster. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { kubernetesPort } from "../../src/sandbox/deckhouse-kubernetes.ts";
import { startDeckhouse } from "../../src/sandbox/deckhouse.ts";
import { pushImage, resolveDigest } from "../../src/sandbox/registry-client.ts";
import { type Cluster, SOURCE, startCluster, TAG, type Version } from "./cluster.ts";
import { freePort, temporaryFolder } from "./parts/child.ts";
import { type Crane, openCrane } from "./parts/crane.ts";
import { type Registry, type RegistryVersion, startRegistry } from "./parts/registry.ts";

const PATH = "deckhouse/modules";
/** Short, so that a scenario ends soon; the rules are the same. As in real life the last look comes well after the longest hold (12 s). */
const TUNING = { cooldown: "100ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s"] };
/** https://distribution.github.io/distribution/about/configuration/#ignore as infra/registries/distribution.md advises */
const QUIET = { mediatypes: ["application/octet-stream"], actions: ["pull"] };
const DEPLOY_MS = 30;
const WEBHOOKS = { registry: { provider: "distribution", secret: "file:webhook.secret" } };

export interface World {
  readonly cluster: Cluster;
  readonly registry: Registry;
  readonly crane: Crane;
  /** Where the relay's edge has to listen: the registry notifies it there. */
  readonly relayUrl: string;
  /** For configurations, logs and queues; secrets and the cluster's certificate and token lie in it as files. */
  readonly folder: string;
  /** `<registry>/deckhouse/modules/<module>:main` */
  image(module: string): string;
  /** What that image's tag resolves to in the registry. */
  resolve(module: string): Promise<string | null>;
  /** Writes a relay.yaml for one cluster; a role that the process has not is left out of it. Gives its path. */
  writeConfig(file: string, options: ConfigOptions): Promise<string>;
  /** Switches the registry's notifications off or on; it starts anew for that, and forgets what it had not delivered. */
  setNotifying(isNotifying: boolean): Promise<void>;
  stop(): Promise<void>;
}

export interface ConfigOptions {
  readonly queue: string;
  readonly edge: boolean;
  readonly consumer: boolean;
  /** In place of the registry's own. */
  readonly webhooks?: object;
  /** Lets a consumer ask the registry what a tag names; only beside an edge, whose sources it needs. */
  readonly lookUp?: boolean;
  /** Default: `dev`. */
  readonly name?: string;
  /** What else stands at the cluster, and in the file. */
  readonly cluster?: object;
  readonly more?: object;
}

/** Where an API server is, and the PEM of the authority that it shows. */
export interface ApiAddress {
  readonly server: string;
  readonly ca: string;
}

/**
 * `silent`: the registry notifies nobody. `quiet`: the registry leaves out the events that are no push of a manifest. `seeded`: each module has an image before Deckhouse looks;
 * without one there is a download error, which the relay answers with waits of a minute and more. `notify` is told the relay's URL and
 * gives the one that the registry notifies, where something stands between; `api` the same between the relay and the API server.
 */
export async function startWorld(options: {
  modules: readonly string[];
  version?: Version;
  silent?: boolean;
  quiet?: boolean;
  seeded?: boolean;
  registry?: RegistryVersion;
  /** The registry writes where this module's tag points so many milliseconds after it told of the push. */
  slowTag?: { readonly module: string; readonly ms: number };
  tuning?: typeof TUNING;
  notify?: (relayUrl: string) => Promise<string>;
  api?: (direct: ApiAddress) => Promise<ApiAddress>;
}): Promise<World> {
  const stops: (() => Promise<void> | void)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    return await build(options, stops, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function build(
  {
    modules,
    version = "v1alpha2",
    silent = false,
    quiet = false,
    seeded = false,
    registry: release,
    slowTag,
    tuning = TUNING,
    notify,
    api,
  }: Parameters<typeof startWorld>[0],
  stops: (() => Promise<void> | void)[],
  stop: () => Promise<void>,
): Promise<World> {
  const [registryPort, relayPort] = [await freePort(), await freePort()];
  const repo = `127.0.0.1:${registryPort}/${PATH}`;
  const relayUrl = `http://127.0.0.1:${relayPort}`;
  const secret = randomBytes(24).toString("hex");
  const folder = await temporaryFolder("relay");
  stops.push(() => folder.remove());

  const hook = {
    url: `${(await notify?.(relayUrl)) ?? relayUrl}/hooks/registry`,
    headers: { Authorization: [`Bearer ${secret}`] },
    ...(quiet && { ignore: QUIET }),
    ...(notify && { backoff: "200ms" }), // it tells of one push after the other, and many tries fail there
  };
  const registry = await startRegistry({
    hooks: silent ? [] : [hook],
    port: registryPort,
    ...(release && { version: release }),
    ...(slowTag && { slowTag: { repository: `${PATH}/${slowTag.module}`, tag: TAG, ms: slowTag.ms } }),
  });
  stops.push(() => registry.stop());
  if (seeded) for (const module of modules) await pushImage(`http://${registry.host}`, `${PATH}/${module}`, TAG);
  const cluster = await startCluster({ repo, modules, version });
  stops.push(() => cluster.stop());

  const { server, ca, adminToken } = cluster.kube;
  const kube = kubernetesPort({ server, ca, token: adminToken });
  const deckhouse = startDeckhouse({ era: "e3", kube, resolveDigest, deployMs: DEPLOY_MS, restartMs: DEPLOY_MS, log: () => undefined });
  stops.push(async () => {
    await deckhouse.stop();
    kube.close();
  });

  const relayed = (await api?.({ server, ca })) ?? { server, ca };
  const secrets = { "webhook.secret": secret, "ca.crt": relayed.ca, token: cluster.token };
  for (const [name, text] of Object.entries(secrets)) await writeFile(join(folder.path, name), text, { mode: 0o600 });
  return {
    cluster,
    registry,
    crane: await openCrane(),
    relayUrl,
    folder: folder.path,
    image: (module) => `${repo}/${module}:${TAG}`,
    resolve: (module) => registry.resolve(`${PATH}/${module}`, TAG),
    writeConfig: async (file, { queue, edge, consumer, webhooks = WEBHOOKS, lookUp = false, name = "dev", cluster: beside, more }) => {
      const kubernetes = { server: relayed.server, ca: "file:ca.crt", token: "file:token" };
      const path = join(folder.path, file);
      const ofEdge = {
        webhooks,
        sources: [{ repo, name: SOURCE, ...(lookUp && { registry: { plainHttp: true } }) }],
        listen: `127.0.0.1:${relayPort}`,
        unparsed: "embedded:./data",
      };
      const clusters = { [name]: { queue, ...(consumer && { kubernetes }), ...beside } };
      await writeFile(path, stringify({ ...(edge && ofEdge), clusters, tuning, ...more }));
      return path;
    },
    setNotifying: (isNotifying) => registry.restart(isNotifying ? [hook] : []),
    stop,
  };
}
