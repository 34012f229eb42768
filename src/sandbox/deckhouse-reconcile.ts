/** One check of one override: gates, digest, deploy. What differs between versions of Deckhouse is asked of the era. */
import { setTimeout as sleep } from "node:timers/promises";
import { intervalMs } from "../interval.ts";
import { KubeConflict, type ModuleSource, type Module, type PullOverride, type PullStatus } from "./deckhouse-port.ts";
import type { Context } from "./deckhouse.ts";

/** Where a check ends: again later (milliseconds of Deckhouse's clock; null: not by itself), or with a restart. Throws what is tried again with back-off. */
export type Result = { readonly again: number | null } | "restart";

const FINALIZER = "modules.deckhouse.io/mpo-finalizer";
const MARKED: Result = { again: 500 };
const GATE: Result = { again: 60_000 };

export async function reconcile(context: Context, name: string, signal: AbortSignal): Promise<Result> {
  const { kube, era } = context;
  const override = await kube.override(name);
  if (override === null) return forget(context, name);
  if (override.deleting && era.mark === "finalizer") return release(context, override);
  if (era.mark === "labels" && !("module" in override.labels)) {
    await kube.writeMetadata(override, { labels: { module: name, source: override.source } });
    return MARKED;
  }

  const module = era.gates.length === 0 ? null : await kube.module(name);
  const shut = era.gates.find((gate) => gate.isShut(override, module, era));
  if (shut !== undefined) {
    const status = { message: shut.message, ...(shut.clearsDigest && { imageDigest: "" }) };
    if (override.status.message !== shut.message) await write(context, override, status);
    return GATE;
  }
  if (module !== null) await markModule(context, name, module, true);
  if (era.mark === "finalizer" && !override.finalizers.includes(FINALIZER)) {
    await kube.writeMetadata(override, { finalizers: [...override.finalizers, FINALIZER] });
    return MARKED;
  }

  const sourceName = era.sourceOf(override, module);
  const source = await kube.source(sourceName);
  if (source === null) {
    const message = era.messages.noSuchSource(sourceName);
    if (era.repeats.source || override.status.message !== message) await write(context, override, { message });
    return GATE;
  }
  await markSource(context, sourceName, source, name, true);
  return check(context, override, source, signal);
}

async function check(context: Context, override: PullOverride, source: ModuleSource, signal: AbortSignal): Promise<Result> {
  const { era, resolveDigest } = context;
  const again = intervalOf(override.scanInterval, era.pollsAtZero);
  const repo = `${source.repo.replace(/\/+$/, "")}/${override.name}`;
  const found = await resolveDigest(repo, override.imageTag, source.scheme).catch((error: unknown) => ({ why: wordsOf(error) }));
  if (typeof found !== "string") {
    const message = era.messages.downloadError(found.why);
    if (era.repeats.download || override.status.message !== message) await write(context, override, { message });
    return { again }; // not sooner, however long the interval is
  }
  const isForced = era.forcedBy !== null && override.annotations[era.forcedBy] === "true";
  if (found !== override.status.imageDigest || isForced) return deploy(context, override, found, again, signal);
  if (override.status.message !== era.messages.ready) await write(context, override, { message: era.messages.ready });
  return { again };
}

