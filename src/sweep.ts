/**
 * The backbone under the webhooks: for each override, does it hold what its tag names? What is behind becomes an ordinary request to renew
 * it. Remembers nothing: whatever a sweep misses, or gives up, the next one sees again.
 */
import { isDelivered } from "./adoption.ts";
import type { Override, Overrides } from "./cluster/overrides.ts";
import type { SourceConfig } from "./config.ts";
import { keyFrom, type RenewRequest, SWEEP } from "./event.ts";
import { inLanes } from "./lanes.ts";
import { CLOCKS_DIFFER_MS, MIRROR_LATE_MS, SILENT_AFTER_MS, SWEEP_AGAIN_MS, SWEEP_LANES, SWEEP_UNSURE_MS } from "./limits.ts";
import { type Nudge, nudgeOf } from "./nudge.ts";
import { oddText } from "./odd.ts";
import { type SweepState, toRelayError } from "./outcome.ts";
import { activeSourceOf, ownSources } from "./own-sources.ts";
import type { Registry, Resolved } from "./registry/registry.ts";
import { adviceOn, verdictOf } from "./status.ts";

export interface SweepRow {
  readonly cluster: string;
  readonly override: Override;
  /**
   * `push`: it holds what its tag names, and its last change came by a delivery. `polling`: it holds it, and no delivery was seen.
   * `behind`: it holds something else. `unserved`: below no source of the configuration. `unknown`: nobody can tell, see `why`.
   */
  readonly state: SweepState;
  /** null where none was found to be its own. */
  readonly source: SourceConfig | null;
  /** What the tag names, as Deckhouse would show it; null: not known. */
  readonly names: string | null;
  readonly why: string | null;
  /** To be stored in the cluster's queue; null: nothing is to be done, or it was done. */
  readonly request: RenewRequest | null;
}
/** A source whose registry does not answer, or refuses. */
export interface Trouble {
  readonly source: SourceConfig;
  readonly why: string;
}
export interface Swept {
  readonly rows: readonly SweepRow[];
  readonly troubles: readonly Trouble[];
}

export interface SweepContext {
  readonly cluster: string;
  readonly sources: readonly SourceConfig[];
  readonly overrides: Pick<Overrides, "list" | "state">;
  readonly registry: Registry;
  readonly now: () => Date;
}
export interface SweepOptions {
  readonly progress?: (done: number, all: number) => void;
  /** What was not looked at by then is `unknown`. */
  readonly signal?: AbortSignal;
}

/** Stores nothing: that is for whoever calls. Throws RelayError where the overrides cannot be listed. */
export async function sweep(context: SweepContext, { progress, signal }: SweepOptions = {}): Promise<Swept> {
  const overrides = fromAnywhere(await context.overrides.list());
  const answers = new Map<SourceConfig, { resolved: number; failed: string[]; away: string | null }>();
  const registry = listening(context.registry, answers);
  const rows: SweepRow[] = [];
  await inLanes(SWEEP_LANES, overrides, async (override) => {
    rows.push(
      signal?.aborted
        ? row(context, override, "unknown", { why: "there was no time left" })
        : await look(override, { ...context, registry }),
    );
    progress?.(rows.length, overrides.length);
  });
  const troubles = [...answers].flatMap(([source, { resolved, failed, away }]) => {
    const why = away ?? (resolved === 0 ? failed[0] : undefined);
    return why === undefined ? [] : [{ source, why }];
  });
  return { rows: rows.sort((a, b) => a.override.name.localeCompare(b.override.name)), troubles };
}

/** Begun at another place each time: where time runs out, or a registry falls silent in the middle, it must not be the same ones that nobody looks at. */
function fromAnywhere<T>(all: readonly T[]): T[] {
  const first = Math.floor(Math.random() * all.length);
  return [...all.slice(first), ...all.slice(0, first)];
}

type Ask = (source: SourceConfig, override: Override) => Promise<Resolved | null>;

