/**
 * Lengthens the scan interval of overrides that pushes reach, and puts it back while they do not. Overrides that are as they should be are
 * left alone, so everything here may be called again and again. Each write is one patch of one override.
 */
import { randomBytes } from "node:crypto";
import { adoptionOf, type Change, isDelivered, type Plan, planAdoption, planPause, planResume, shown } from "./adoption.ts";
import type { Override, Overrides } from "./cluster/overrides.ts";
import { unlessChanged } from "./conflict.ts";
import type { RenewRequest } from "./event.ts";
import { type Act, entryOf, type NewEntry, type Note } from "./journal/journal.ts";
import type { Observer } from "./observe.ts";
import { type Detail, RelayError, toRelayError } from "./outcome.ts";

/** No webhook can have this name, so that nothing takes an act of the relay's own for a delivery. */
const BY_RELAY = "(mpo-relay adopt)";

export interface AdoptContext {
  readonly overrides: Pick<Overrides, "cluster" | "get" | "setScanInterval" | "annotate">;
  readonly observer: Observer;
  readonly note?: Note;
  readonly now: () => Date;
  readonly pace: () => Promise<void>;
  /** `clusters.<name>.adopt`; null: only what was adopted before and put back by silence. */
  readonly interval: string | null;
  /** Whether the configuration names the source of an override, so that its silence is noticed here. Left out: of each. */
  readonly isServed?: (override: Override) => boolean;
}

/**
 * After a push was seen to take effect: adopts its override where the configuration says so, and where a silent webhook had it put back.
 * Once the module runs, for until then Deckhouse is at work on it; where the Module does not say, once the image was picked up.
 * `settled` is the override as it was just read: it is read again only where somebody wrote meanwhile. Never throws: what cannot be done now is done with
 * the next push.
 */
export async function adoptAfter(request: RenewRequest, settled: Override, context: AdoptContext): Promise<void> {
  if (!isDelivered(request)) return;
  const decide: Decide = (seen) => {
    if (context.isServed?.(seen) === false) return null; // the sweep would put it back
    if (seen.imageTag !== request.tag || seen.status.imageDigest !== settled.status.imageDigest) return null; // another push is on its way
    if (adoptionOf(seen)?.paused) return planResume(seen, "its webhook is heard again", context.now());
    return context.interval === null ? null : planAdoption(seen, context.interval, true, context.now());
  };
  try {
    await change(settled.name, context, "ADOPTED", decide, settled);
  } catch (thrown) {
    tellFailure(settled.name, thrown, context);
  }
}

/** What is known of the webhook of a source. `heardAt`: the latest delivery that was seen to take effect; null: none was. */
export interface Heard {
  readonly source: string;
  readonly isSilent: boolean;
  readonly heardAt: Date | null;
}

/**
 * Puts back those of `seen` that are adopted while the webhook of a source of theirs is silent, or the configuration names none of their sources any
 * more, and adopts them again once all are heard. For each look at a cluster's overrides; writes where that changes something, and then alone.
 * `heardOf` gives the sources of an override.
 */
export async function followSilence(
  seen: readonly Override[],
  heardOf: (override: Override) => readonly Heard[],
  context: AdoptContext,
): Promise<void> {
  for (const override of seen) {
    const adoption = adoptionOf(override);
    if (!adoption) continue;
    const heard = heardOf(override);
    if (heard.length === 0) {
      if (adoption.paused === null) await pauseAll("no source of the configuration serves it any more", [override.name], context);
      continue;
    }
    const silent = heard.find(({ isSilent }) => isSilent);
    if (silent) {
      if (adoption.paused === null) await restoreSilent(silent.source, [override.name], context);
      continue;
    }
    const latest = heard.toSorted((a, b) => (b.heardAt?.getTime() ?? 0) - (a.heardAt?.getTime() ?? 0))[0];
    if (adoption.paused !== null && latest?.heardAt) await adoptAgain(latest.source, latest.heardAt, [override.name], context);
  }
}

/**
 * Puts back the scan interval of those of `modules` that are adopted: no delivery of `source`, by which they are, is seen any more.
 * One that cannot be patched is told, and holds up no other; call it again while the silence lasts.
 */
export function restoreSilent(source: string, modules: readonly string[], context: AdoptContext): Promise<void> {
  return pauseAll(`no delivery of ${source} arrives`, modules, context);
}

const pauseAll = (why: string, modules: readonly string[], context: AdoptContext) =>
  changeAll(modules, context, "RESTORED", (seen) => planPause(seen, why, context.now()));