/** First the status, then the clean-up. The restart is a deferred call: it comes even where those writes failed. */
async function deploy(
  context: Context,
  override: PullOverride,
  digest: string,
  again: number | null,
  signal: AbortSignal,
): Promise<Result> {
  const { era, fault, deployMs, clock, installed, log } = context;
  const { name } = override;
  log(`deckhouse: deploys ${name} ${digest}`);
  if (era.restarts) {
    await sleep(deployMs / clock.speed, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return "restart";
    const broken = fault?.(name, digest) ?? null;
    if (broken !== null) return refuse(context, override, broken, again);
  }
  installed.set(name, digest);
  try {
    const written = await write(context, override, { imageDigest: digest, message: era.messages.ready });
    await cleanUp(context, override, written);
  } catch (error) {
    if (!era.restarts) throw error;
    const why = error instanceof KubeConflict ? "the override was patched during the deploy" : wordsOf(error);
    log(`deckhouse: ${name}: its status stays as it was, so it is deployed again after the restart: ${why}`);
  }
  if (!era.restarts) return { again };
  log(`deckhouse: restarts after the deploy of ${name}`);
  return "restart";
}

async function refuse(
  context: Context,
  override: PullOverride,
  { at, why }: { at: "validation" | "install"; why: string },
  again: number | null,
): Promise<Result> {
  const { messages, afterInvalid } = context.era;
  if (at === "install") {
    if (messages.deployError !== null) await write(context, override, { message: messages.deployError(why) });
    throw new Error(why);
  }
  await write(context, override, { message: messages.validationError(why) });
  if (afterInvalid === "back-off") throw new Error(why);
  return { again: afterInvalid === "never" ? null : again };
}

/** Its failure is ignored; e1's always fails, since the status write before it moved the resourceVersion: the label stays. */
async function cleanUp({ kube, era }: Context, before: PullOverride, written: PullOverride): Promise<void> {
  if (era.cleanup === null || !(era.cleanup.key in before[era.cleanup.in])) return;
  const patch = { [era.cleanup.in]: { [era.cleanup.key]: null } };
  await kube.writeMetadata(era.cleanup.stale ? before : written, patch).catch(() => undefined);
}

/** The override is deleted: without `rollback` its module stays as it is. */
async function release(context: Context, override: PullOverride): Promise<Result> {
  const { kube, era, installed, log } = context;
  const { name, finalizers, rollback } = override;
  if (!finalizers.includes(FINALIZER)) return { again: null };
  const goes = era.onDelete === "goes" || (era.onDelete === "goes with rollback" && rollback);
  if (goes) installed.delete(name);
  const module = await kube.module(name);
  if (module !== null) await markModule(context, name, module, false);
  await kube.writeMetadata(override, { finalizers: finalizers.filter((each) => each !== FINALIZER) });
  if (!goes || !era.restarts) return { again: null };
  log(`deckhouse: restarts after the rollback of ${name}`);
  await forget(context, name);
  return "restart";
}

async function forget(context: Context, name: string): Promise<Result> {
  const sourceName = context.overridden.get(name);
  const source = sourceName === undefined ? null : await context.kube.source(sourceName);
  if (sourceName !== undefined && source !== null) await markSource(context, sourceName, source, name, false);
  context.overridden.delete(name);
  return { again: null };
}

/** In the Module: the condition IsOverridden. */
async function markModule({ kube }: Context, name: string, module: Module, isOverridden: boolean): Promise<void> {
  const type = "IsOverridden";
  const status = isOverridden ? "True" : "False";
  if (module.conditions.some((each) => each.type === type && each.status === status)) return;
  await kube.writeConditions(name, module, [...module.conditions.filter((each) => each.type !== type), { type, status }]);
}

/** In the ModuleSource: `overridden`, which Deckhouse's other controller writes when it scans the source. */
async function markSource({ kube, overridden }: Context, sourceName: string, source: ModuleSource, module: string, isOverridden: boolean) {
  overridden.set(module, sourceName);
  const entry = source.modules.find(({ name }) => name === module);
  if (entry === undefined || (entry.overridden ?? false) === isOverridden) return;
  const modules = source.modules.map((other) => (other === entry ? { ...entry, overridden: isOverridden } : other));
  await kube.writeSourceModules(sourceName, source, modules);
}

function write({ kube, clock }: Context, override: PullOverride, status: Partial<PullStatus>): Promise<PullOverride> {
  return kube.writeStatus(override, {
    ...status,
    updatedAt: clock
      .now()
      .toISOString()
      .replace(/\.\d+Z$/, "Z"),
  });
}

/** null (no requeue at all) for `0s`, but in newer versions. */
export function intervalOf(text: string | null, pollsAtZero: boolean): number | null {
  return intervalMs(text) || (pollsAtZero ? intervalMs(null) : null);
}

const wordsOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