/** One refused image among many is its own affair; a source of which none is answered, or that is left alone, is in trouble. */
function listening(registry: Registry, answers: Map<SourceConfig, { resolved: number; failed: string[]; away: string | null }>): Ask {
  return async (source, { name: module, imageTag: tag }) => {
    const answer = answers.get(source) ?? { resolved: 0, failed: [], away: null };
    answers.set(source, answer);
    try {
      const resolved = await registry.resolve({ image: imageOf(source, module, tag), module, tag });
      answer.resolved += 1;
      return resolved;
    } catch (thrown) {
      const { message, retryAfterSeconds } = toRelayError(thrown);
      if (retryAfterSeconds !== null) answer.away ??= message;
      if (answer.failed.length === 0) answer.failed.push(message);
      throw thrown;
    }
  };
}

const imageOf = ({ repo }: SourceConfig, module: string, tag: string) => `${repo}/${module}:${tag}`;

type LookContext = Omit<SweepContext, "registry"> & { readonly registry: Ask };

async function look(override: Override, context: LookContext): Promise<SweepRow> {
  const { message } = override.status;
  if (override.odd !== null) return row(context, override, "unknown", { why: oddText(override) });
  const { sources, why } = await ownSources(override, context);
  const [source] = sources;
  if (!source) return row(context, override, "unserved", { why });
  const as = (state: SweepState, rest: Partial<SweepRow> = {}) => row(context, override, state, { source, ...rest });
  const asked = sources.filter(({ registry }) => registry !== null);
  if (asked.length === 0) return as("unknown", { why: "its source has no `registry` in the configuration, so nobody can be asked" });
  if (verdictOf(message) === "refused" && !/^validation/i.test(message))
    return as("unknown", { why: `Deckhouse says: ${message} (${adviceOn(message)})` });

  let wanted: { source: SourceConfig; resolved: Resolved } | null = null;
  let trouble: string | null =
    asked.length < sources.length ? "it may come from a source that has no `registry` in the configuration" : null;
  for (const each of asked) {
    try {
      const resolved = await context.registry(each, override);
      if (resolved && isOf(override.status.imageDigest, resolved)) return current(override, each, resolved, context);
      if (resolved) wanted ??= { source: each, resolved };
    } catch (thrown) {
      trouble = toRelayError(thrown).message;
    }
  }
  if (trouble !== null) return as("unknown", { why: trouble });
  if (!wanted) return missing(override, source, context);
  return behind(override, wanted.source, wanted.resolved, context);
}

/** Its Module may come from elsewhere, where the image is: asked only now, since most images are there. */
async function missing(override: Override, source: SourceConfig, context: LookContext): Promise<SweepRow> {
  const active = await activeSourceOf(override, context);
  const from = `its Module comes from ModuleSource ${active}`;
  const isElsewhere = active !== null && !context.sources.some(({ name }) => name === active);
  if (isElsewhere && source.name !== null) return row(context, override, "unserved", { why: `${from}, which is none of \`sources\`` });
  const absent = `the registry has no ${imageOf(source, override.name, override.imageTag)}`;
  return row(context, override, "unknown", { source, why: isElsewhere ? `${absent}; ${from}` : absent });
}

/** One of its versions shows the digest of an index itself, the others that of its manifest for linux/amd64. */
const isOf = (digest: string | null, { digest: whole, image }: Resolved) => digest !== null && (digest === image || digest === whole);

function current(override: Override, source: SourceConfig, resolved: Resolved, context: LookContext): SweepRow {
  const newest = nudgeOf(override);
  const isPushed = newest !== null && isDelivered(newest) && (newest.digest === null || isOf(newest.digest, resolved));
  return row(context, override, isPushed ? "push" : "polling", { source, names: resolved.image });
}

