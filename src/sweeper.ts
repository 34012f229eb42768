/** Sweeps again and again: what is behind goes into the cluster's own queue, and what each sweep saw is told, trouble until it is over. */
import type { Override } from "./cluster/overrides.ts";
import type { ConsumeContext } from "./consume.ts";
import type { RelayConfig, SourceConfig } from "./config.ts";
import { encode, SWEEP } from "./event.ts";
import { entryOf } from "./journal/journal.ts";
import { NEWLY_TAGGED_MS, SILENT_AFTER_MS, SILENT_NAMED, SWEEP_AGAIN_MS, SWEEP_GAP_MS, SWEEP_GRACE_MS, SWEEP_TICK_MS } from "./limits.ts";
import { createNews, type News } from "./news.ts";
import type { Observer } from "./observe.ts";
import { oddText } from "./odd.ts";
import { ADVICE, type RelayError, SWEEP_STATES, toRelayError, TREATMENT } from "./outcome.ts";
import { type Hearing, hearingsOf, type Patience } from "./silence.ts";
import { sweep, type SweepContext, type SweepRow, type Swept, type Trouble } from "./sweep.ts";
import { pause } from "./take.ts";

export interface SweeperContext extends SweepContext, Pick<ConsumeContext, "circuit" | "observer" | "send" | "note"> {
  /** Between two sweeps; shorter ones wait less for a delivery, too. */
  readonly everyMs: number;
  readonly tellTroubles: (swept: Swept) => void;
  /** Is told of every source's webhook after each look at the overrides. */
  readonly hear?: (overrides: readonly Override[], hearings: readonly Hearing[]) => Promise<void>;
}
export interface Sweeper {
  /** One sweep. Gives how many overrides it queued. Never throws. */
  sweep(signal?: AbortSignal): Promise<number>;
  /** Looks without asking any registry whether a webhook is silent. Never throws. */
  listen(): Promise<void>;
}

/** How long a delivery of what a sweep saw may take: to be nudged by it, and to count as told at all. */
export const patienceOf = (everyMs: number): Patience & { readonly graceMs: number } => ({
  graceMs: Math.min(SWEEP_GRACE_MS, everyMs * 0.15),
  silentAfterMs: Math.min(SILENT_AFTER_MS, everyMs * 0.4),
  newlyTaggedMs: Math.min(NEWLY_TAGGED_MS, everyMs),
});

export function createSweeper(context: SweeperContext): Sweeper {
  const { cluster, sources, observer, now } = context;
  const { graceMs, ...patience } = patienceOf(context.everyMs);
  /** Key → when. A record waits in the queue as long as it must, while the override is seen behind again and again. */
  const queued = new Map<string, number>();
  const missed = new Set<string>();
  /** Since its latest missed push, of which the marks may know nothing any more: the next image by Deckhouse's own scan is no delivery. */
  const silent = new Map<SourceConfig, Date>();
  /** Of overrides that cannot be read. */
  let odd: ReadonlyMap<string, News> = new Map();
  const behindFor = createWaits();
  const trouble = createNews(() => now().getTime());

  const failed = (thrown: unknown) => {
    const error = toRelayError(thrown, "CLUSTER_ERROR");
    if (TREATMENT[error.code] === "circuit") context.circuit.open(error);
    else if (trouble.isNews(error.code)) observer.alarm(error.code, { what: adviceOn(error), cluster, why: error.message });
  };

  async function store(rows: readonly SweepRow[]): Promise<number> {
    const at = now().getTime();
    const requests = rows.flatMap(({ request }) => (request ? [request] : []));
    const fresh = requests.filter(({ key, nudge }) => !((queued.get(`${key}.${nudge}`) ?? 0) > at - SWEEP_AGAIN_MS));
    if (fresh.length > 0) await context.send(fresh.map((request) => ({ body: encode(request), delaySeconds: graceMs / 1000 })));
    for (const [key, since] of queued) if (since <= at - SWEEP_AGAIN_MS) queued.delete(key);
    for (const { key, nudge } of fresh) queued.set(`${key}.${nudge}`, at);
    return fresh.length;
  }

  function tellOdd(overrides: readonly Override[]): void {
    const broken = overrides.flatMap((override) => (override.odd === null ? [] : [{ override, why: override.odd }]));
    odd = new Map(broken.map(({ override: { name } }) => [name, odd.get(name) ?? createNews(() => now().getTime())]));
    for (const { override, why } of broken)
      if (odd.get(override.name)?.isNews(why))
        observer.alarm("INVALID", { what: ADVICE.INVALID ?? "", cluster, module: override.name, why: oddText(override) });
  }

  async function hear(overrides: readonly Override[]): Promise<void> {
    tellOdd(overrides);
    const hearings = hearingsOf(overrides, cluster, sources, now(), patience);
    for (const hearing of hearings) {
      const { source, heardAt } = hearing;
      const news = hearing.missed.filter(({ nudge }) => !missed.has(nudge.key));
      for (const { nudge } of news) missed.add(nudge.key);
      if (news.length > 0) {
        observer.alarm("WEBHOOK_SILENT", { what: ADVICE.WEBHOOK_SILENT ?? "", cluster, ...silenceOf(hearing, news) });
        await context.note?.(news.map((each) => entryAbout(each, source, cluster)));
      }
      const [latest] = hearing.missed;
      const since = silent.get(source);
      if (latest) silent.set(source, latest.nudge.at);
      else if (since && heardAt && heardAt > since && silent.delete(source))
        observer.outcome({ event: "process", outcome: "WEBHOOK_HEARD", cluster, source: nameOf(source) });
    }
    await context.hear?.(overrides, hearings);
  }

  return {
    async sweep(signal) {
      const started = now().getTime();
      try {
        const swept = await sweep(context, signal && { signal });
        const count = await store(swept.rows);
        observer.outcome({
          event: "process",
          outcome: "SWEPT",
          cluster,
          ...countsOf(swept.rows),
          behindSeconds: behindFor(swept.rows, started),
          queued: count,
          ms: now().getTime() - started,
        });
        trouble.over();
        context.tellTroubles(swept);
        await hear(swept.rows.map(({ override }) => override));
        return count;
      } catch (thrown) {
        failed(thrown);
        return 0;
      }
    },
    async listen() {
      try {
        await hear(await context.overrides.list());
      } catch (thrown) {
        failed(thrown);
      }
    },
  };
}