/** Undoes {@link restoreSilent} for those that were put back before `heardAt`, when a delivery of the source was seen to take effect. */
export function adoptAgain(source: string, heardAt: Date, modules: readonly string[], context: AdoptContext): Promise<void> {
  return changeAll(modules, context, "ADOPTED", (seen) => {
    const paused = adoptionOf(seen)?.paused ?? null;
    if (paused === null || Date.parse(paused) >= heardAt.getTime()) return null;
    return planResume(seen, `deliveries of ${source} arrive again`, context.now());
  });
}

type Decide = (seen: Override) => Plan | null;

async function changeAll(modules: readonly string[], context: AdoptContext, act: Act, decide: Decide): Promise<void> {
  for (const module of modules) {
    try {
      await change(module, context, act, decide);
    } catch (thrown) {
      tellFailure(module, thrown, context);
    }
  }
}

async function change(module: string, context: AdoptContext, act: Act, decide: Decide, read: Override | null = null): Promise<void> {
  const done = await writeChange(module, context.overrides, decide, context.pace, read);
  if (done === null) return;
  const { seen, plan } = done;
  const { cluster } = context.overrides;
  const entry = entryAbout({ cluster, seen, plan, act, webhook: BY_RELAY, at: context.now(), detail: { by: "mpo-relay" } });
  context.observer.outcome({ event: "adoption", outcome: act, key: entry.key, cluster, module, why: String(entry.detail["change"]) });
  await context.note?.([entry]);
}

/**
 * Looks, decides, and writes what was decided by one patch; looks and decides anew where somebody wrote meanwhile. null: nothing was written.
 * `read`: what was read just now, in place of the first look. Throws RelayError as the port does.
 */
export async function writeChange(
  module: string,
  overrides: Pick<Overrides, "get" | "setScanInterval" | "annotate">,
  decide: Decide,
  pace: () => Promise<void> = async () => {},
  read: Override | null = null,
): Promise<{ seen: Override; plan: Change } | null> {
  let known = read;
  return unlessChanged(async () => {
    const seen = known ?? (await overrides.get(module));
    known = null;
    const plan = seen && decide(seen);
    if (!seen || plan?.kind !== "change") return null;
    await pace();
    const { interval, annotations } = plan;
    const patched = await (interval === undefined
      ? overrides.annotate(seen, annotations)
      : overrides.setScanInterval(seen, interval, annotations));
    if (patched && !isKept(patched, annotations)) {
      // a long interval that nobody knows to be ours would never be put back
      if (interval !== undefined) await overrides.setScanInterval(patched, seen.scanInterval, {});
      throw new RelayError("FORBIDDEN_BY_POLICY", NOT_KEPT);
    }
    return patched && { seen, plan };
  });
}

const NOT_KEPT =
  "the API server took the patch, and the override does not hold the relay's mark: a mutating admission policy or webhook takes annotations out; the scan interval was put back";

const isKept = ({ annotations }: Override, wanted: Change["annotations"]) =>
  Object.entries(wanted).every(([name, value]) => (annotations[name] ?? null) === value);

interface Acted {
  readonly cluster: string;
  readonly seen: Override;
  readonly plan: Change;
  readonly act: Act;
  readonly webhook: string;
  readonly at: Date;
  readonly detail: Detail;
}

/** What the journal is told: an act is no push, so it has a key of its own, and an image by its tag alone. */
export function entryAbout({ cluster, seen, plan, act, webhook, at, detail }: Acted): NewEntry {
  const { name: module, imageTag: tag, status } = seen;
  const instant = at.toISOString();
  const told = { key: randomBytes(16).toString("hex"), cluster, module, tag, digest: status.imageDigest, image: `${module}:${tag}` };
  const after = plan.interval === undefined ? "stays" : `→ ${shown(plan.interval)}`;
  const words = `scanInterval ${shown(seen.scanInterval)} ${after}: ${plan.why}`;
  return entryOf({ ...told, webhook, actor: null, pushedAt: null, receivedAt: instant }, act, instant, { change: words, ...detail });
}

function tellFailure(module: string, thrown: unknown, { observer, overrides }: AdoptContext): void {
  const { message } = toRelayError(thrown);
  const what = "the scan interval of an override stays as it is; it is tried again. Pushes go on";
  observer.alarm("SCAN_INTERVAL", { what, cluster: overrides.cluster, module, why: message });
}
