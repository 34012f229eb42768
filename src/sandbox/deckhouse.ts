/**
 * A stand-in for Deckhouse, as far as the relay can tell it from the real one: its ModulePullOverride controller, in the form that it had
 * in one era (deckhouse-eras.ts). It needs a Kubernetes API and a registry, real or stand-ins.
 * https://deckhouse.io/products/kubernetes-platform/documentation/v1/cr.html#modulepulloverride
 * What it does not do is in infra/decisions/0004-stand-ins-and-real-parts.md.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { type Era, type EraName, eraOf } from "./deckhouse-eras.ts";
import type { KubePort, PullOverride } from "./deckhouse-port.ts";
import { reconcile, type Result } from "./deckhouse-reconcile.ts";
import { WorkQueue } from "./work-queue.ts";

export interface DeckhouseOptions {
  readonly era: EraName;
  readonly kube: KubePort;
  /** What `<repo>:<tag>` resolves to, an index followed to linux/amd64; rejects with the registry's words. `repo` is `host[:port]/path`. */
  readonly resolveDigest: (repo: string, tag: string, scheme: "http" | "https") => Promise<string>;
  /** What is wrong with an image that is deployed, for tests: it does not validate, or it does but cannot be installed. */
  readonly fault?: (module: string, digest: string) => { readonly at: "validation" | "install"; readonly why: string } | null;
  /** How long a deploy takes, and the restart that follows it. Milliseconds of its clock. */
  readonly deployMs: number;
  readonly restartMs: number;
  /** By default the real one. */
  readonly clock?: Clock;
  readonly log: (line: string) => void;
}
/** `speed` 100: a minute is over after 0.6 s. */
export interface Clock {
  readonly speed: number;
  now(): Date;
}
export interface Deckhouse {
  /** The digest of what is installed of a module, whatever the status says; null: nothing is. */
  installed(module: string): string | null;
  /** Ends at once, also in the middle of a deploy. */
  stop(): Promise<void>;
}

/** What a check works with. `installed` (module → digest) and `overridden` (module → its source) outlive restarts, as disk and cluster do. */
export interface Context extends Omit<DeckhouseOptions, "era"> {
  readonly era: Era;
  readonly clock: Clock;
  readonly installed: Map<string, string>;
  readonly overridden: Map<string, string>;
}

export function startDeckhouse(options: DeckhouseOptions): Deckhouse {
  const stopping = new AbortController();
  const context: Context = {
    clock: { speed: 1, now: () => new Date() },
    ...options,
    era: eraOf(options.era),
    installed: new Map(),
    overridden: new Map(),
  };
  const lives = (async () => {
    while (!stopping.signal.aborted) {
      await live(context, stopping.signal);
      await sleep(options.restartMs / context.clock.speed, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    installed: (module) => context.installed.get(module) ?? null,
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
async function live(context: Context, stopping: AbortSignal): Promise<void> {
  const ending = new AbortController();
  const signal = AbortSignal.any([stopping, ending.signal]);
  const queue = new WorkQueue(signal, { firstBackoffMs: context.era.firstBackoffMs, speed: context.clock.speed });
  const seen = new Map<string, PullOverride>();
  const following = context.kube.follow(
    {
      changed(override) {
        const before = seen.get(override.name);
        seen.set(override.name, override);
        if (before === undefined || context.era.triggers(before, override)) queue.add(override.name);
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
    const result = await Promise.race([reconcileOrRetry(context, queue, name, signal), end]);
    if (result === "restart") break;
    if (result.again !== null) queue.addAfter(name, result.again);
  }
  ending.abort();
  await following;
}

/** An error that a check ends in is tried again with exponential back-off, as controller-runtime does with what Reconcile returns. */
async function reconcileOrRetry(context: Context, queue: WorkQueue, name: string, signal: AbortSignal): Promise<Result> {
  try {
    const result = await reconcile(context, name, signal);
    queue.forget(name);
    return result;
  } catch (error) {
    if (!signal.aborted) context.log(`deckhouse: ${name}: ${error instanceof Error ? error.message : String(error)}`);
    return { again: queue.backoff(name) };
  }
}

/** A request that is still under way must not hold up the end. */
async function aborted(signal: AbortSignal): Promise<Result> {
  if (!signal.aborted) await once(signal, "abort");
  return "restart";
}
