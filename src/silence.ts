/**
 * Whether the webhook of a source is silent, by the marks on a cluster's overrides and nothing else: a push that the sweep found and
 * Deckhouse took was told by no webhook, until a later delivery shows that one speaks again. Any process reads the same from them.
 */
import { isDelivered } from "./adoption.ts";
import type { Override } from "./cluster/overrides.ts";
import type { SourceConfig } from "./config.ts";
import { SWEEP } from "./event.ts";
import { CLOCKS_DIFFER_MS, NEWLY_TAGGED_MS, SILENT_AFTER_MS } from "./limits.ts";
import { globMatches, isNoise } from "./match.ts";
import { type Nudge, nudgeOf } from "./nudge.ts";

/** A push that no webhook told of. */
export interface Missed {
  readonly override: Override;
  readonly nudge: Nudge;
}
/** What a cluster's overrides tell of the webhook of a source. `missed` is empty where it is not silent; the latest comes first. */
export interface Hearing {
  readonly source: SourceConfig;
  /** The latest delivery that took effect and is still an override's newest nudge; null: none is. */
  readonly heardAt: Date | null;
  readonly missed: readonly Missed[];
}

/** The sources of the configuration that may hold the override's image. */
export function sourcesOf({ name, imageTag, source: wanted }: Override, cluster: string, sources: readonly SourceConfig[]): SourceConfig[] {
  return sources.filter(
    (source) =>
      source.clusters.includes(cluster) &&
      source.modules.some((glob) => globMatches(glob, name)) &&
      (source.noise === "keep" || !isNoise(imageTag)) &&
      (wanted === null || source.name === null || source.name === wanted),
  );
}

/** How long a delivery may take, and for how long after its tag was written an override may hold something else without one. */
export interface Patience {
  readonly silentAfterMs: number;
  readonly newlyTaggedMs: number;
}

/** Of those the one that its newest nudge was for, where that says so: most configurations let every source hold every module. */
export function heardSourcesOf(override: Override, cluster: string, sources: readonly SourceConfig[]): SourceConfig[] {
  const told = nudgeOf(override)?.source ?? null;
  const all = sourcesOf(override, cluster, sources);
  const own = all.filter(({ name }) => told === null || name === null || name === told);
  return own.length > 0 ? own : all; // its name is another by now
}

/** Whether a push of its image may still come to us: the source that its newest nudge was for, or one that may hold it, is in the configuration. */
export function isServed(override: Override, cluster: string, sources: readonly SourceConfig[]): boolean {
  const told = nudgeOf(override)?.source ?? null;
  return sourcesOf(override, cluster, sources).some(({ name }) => told === null || name === null || name === told);
}

/** One for each source of the cluster. */
export function hearingsOf(
  overrides: readonly Override[],
  cluster: string,
  sources: readonly SourceConfig[],
  now: Date,
  { silentAfterMs = SILENT_AFTER_MS, newlyTaggedMs = NEWLY_TAGGED_MS }: Partial<Patience> = {},
): Hearing[] {
  const hearings = new Map<SourceConfig, { heardAt: number; swept: Missed[] }>();
  for (const source of sources) if (source.clusters.includes(cluster)) hearings.set(source, { heardAt: 0, swept: [] });
  for (const override of overrides) {
    const nudge = nudgeOf(override);
    if (!nudge || (nudge.digest !== null && nudge.digest !== override.status.imageDigest)) continue; // it took no effect, or none yet
    for (const source of heardSourcesOf(override, cluster, sources)) {
      const hearing = hearings.get(source);
      if (hearing && isDelivered(nudge)) hearing.heardAt = Math.max(hearing.heardAt, wentOutAt(nudge, now));
      if (nudge.webhook !== SWEEP || isNewlyTagged(override, nudge, newlyTaggedMs)) continue;
      if (now.getTime() - nudge.receivedAt.getTime() >= silentAfterMs) hearing?.swept.push({ override, nudge });
    }
  }
  return [...hearings].map(([source, { heardAt, swept }]) => ({
    source,
    heardAt: heardAt === 0 ? null : new Date(heardAt),
    missed: swept.filter(({ nudge }) => wentOutAt(nudge, now) > heardAt).sort((a, b) => b.nudge.at.getTime() - a.nudge.at.getTime()),
  }));
}

/** By a clock that was ahead, maybe by days, one delivery would hide every silence until then. */
const wentOutAt = ({ at, receivedAt }: Nudge, now: Date) => (at.getTime() <= now.getTime() + CLOCKS_DIFFER_MS ? at : receivedAt).getTime();

/** What it should hold may have been pushed long before it was there, or followed this tag: no delivery would have nudged it. */
function isNewlyTagged({ taggedAt }: Override, { receivedAt }: Nudge, newlyTaggedMs: number): boolean {
  const age = receivedAt.getTime() - Date.parse(taggedAt ?? "");
  return age > -CLOCKS_DIFFER_MS && age < newlyTaggedMs;
}
