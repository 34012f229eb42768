/**
 * A stand-in for Deckhouse, as far as the relay can tell it from the real one: its ModulePullOverride controller, in the form of
 * Deckhouse v1.67 to mid 2026 (era "e3"). It needs a Kubernetes API and a registry, real or stand-ins.
 * https://deckhouse.io/products/kubernetes-platform/documentation/v1/cr.html#modulepulloverride
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { KubeConflict, type KubePort, type ModuleSource, type PullOverride, type PullStatus } from "./deckhouse-port.ts";
import { WorkQueue } from "./work-queue.ts";

type Era = "e3";

export interface DeckhouseOptions {
  readonly era: Era;
  readonly kube: KubePort;
  /** What `<repo>:<tag>` resolves to, an index followed to linux/amd64; rejects with the registry's words. `repo` is `host[:port]/path`. */
  readonly resolveDigest: (repo: string, tag: string, scheme: "http" | "https") => Promise<string>;
  /** How long a deploy takes, and the restart that follows it. Milliseconds. */
  readonly deployMs: number;
  readonly restartMs: number;
  readonly log: (line: string) => void;
}
export interface Deckhouse {
  /** Ends at once, also in the middle of a deploy. */
  stop(): Promise<void>;
}

/** Where reconciling ends: try again later (milliseconds; null: not by itself), or restart. */
type Result = { readonly again: number | null } | "restart";

const GATE_RETRY_MS = 60_000;
const DEFAULT_INTERVAL_MS = 15_000;
const SECOND_MS = 1_000;

export function startDeckhouse(options: DeckhouseOptions): Deckhouse {
  const stopping = new AbortController();
  const lives = (async () => {
    while (!stopping.signal.aborted) {
      await live(options, stopping.signal);
      await pause(options.restartMs, stopping.signal);
    }
  })();
  return {
    async stop() {
      stopping.abort();
      await lives;
    },
  };
}

/**
 * From one start of Deckhouse to the restart that a deploy ends in. One worker takes one override after the other.
 * A start sees every override as created and so checks them all: what was written while Deckhouse was down is not lost.
 */
async function live(options: DeckhouseOptions, stopping: AbortSignal): Promise<void> {
  const ending = new AbortController();
  const signal = AbortSignal.any([stopping, ending.signal]);
  const queue = new WorkQueue(signal);
  const seen = new Map<string, string>();
  const following = options.kube.follow(
    {
      changed(override) {
        const trigger = triggerOf(override);
        if (seen.get(override.name) !== trigger) queue.add(override.name);
        seen.set(override.name, trigger);
      },
      gone(name) {
        seen.delete(name);
        queue.add(name);
      },
    },
    signal,
  );
  const end = aborted(signal); // once: a listener for each reconciliation would pile up on the signal
  for (let name = await queue.next(); name !== null; name = await queue.next()) {
    const result = await Promise.race([reconcileOrRetry(options, queue, name, signal), end]);
    if (result === "restart") break;
    if (result.again !== null) queue.addAfter(name, result.again);
  }
  ending.abort();
  await following;
}

/** The watch's predicate is Or(GenerationChanged, AnnotationChanged), whatever the annotation's key: status writes trigger nothing. */
function triggerOf({ generation, annotations }: PullOverride): string {
  return JSON.stringify([generation, Object.entries(annotations).toSorted(([a], [b]) => (a < b ? -1 : 1))]);
}

/** An error of the API is returned to controller-runtime, which tries again with exponential back-off. */
async function reconcileOrRetry(options: DeckhouseOptions, queue: WorkQueue, name: string, signal: AbortSignal): Promise<Result> {
  try {
    const result = await reconcile(options, name, signal);
    queue.forget(name);
    return result;
  } catch (error) {
    if (!signal.aborted) options.log(`deckhouse: ${name}: ${error instanceof Error ? error.message : String(error)}`);
    return { again: queue.backoff(name) };
  }
}

async function reconcile(options: DeckhouseOptions, name: string, signal: AbortSignal): Promise<Result> {
  const { kube } = options;
  const override = await kube.override(name);
  if (override === null) return { again: null };
  const gate = async (message: string, more: Partial<PullStatus> = {}): Promise<Result> => {
    await kube.writeStatus(override, { message, ...more, updatedAt: now() });
    return { again: GATE_RETRY_MS };
  };
  const module = await kube.module(name);
  if (module === null) return gate("The module not found");
  if (module.source === "Embedded") return gate("The module is embedded");
  if (module.disabled) return gate("The module disabled", { imageDigest: "" });
  if (module.source === "") return gate("The module does not have an active source");
  const source = await kube.source(module.source);
  if (source === null) return gate("The source not found");
  await markOverridden(kube, module.source, source, name);

  const again = intervalOf(override.scanInterval);
  const image = `${source.repo.replace(/\/+$/, "")}/${name}`;
  const found = await resolve(options, image, override.imageTag, source);
  if ("error" in found) {
    await kube.writeStatus(override, { message: `Download error: ${found.error}`, updatedAt: now() });
    return { again }; // not sooner, however long the interval is
  }
  if (found.digest !== override.status.imageDigest) return deploy(options, override, found.digest, signal);
  if (override.status.message !== "Ready") await kube.writeStatus(override, { message: "Ready" });
  return { again };
}

async function resolve(options: DeckhouseOptions, image: string, tag: string, { scheme }: ModuleSource) {
  try {
    return { digest: await options.resolveDigest(image, tag, scheme) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

/** First the status, then the bare `renew` goes, and the restart is a deferred call: it comes even where the writes failed. */
async function deploy(
  { kube, deployMs, log }: DeckhouseOptions,
  override: PullOverride,
  digest: string,
  signal: AbortSignal,
): Promise<Result> {
  log(`deckhouse: deploys ${override.name} ${digest}`);
  await pause(deployMs, signal);
  if (signal.aborted) return "restart";
  try {
    await kube.writeStatus(override, { imageDigest: digest, message: "Ready", updatedAt: now() });
    if ("renew" in override.annotations) await kube.removeAnnotation(override.name, "renew");
  } catch (error) {
    const why = error instanceof KubeConflict ? "the override was patched during the deploy" : String(error);
    log(`deckhouse: ${override.name}: its status stays as it was, so it is deployed again after the restart: ${why}`);
  }
  log(`deckhouse: restarts after the deploy of ${override.name}`);
  return "restart";
}

async function markOverridden(kube: KubePort, sourceName: string, source: ModuleSource, module: string): Promise<void> {
  const entry = source.modules.find(({ name }) => name === module);
  if (entry === undefined || entry.overridden === true) return;
  const modules = source.modules.map((other) => (other === entry ? { ...entry, overridden: true } : other));
  await kube.writeSourceModules(sourceName, source, modules);
}

/** `1h30m`, `15s`; null (no requeue at all) for `0s`. */
function intervalOf(text: string | null): number | null {
  if (text === null || text === "") return DEFAULT_INTERVAL_MS;
  const [, hours = "0", minutes = "0", seconds = "0"] = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(text) ?? [];
  const ms = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * SECOND_MS;
  return ms > 0 ? ms : null;
}

function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}

/** A request that is still under way must not hold up the end. */
async function aborted(signal: AbortSignal): Promise<Result> {
  if (!signal.aborted) await once(signal, "abort");
  return "restart";
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