/** At once, then every `everyMs` from start to start, and after any gap in which it could not; until `signal` is aborted. */
export async function sweepAgain(
  sweeper: Sweeper,
  { everyMs, now, circuit }: Pick<SweeperContext, "everyMs" | "now" | "circuit">,
  signal: AbortSignal,
  tickMs = SWEEP_TICK_MS,
): Promise<void> {
  const { silentAfterMs } = patienceOf(everyMs);
  const time = () => now().getTime();
  let sweptAt = -Infinity;
  let listenAt = Infinity;
  let wellAt = time();
  while (!signal.aborted) {
    const at = time();
    if (circuit.error === null) {
      if (Math.abs(at - sweptAt) >= everyMs || at - wellAt >= SWEEP_GAP_MS) {
        sweptAt = at;
        listenAt = (await sweeper.sweep(signal)) > 0 ? at + 1.1 * silentAfterMs : Infinity;
      } else if (at >= listenAt) {
        listenAt = Infinity;
        await sweeper.listen();
      }
      wellAt = time();
    }
    const due = Math.min(sweptAt + everyMs, listenAt) - time();
    await pause(signal, Math.min(tickMs, Math.max(100, circuit.error === null ? due : Infinity)));
  }
}

/** Where the registry of a source falls silent, says something else, or answers again, however many clusters and overrides ask it. */
export function createTroubleNews(observer: Observer): (swept: Swept) => void {
  const known = new Map<SourceConfig, News>();
  return ({ rows, troubles }) => {
    for (const { source, why } of troubles) {
      const news = known.get(source) ?? createNews();
      known.set(source, news);
      if (news.isNews(why))
        observer.alarm("REGISTRY_UNAVAILABLE", { what: ADVICE.REGISTRY_UNAVAILABLE ?? "", source: nameOf(source), why });
    }
    for (const source of known.keys()) {
      if (isInTrouble(source, troubles) || !rows.some((row) => row.source === source && row.names !== null)) continue;
      known.delete(source);
      observer.outcome({ event: "process", outcome: "REGISTRY_ANSWERS", source: nameOf(source) });
    }
  };
}

const isInTrouble = (source: SourceConfig, troubles: readonly Trouble[]) => troubles.some((trouble) => trouble.source === source);
export const nameOf = ({ name, repo }: SourceConfig) => name ?? repo;

/** Whose registries a sweep of the cluster can ask. */
export const sweptSources = ({ sources }: Pick<RelayConfig, "sources">, cluster: string) =>
  sources.filter(({ registry, clusters }) => registry !== null && clusters.includes(cluster));

/** Since when, in seconds, the override that is behind for longest waits for what its tag names; 0: none is. Another image begins anew. */
function createWaits(): (rows: readonly SweepRow[], at: number) => number {
  let known = new Map<string, { readonly names: string | null; readonly since: number }>();
  return (rows, at) => {
    const next: typeof known = new Map();
    for (const { override, state, names } of rows) {
      const before = known.get(override.name);
      if (state === "behind") next.set(override.name, before?.names === names ? before : { names, since: at });
      else if (state === "unknown" && before) next.set(override.name, before); // nobody can tell, so it is not over
    }
    known = next;
    return Math.max(0, ...[...known.values()].map(({ since }) => (at - since) / 1000));
  };
}

/** How many overrides are in each state. */
export function countsOf(rows: readonly SweepRow[]): Record<string, number> {
  const counts: Record<string, number> = { overrides: rows.length };
  for (const state of SWEEP_STATES) counts[state] = rows.filter((row) => row.state === state).length;
  return counts;
}

function silenceOf({ source, heardAt }: Pick<Hearing, "source" | "heardAt">, news: Hearing["missed"]) {
  const names = news.slice(0, SILENT_NAMED).map(({ override }) => override.name);
  const more = news.length - names.length;
  return {
    source: nameOf(source),
    modules: `${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`,
    heardAt: heardAt?.toISOString() ?? null,
    key: news[0]?.nudge.key ?? "",
  };
}

function entryAbout({ override, nudge }: Hearing["missed"][number], source: SourceConfig, cluster: string) {
  const { name: module, imageTag: tag } = override;
  const push = {
    key: nudge.key,
    cluster,
    module,
    tag,
    digest: nudge.digest,
    image: `${source.repo}/${module}:${tag}`,
    webhook: SWEEP,
    actor: null,
    pushedAt: null,
    receivedAt: nudge.receivedAt.toISOString(),
  };
  // as of its nudge: what became of it afterwards is the end of its story
  return entryOf(push, "WEBHOOK_SILENT", nudge.at.toISOString(), {
    source: nameOf(source),
    nudge: nudge.nudge,
    why: "no webhook told of this push",
  });
}

function adviceOn({ code, message }: RelayError): string {
  if (code === "FORBIDDEN")
    return "the sweep may not list the overrides, so a silent webhook is noticed by nobody. Apply infra/cluster/base anew (the verb `list` on modulepulloverrides), or write tuning.sweep: off";
  return ADVICE[code] ?? message;
}
