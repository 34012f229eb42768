/** A cluster with the documented example in it, a registry, and Deckhouse's stand-in between them, all on loopback. */
import { type EraName, eraOf } from "../../src/sandbox/deckhouse-eras.ts";
import { kubernetesPort } from "../../src/sandbox/deckhouse-kubernetes.ts";
import { type Clock, type Deckhouse, type DeckhouseOptions, startDeckhouse } from "../../src/sandbox/deckhouse.ts";
import { moduleFrom } from "../../src/sandbox/example.ts";
import { type KubernetesApi, type OverrideVersion, startKubernetesApi } from "../../src/sandbox/kubernetes-api.ts";
import { pushImage, resolveDigest } from "../../src/sandbox/registry-client.ts";
import { type Registry, startRegistry } from "../../src/sandbox/registry.ts";
import { until } from "./wait.ts";

export const MPO = "modulepulloverrides";

export interface World {
  readonly era: EraName;
  readonly api: KubernetesApi;
  readonly registry: Registry;
  readonly deckhouse: Deckhouse;
  /** Each resolve of a tag, as `module:tag`. */
  readonly checks: string[];
  readonly log: string[];
  push(module: string, tag: string, options?: { index?: boolean }): Promise<string>;
  status(name?: string): Record<string, unknown>;
  metadata(name?: string): Record<string, unknown>;
  annotate(annotations: Record<string, string | null>, name?: string): void;
  label(labels: Record<string, string | null>): void;
  createOverride(name: string, imageTag: string, interval?: string): void;
  restarts(): number;
  deploys(): number;
  /** Whether it has looked at an override since its last restart, where it restarted. */
  isBack(): boolean;
  /** Runs once, in the middle of the next deploy. */
  inNextDeploy(action: () => void): void;
  stop(): Promise<void>;
}
export interface Setup {
  era?: EraName;
  clock?: Clock;
  interval?: string;
  served?: readonly OverrideVersion[];
  /** The Module's own fields; null: there is no Module. */
  module?: { properties?: Record<string, unknown>; spec?: Record<string, unknown> } | null;
  conditions?: Record<string, string>;
  /** Whether there is the ModuleSource. */
  source?: boolean;
  deployMs?: number;
  restartMs?: number;
  /** echo's image is there, deployed, and looked at again after the restart for it. */
  first?: boolean;
  fault?: DeckhouseOptions["fault"];
  /** What stands between Deckhouse and the registry; `image` is `module:tag`. */
  mirror?: (ask: () => Promise<string>, image: string) => Promise<string>;
}

export async function startWorld(setup: Setup = {}): Promise<World> {
  const { era = "e3", interval = "24h", source = true, first = true } = setup;
  const { served: itsOwn, restarts } = eraOf(era);
  const { served = itsOwn, module = moduleFrom("test", era) } = setup;
  const registry = await startRegistry({ port: 0, notify: null, log: () => undefined });
  const api = await startKubernetesApi({ token: "admin-token-of-the-test", served });
  const { store } = api;
  const repo = `localhost:${registry.port}/deckhouse/modules`;
  if (source) {
    store.create("modulesources", { metadata: { name: "test" }, spec: { registry: { repo, scheme: "HTTP" } } });
    store.patchStatus("modulesources", "test", { modulesCount: 1, modules: [{ name: "echo", policy: "any" }, { name: "other" }] });
  }
  if (module !== null) store.create("modules", { metadata: { name: "echo" }, ...module });
  const conditions = Object.entries(setup.conditions ?? {}).map(([type, status]) => ({ type, status }));
  if (module !== null && conditions.length > 0) store.patchStatus("modules", "echo", { conditions });

  const checks: string[] = [];
  const log: string[] = [];
  let answers = 0;
  let nextDeploy: () => void = () => undefined;
  let checksBefore = -1;
  const kube = kubernetesPort({ server: api.url, ca: api.ca, token: api.systemToken });
  const push: World["push"] = (name, tag, options) => pushImage(registry.url, `deckhouse/modules/${name}`, tag, options);
  const createOverride: World["createOverride"] = (name, imageTag, scanInterval = interval) =>
    void store.create(MPO, { metadata: { name }, spec: { imageTag, scanInterval, source: "test" } });
  if (first) await push("echo", "main");
  createOverride("echo", "main");
  const deckhouse = startDeckhouse({
    era,
    kube,
    resolveDigest: (image, tag, scheme) => {
      const asked = `${image.slice(image.lastIndexOf("/") + 1)}:${tag}`;
      checks.push(asked);
      const ask = () => resolveDigest(image, tag, scheme);
      return (setup.mirror?.(ask, asked) ?? ask()).finally(() => answers++);
    },
    ...(setup.fault && { fault: setup.fault }),
    ...(setup.clock && { clock: setup.clock }),
    deployMs: setup.deployMs ?? 1,
    restartMs: setup.restartMs ?? 1,
    log(line) {
      log.push(line);
      if (line.includes("restarts after")) checksBefore = checks.length;
      if (!line.includes("deploys")) return;
      const action = nextDeploy;
      nextDeploy = () => undefined;
      action();
    },
  });
  const here: World = {
    era,
    api,
    registry,
    deckhouse,
    checks,
    log,
    push,
    createOverride,
    status: (name = "echo") => store.get(MPO, name)?.status ?? {},
    metadata: (name = "echo") => ({ ...store.get(MPO, name)?.metadata }),
    annotate: (annotations, name = "echo") => void store.patch(MPO, name, { metadata: { annotations } }),
    label: (labels) => void store.patch(MPO, "echo", { metadata: { labels } }),
    restarts: () => log.filter((line) => line.includes("restarts after")).length,
    deploys: () => log.filter((line) => line.includes("deploys")).length,
    isBack: () => checks.length > checksBefore,
    inNextDeploy: (action) => void (nextDeploy = action),
    async stop() {
      await deckhouse.stop();
      kube.close();
      await api.close();
      await registry.close();
    },
  };
  if (first && module !== null && source) {
    await until(() => answers).toBeGreaterThanOrEqual(restarts ? 2 : 1); // or that check would find what a test pushes next
    await until(() => here.status()["imageDigest"]).toMatch(/^sha256:/);
  }
  return here;
}

/** Resolves once Deckhouse has worked on whatever came before: it has one watch and one worker, and each name waits for its turn. */
export async function caughtUp(here: World, name: string): Promise<void> {
  here.createOverride(name, "x");
  await until(() => here.status(name)["message"]).toMatch(/./);
}