function behind(override: Override, source: SourceConfig, resolved: Resolved, context: LookContext): SweepRow {
  const newest = nudgeOf(override);
  const names = resolved.image;
  const ageMs = newest === null ? Infinity : Math.abs(context.now().getTime() - newest.at.getTime());
  const as = (state: SweepState, why: string, request: RenewRequest | null) =>
    row(context, override, state, { source, names, why, request });
  const request = () => requestOf(override, source, names, newest, context);
  if (newest !== null && isNudgedFor(newest, override, resolved)) {
    const told = `Deckhouse was told to look at ${newest.at.toISOString()}`;
    const isUnsure = newest.digest === null;
    if (ageMs < (isUnsure ? SWEEP_UNSURE_MS : SWEEP_AGAIN_MS)) {
      const keeps = !isUnsure && verdictOf(override.status.message) === "ok" && ageMs > SILENT_AFTER_MS;
      return keeps
        ? as("unknown", `${told}, and keeps what it has: it is busy, or it pulls from a mirror that holds another image`, null)
        : as("behind", override.status.message.replace(/^(?:Ready)?$/, told).slice(0, 300), null);
    }
    if (!isUnsure) return as("behind", `${told}, in vain; it is told again`, repeatOf(newest, request()));
  }
  const isLate = newest !== null && isDelivered(newest) && newest.digest === override.status.imageDigest && ageMs < MIRROR_LATE_MS;
  if (isLate)
    return as(
      "unknown",
      `the registry names another image than the push of ${newest.at.toISOString()}: that of a later push, or of a mirror that is late`,
      request(),
    );
  return as("behind", "no delivery was seen of what its tag names", request());
}

/** The newest nudge may have been for what the tag names, and Deckhouse has taken nothing since. */
function isNudgedFor(newest: Nudge, { status, imageTag }: Override, resolved: Resolved): boolean {
  if (newest.tag !== null && newest.tag !== imageTag) return false; // nobody looks after that nudge any more
  const verdict = verdictOf(status.message);
  // an image that is not valid may have come after a delivery, and the one before it again: once more, by a nudge of our own
  const isOver = verdict === "ok" || (verdict === "refused" && isDelivered(newest));
  const hasDeployed = isOver && Date.parse(status.updatedAt ?? "") > newest.at.getTime() + CLOCKS_DIFFER_MS;
  return (newest.digest === null || isOf(newest.digest, resolved)) && !hasDeployed;
}

/** As a redrive of the push that it was for, whose webhook stays to be seen. */
function repeatOf({ key, nudge, webhook, pushedAt, receivedAt }: Nudge, request: RenewRequest): RenewRequest {
  const times = { pushedAt: pushedAt?.toISOString() ?? null, receivedAt: receivedAt.toISOString() };
  return { ...request, key, nudge: nudge + 1, webhook, ...times };
}

/**
 * The key is the same in every sweep until something happens to the override, and another for every loss: after each nudge, and after each
 * deploy. An error moves `updatedAt` with each look of Deckhouse, so it counts only where all is well.
 */
function requestOf(
  override: Override,
  source: SourceConfig,
  digest: string,
  newest: Nudge | null,
  { cluster, now }: LookContext,
): RenewRequest {
  const { name: module, imageTag: tag, status } = override;
  const image = imageOf(source, module, tag);
  const deployed = verdictOf(status.message) === "ok" ? status.updatedAt : null;
  return {
    v: 1,
    kind: "renew",
    cluster,
    module,
    source: source.name,
    tag,
    digest,
    index: false,
    key: keyFrom([SWEEP, cluster, image, digest, status.imageDigest, deployed, newest?.key, newest?.nudge]),
    nudge: 0,
    webhook: SWEEP,
    image,
    actor: null,
    pushedAt: null,
    receivedAt: now().toISOString(),
    attempt: 0,
    notBefore: null,
    refusedSince: null,
    retries: 0,
    rival: null,
  };
}

function row({ cluster }: Pick<SweepContext, "cluster">, override: Override, state: SweepState, rest: Partial<SweepRow>): SweepRow {
  return { cluster, override, state, source: null, names: null, why: null, request: null, ...rest };
}
