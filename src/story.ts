/** What a journal's entries tell: for each push, in each cluster, how far it came and how it ended. Pure. */
import { groupBy } from "./group.ts";
import type { Entry } from "./journal/journal.ts";

/** `waiting`: a record is open. `done`: an end that asks nothing of anybody. `failed`: a person has to look. */
export type State = "waiting" | "done" | "failed";

export type StageStory = Pick<Entry, "stage" | "at" | "last" | "times" | "detail">;
export interface ClusterStory {
  readonly cluster: string;
  readonly module: string;
  readonly digest: string | null;
  readonly state: State;
  /** The latest stage. */
  readonly outcome: string;
  readonly at: string;
  /** Deckhouse's message, the API server's error, an operator's reason (else that of the dead letter), or what else the outcome says. */
  readonly why: string | null;
  /** The push whose nudge covers this one, where the outcome is JOINED: what became of that one became of this one. */
  readonly coveredBy: string | null;
  /** First stage first. */
  readonly stages: readonly StageStory[];
}
export interface PushStory {
  readonly key: string;
  readonly image: string;
  readonly digest: string | null;
  readonly webhook: string;
  readonly actor: string | null;
  readonly pushedAt: string | null;
  readonly receivedAt: string;
  readonly state: State;
  readonly clusters: readonly ClusterStory[];
}

/** By receive time, the latest push first; its clusters by name. */
export function storiesOf(entries: readonly Entry[]): PushStory[] {
  return [...groupBy(entries, ({ key }) => key).values()].map(pushStory).sort((a, b) => b.receivedAt.localeCompare(a.receivedAt));
}

function pushStory(entries: readonly Entry[]): PushStory {
  const clusters = [...groupBy(entries, ({ cluster }) => cluster).values()]
    .map(clusterStory)
    .sort((a, b) => a.cluster.localeCompare(b.cluster));
  const [first] = entries;
  if (!first) throw new Error("a push without an entry");
  const { key, image, digest, webhook, actor, pushedAt, receivedAt } = first;
  return { key, image, digest, webhook, actor, pushedAt, receivedAt, state: stateOfAll(clusters), clusters };
}

/** The worst of them. */
export function stateOfAll(clusters: readonly { readonly state: State }[]): State {
  const has = (state: State) => clusters.some((each) => each.state === state);
  if (has("failed")) return "failed";
  return has("waiting") ? "waiting" : "done";
}

function clusterStory(entries: readonly Entry[]): ClusterStory {
  const stages = entries.toSorted((a, b) => a.last.localeCompare(b.last) || rank(a) - rank(b));
  const latest = stages.at(-1);
  if (!latest) throw new Error("a cluster without an entry");
  const { cluster, module, digest, stage, last, detail } = latest;
  const text = (name: string) => (typeof detail[name] === "string" ? detail[name] : null);
  const followed = text("follows") && `the override follows ${text("follows")}`;
  return {
    cluster,
    module,
    digest,
    state: stateOf(latest),
    outcome: stage,
    at: last,
    why: text("why") ?? text("change") ?? text("message") ?? text("code") ?? followed,
    coveredBy: stage === "JOINED" ? text("coveredBy") : null,
    stages: stages
      .toSorted((a, b) => a.at.localeCompare(b.at) || rank(a) - rank(b))
      .map((entry) => ({ stage: entry.stage, at: entry.at, last: entry.last, times: entry.times, detail: entry.detail })),
  };
}

const DONE = new Set([
  "PICKED_UP",
  "RUNNING",
  "SUPERSEDED",
  "UNVERIFIED",
  "CURRENT",
  "JOINED",
  "NOT_OVERRIDDEN",
  "TAG_DIFFERS",
  "OTHER_SOURCE",
  "REDEPLOYED",
  "ADOPTED",
  "RESTORED",
  "OVERRIDDEN",
  "NO_SOURCE",
  "RESCAN_UNSUPPORTED",
  "RELEASE_DEPLOYED",
  "RELEASE_PENDING",
  "NO_RELEASE",
]);
const FAILED = new Set(["REFUSED", "MODULE_ERROR", "PURGED", "NOT_FORCED", "RESCAN_REFUSED"]);

/** `buried` says that the record became a dead letter. A stage that a newer relay wrote counts as one on the way. */
export function stateOf({ stage, detail }: Pick<Entry, "stage" | "detail">): State {
  if (FAILED.has(stage) || detail["buried"] === true) return "failed";
  return DONE.has(stage) ? "done" : "waiting";
}

const FINE = new Set([
  "PICKED_UP",
  "RUNNING",
  "UNVERIFIED",
  "CURRENT",
  "NOT_OVERRIDDEN",
  "TAG_DIFFERS",
  "OTHER_SOURCE",
  "OVERRIDDEN",
  "NO_SOURCE",
  "RELEASE_DEPLOYED",
  "NO_RELEASE",
]);

/**
 * True: the cluster runs it, as far as anybody can tell, or has no override that wants it. null: not known yet.
 * False also where a later push took over before this one was seen to run: whoever tests what they pushed must know.
 */
export function isApplied({ state, outcome }: Pick<ClusterStory, "state" | "outcome">): boolean | null {
  return state === "waiting" ? null : state === "done" && FINE.has(outcome);
}

/** The same for all of them. */
export function isAppliedEverywhere(clusters: readonly Pick<ClusterStory, "state" | "outcome">[]): boolean | null {
  const each = clusters.map(isApplied);
  return each.includes(false) ? false : each.includes(null) ? null : true;
}

/** Became a dead letter, and is one until somebody sends it again or removes it. */
export const isBuried = ({ stages, outcome }: ClusterStory): boolean =>
  stages.some(({ stage, detail }) => stage === outcome && detail["buried"] === true);

const MENDS = new Set(["PICKED_UP", "RUNNING", "CURRENT", "REDEPLOYED"]);

/** Those that a person still has to look at: they failed, and since then no other push of the same tag was seen to run where they did. */
export function failedOf(stories: readonly PushStory[]): PushStory[] {
  const placeOf = ({ image }: PushStory, { cluster, module }: ClusterStory) => JSON.stringify([cluster, module, image.split(":").at(-1)]);
  const runsSince = new Map<string, string>();
  for (const push of stories)
    for (const each of push.clusters) {
      const place = placeOf(push, each);
      if (MENDS.has(each.outcome) && each.at > (runsSince.get(place) ?? "")) runsSince.set(place, each.at);
    }
  return stories.filter((push) =>
    push.clusters.some((each) => each.state === "failed" && (isBuried(each) || each.at > (runsSince.get(placeOf(push, each)) ?? ""))),
  );
}

/** Of stages within one millisecond, the first is that of the edge and the last is an end. */
function rank(entry: Entry): number {
  if (entry.stage === "QUEUED") return 0;
  return stateOf(entry) === "waiting" ? 1 : 2;
}
