/** The overrides that dead letters are about, as they are now: for `show`, and to follow what was sent again. */
import type { Override, Overrides } from "../../cluster/overrides.ts";
import type { RelayConfig } from "../../config.ts";
import { openCluster } from "../../consumer.ts";
import { asFollowed, type RenewRequest } from "../../event.ts";
import { nudgeOf } from "../../nudge.ts";
import { oddText } from "../../odd.ts";

export interface Looker {
  /** null: there is no such override. Throws an Error that says why nothing can be seen from here. */
  get(cluster: string, module: string): Promise<Override | null>;
  close(): void;
}

/** Opens a cluster when it is first asked for, by the way in that the configuration names. */
export function createLooker(config: RelayConfig): Looker {
  const opened = new Map<string, Overrides>();
  return {
    async get(cluster, module) {
      if (!config.clusters[cluster]?.kubernetes) {
        throw new Error(
          `the configuration here names no way into cluster ${cluster} (kubernetes:); there, \`kubectl get mpo ${module} -o yaml\` shows it`,
        );
      }
      const overrides = opened.get(cluster) ?? openCluster(config, cluster);
      opened.set(cluster, overrides);
      return overrides.get(module);
    },
    close: () => opened.forEach((overrides) => overrides.close()),
  };
}

/** What an override looks like now, beside the push that a letter is about. */
export function portrait(request: RenewRequest, seen: Override | null): string[] {
  if (request.kind === "rescan") {
    const what = `this makes Deckhouse scan ${request.source} for ${request.image}`;
    return [seen ? `there is one now, so nothing would be scanned` : `there is none; ${what}`];
  }
  if (!seen) return [`there is no ModulePullOverride ${request.module} now: nothing would be renewed`];
  const { imageTag, status, scanInterval } = seen;
  const newest = nudgeOf(seen);
  const isWanted = request.digest !== null && status.imageDigest === request.digest;
  return [
    ...(seen.odd === null ? [] : [`${oddText(seen)}. Mend it first: kubectl edit mpo ${seen.name}`]),
    `follows tag ${imageTag}${imageTag === asFollowed(request, imageTag).tag ? "" : `, and this push was of ${request.tag}: nothing would be renewed`}`,
    `runs ${status.imageDigest ?? "no image"}${isWanted ? ", the pushed one" : request.digest === null ? "" : `; pushed was ${request.digest}`}`,
    `says "${status.message}"${status.updatedAt === null ? "" : `, since ${status.updatedAt}`}`,
    newest
      ? `last nudged at ${newest.at.toISOString()} for ${newest.key === request.key ? `this push (nudge ${newest.nudge})` : `another push (${newest.key})`}`
      : "never nudged by a relay",
    `polls every ${scanInterval ?? "15s"}`,
  ];
}
