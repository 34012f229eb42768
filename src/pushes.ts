/** The fourth use case: whoever sent a push asks what became of it, with the credential that it was sent with. */
import { admit, type AdmitContext } from "./admit.ts";
import { KEY } from "./event.ts";
import type { Journal } from "./journal/journal.ts";
import { RelayError } from "./outcome.ts";
import type { DeliveryHeaders } from "./providers/provider.ts";
import { type ClusterStory, isAppliedEverywhere, type PushStory, type StageStory, stateOfAll, storiesOf } from "./story.ts";

/** `GET /pushes/<key>` as it came. */
export interface PushQuestion {
  readonly key: string;
  readonly pathSecret: string | null;
  readonly headers: DeliveryHeaders;
}
export interface PushesContext extends AdmitContext {
  readonly journal: Pick<Journal, "read">;
  readonly now: () => Date;
}

/** What is answered. `coveredBy` is followed: `state`, `outcome`, `at` and `why` are then those of the covering push. */
export interface PushAnswer extends Omit<PushStory, "clusters"> {
  /** Every cluster runs it, or overrides something else; null: not known yet. For scripts. */
  readonly applied: boolean | null;
  readonly clusters: readonly (Omit<ClusterStory, "stages"> & { readonly stages: readonly Omit<StageStory, "detail">[] })[];
}

/** All that there are: a push has some stages in each cluster, and one that is left out may be the one that still waits. */
const MOST_ENTRIES = 1_000_000;
const MOST_COVERS = 20;

/** What a question is signed over, where the webhook's sender signs: it has no body, and a signature is good for one push. */
export const signedPath = (key: string) => `/pushes/${key}`;

/** Throws RelayError UNKNOWN_PUSH (404), AUTH_FAILED, KEYS_UNAVAILABLE, JOURNAL_UNAVAILABLE. */
export async function tellPush({ key, pathSecret, headers }: PushQuestion, context: PushesContext): Promise<PushAnswer> {
  // whose credential is wanted, only the journal knows: a stranger must at least have a key to make it look
  if (!KEY.test(key)) throw new RelayError("UNKNOWN_PUSH", "no such push");
  const [story] = storiesOf(await context.journal.read({ key, limit: MOST_ENTRIES }));
  if (!story || !Object.hasOwn(context.config.webhooks, story.webhook)) throw new RelayError("UNKNOWN_PUSH", "no such push");
  await admit({ webhook: story.webhook, pathSecret, headers, body: Buffer.from(signedPath(key)) }, context, context.now());
  const clusters = await Promise.all(story.clusters.map((each) => followed(key, each, context.journal)));
  return { ...story, applied: isAppliedEverywhere(clusters), state: stateOfAll(clusters), clusters: clusters.map(withoutDetail) };
}

/** What became of the push that covers this one, and of the one that covers that. */
async function followed(key: string, story: ClusterStory, journal: Pick<Journal, "read">): Promise<ClusterStory> {
  let covering = story;
  for (let covers = 0; covering.coveredBy !== null && covering.coveredBy !== key && covers < MOST_COVERS; covers++) {
    const entries = await journal.read({ key: covering.coveredBy, cluster: story.cluster, limit: MOST_ENTRIES });
    const next = storiesOf(entries)[0]?.clusters[0];
    if (!next) break;
    covering = next;
  }
  const { state, outcome, at, why } = covering;
  // covered by another image's push: what runs is that one, and whoever asks wants to know of this one
  if (state === "done" && covering.digest !== story.digest)
    return { ...story, state, outcome: "SUPERSEDED", at, why: `the push ${story.coveredBy} took over: ${outcome}` };
  return { ...story, state, outcome, at, why };
}

function withoutDetail({ stages, ...story }: ClusterStory) {
  return { ...story, stages: stages.map(({ stage, at, last, times }) => ({ stage, at, last, times })) };
}
