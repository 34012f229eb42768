/** What `adopt` at a cluster relies on. */
import type { RelayConfig } from "../config.ts";
import type { Problem } from "./problem.ts";

/** Polled once in twelve hours, an override lives from its webhook, whose silence nothing but the sweep notices. */
export function adoptWarnings({ clusters, sources, tuning }: Pick<RelayConfig, "clusters" | "sources" | "tuning">): Problem[] {
  return Object.entries(clusters).flatMap(([cluster, { adopt, kubernetes }]) => {
    if (adopt === null || kubernetes === null) return []; // or it is consumed elsewhere
    const own = sources.filter((source) => source.clusters.includes(cluster));
    const blind = own.filter(({ registry }) => registry === null).map(({ name, repo }) => name ?? repo);
    const why =
      tuning.sweepMs === 0
        ? "tuning.sweep is off"
        : own.length === 0
          ? "this file names no source of the cluster"
          : blind.length > 0 && `no \`registry\` says how to ask below ${blind.join(", ")}`;
    if (!why) return [];
    const message = `nobody notices if the webhook of an adopted override is silent, and its pushes then wait for up to ${adopt}: ${why}`;
    return [{ path: `clusters.${cluster}.adopt`, message, hint: "write `registry` at each source, and leave tuning.sweep on" }];
  });
}
