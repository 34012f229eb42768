/**
 * The mark that a nudge leaves on an override, and how it is read again: annotations only.
 * Any change of an annotation makes Deckhouse look at once (v1.60 on); it is the value that must differ from push to push.
 * Never a key below deckhouse.io and never the value `true`, which Deckhouse takes as a forced redeploy with a restart.
 */
import * as z from "zod";
import { jsonOf } from "./json.ts";
import type { Override } from "./cluster/overrides.ts";
import { type RenewRequest, valueOf } from "./event.ts";
import { RECENT_KEYS } from "./limits.ts";

/** Documented by Deckhouse: https://deckhouse.io/documentation/v1/modules/002-deckhouse/ (ModulePullOverride) */
const RENEW = "renew";
const KEY = "mpo-relay/key";
const DIGEST = "mpo-relay/digest";
const AT = "mpo-relay/at";
const PUSHED = "mpo-relay/pushed";
const RECENT = "mpo-relay/recent";

/** The newest nudge of an override. `digest` is null where it is unknown or an index's; `recent` are the keys before it, newest first. */
export interface Nudge {
  readonly key: string;
  readonly nudge: number;
  readonly digest: string | null;
  readonly at: Date;
  readonly webhook: string;
  /** The tag that the override followed then; null in marks of an older relay. */
  readonly tag: string | null;
  /** The module source whose push it was for; null: it has no name in the configuration, or in marks of an older relay. */
  readonly source: string | null;
  readonly pushedAt: Date | null;
  readonly receivedAt: Date;
  readonly recent: readonly string[];
}

const pushed = z.object({
  webhook: z.string(),
  tag: z.string().nullable().default(null),
  source: z.string().nullable().default(null),
  time: z.iso.datetime().nullable(),
  received: z.iso.datetime(),
});

/** null where no relay has nudged yet, or where somebody edited the mark by hand: then nothing is known, and we nudge. */
export function nudgeOf({ annotations }: Pick<Override, "annotations">): Nudge | null {
  const value = /^([a-z0-9]+)(?:\.(\d{1,9}))?$/.exec(annotations[KEY] ?? "");
  const at = new Date(annotations[AT] ?? "");
  const from = pushed.safeParse(jsonOf(annotations[PUSHED] ?? ""));
  if (!value?.[1] || Number.isNaN(at.getTime()) || !from.success) return null;
  return {
    key: value[1],
    nudge: Number(value[2] ?? 0),
    digest: annotations[DIGEST] ?? null,
    at,
    webhook: from.data.webhook,
    tag: from.data.tag,
    source: from.data.source,
    pushedAt: from.data.time === null ? null : new Date(from.data.time),
    receivedAt: new Date(from.data.received),
    recent: (annotations[RECENT] ?? "").split(" ").filter((key) => key !== ""),
  };
}

/**
 * Another push's nudge has followed this one's patch. That its key does not stand there proves nothing: whoever replaces the override (`kubectl
 * replace`, Argo CD with `Replace=true`, a backup) takes all marks away, or puts older ones back, and then nobody else looks after this push.
 */
export function isTakenOver(newest: Nudge | null, { key }: Pick<RenewRequest, "key">, patchedAt: string): boolean {
  return newest !== null && newest.key !== key && (newest.recent.includes(key) || newest.at.getTime() > Date.parse(patchedAt));
}

/** The annotations of the patch. `previous` is the mark that it replaces; its key goes into `recent` in the same write. */
export function nudgeAnnotations(
  request: Pick<RenewRequest, "key" | "digest" | "index" | "webhook" | "tag" | "source" | "pushedAt" | "receivedAt">,
  nudge: number,
  previous: Nudge | null,
  at: Date,
): Record<string, string | null> {
  const { webhook, tag, source } = request;
  const value = valueOf(request.key, nudge);
  const before = previous ? [previous.key, ...previous.recent].filter((key) => key !== request.key) : [];
  return {
    [RENEW]: value,
    [KEY]: value,
    [DIGEST]: request.index ? null : request.digest,
    [AT]: at.toISOString(),
    [PUSHED]: JSON.stringify({ webhook, tag, source, time: request.pushedAt, received: request.receivedAt }),
    [RECENT]: before.length === 0 ? null : [...new Set(before)].slice(0, RECENT_KEYS).join(" "),
  };
}
