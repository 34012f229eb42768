/**
 * Whether the webhook of a source is silent, by the marks on a cluster's overrides and nothing else: a push that the sweep found and
 * Deckhouse took was told by no webhook, until a later delivery shows that one speaks again. Any process reads the same from them.
 */
import { isDelivered } from "./adoption.ts";
import type { Override } from "./cluster/overrides.ts";
import type { SourceConfig } from "./config.ts";
import { SWEEP } from "./event.ts";
import { CLOCKS_DIFFER_MS, SILENT_AFTER_MS } from "./limits.ts";
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

/** One for each source of the cluster. `afterMs`: how long a delivery may take. */
export function hearingsOf(
  overrides: readonly Override[],
  cluster: string,
  sources: readonly SourceConfig[],
  now: Date,
  afterMs = SILENT_AFTER_MS,
): Hearing[] {
  const hearings = new Map<SourceConfig, { heardAt: number; swept: Missed[] }>();
  for (const source of sources) if (source.clusters.includes(cluster)) hearings.set(source, { heardAt: 0, swept: [] });
  for (const override of overrides) {
    const nudge = nudgeOf(override);
    if (!nudge || (nudge.digest !== null && nudge.digest !== override.status.imageDigest)) continue; // it took no effect, or none yet
    for (const source of sourcesOf(override, cluster, sources)) {
      const hearing = hearings.get(source);
      if (hearing && isDelivered(nudge)) hearing.heardAt = Math.max(hearing.heardAt, wentOutAt(nudge, now));
      if (nudge.webhook === SWEEP && now.getTime() - nudge.receivedAt.getTime() >= afterMs) hearing?.swept.push({ override, nudge });
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
