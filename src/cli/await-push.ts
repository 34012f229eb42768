/** Follows a push at the relay that stored it, until every cluster has an end or the time is over. */
import * as z from "zod";
import { signedPath } from "../pushes.ts";
import type { Proof } from "../sign.ts";
import { isApplied } from "../story.ts";
import { Failure, oneLine, type Terminal } from "./terminal.ts";

export interface PushToAwait {
  /** The webhook that it was sent to: `https://relay.example.com/hooks/NAME`. */
  readonly hook: string;
  readonly key: string;
  /** The sender's proof over a text, as for the delivery. */
  readonly prove: (text: string) => Promise<Proof> | Proof;
  readonly timeoutMs: number;
}
export type Sleep = (ms: number) => Promise<unknown>;

const cluster = z.object({
  cluster: z.string(),
  module: z.string(),
  state: z.enum(["waiting", "done", "failed"]),
  outcome: z.string(),
  at: z.string(),
  why: z.string().nullable(),
});
export type ClusterEnd = z.infer<typeof cluster>;
const answer = z.object({ clusters: z.array(cluster).min(1) });

const LOOK_EVERY_MS = 1_000;
const PATIENCE_MS = 10_000;
/** A journal that answers slowly is written behind the relay's answer: a key may be there a moment later. */
const UNKNOWN_LOOKS = 5;

/**
 * Tells each change on stderr; gives where each cluster ended, or stands when the time is over.
 * Throws Failure where the relay cannot or does not say.
 */
export async function awaitPush(push: PushToAwait, terminal: Terminal, pause: Sleep): Promise<ClusterEnd[]> {
  const told = new Map<string, string>();
  let unknown = 0;
  let trouble = "";
  for (let waited = 0; ; waited += LOOK_EVERY_MS) {
    const looked = await look(push);
    if (looked.kind === "clusters") {
      for (const each of looked.clusters) {
        const text = endText(each);
        if (told.get(each.cluster) !== text) terminal.err(text);
        told.set(each.cluster, text);
      }
      if (looked.clusters.every(({ state }) => state !== "waiting")) return looked.clusters;
    } else if (looked.kind === "unknown" && ++unknown >= UNKNOWN_LOOKS) {
      throw new Failure(
        1,
        `the relay cannot say what became of the push ${push.key}`,
        "it is of an older version, or its configuration has `journal: off`",
      );
    } else if (looked.kind === "refused") {
      throw new Failure(
        1,
        `the relay does not let us ask for the push ${push.key} (401)`,
        "was a token too short-lived for the wait? The push itself is stored",
      );
    } else if (looked.kind === "trouble" && looked.why !== trouble) {
      trouble = looked.why;
      terminal.err(`cannot ask now: ${trouble}`);
    }
    if (waited >= push.timeoutMs) {
      if (looked.kind === "clusters") return looked.clusters;
      throw new Failure(
        1,
        `nobody said in time what became of the push ${push.key}`,
        "the push itself is stored; `mpo-relay history` at the relay knows",
      );
    }
    await pause(LOOK_EVERY_MS);
  }
}

type Looked = { kind: "clusters"; clusters: ClusterEnd[] } | { kind: "unknown" } | { kind: "refused" } | { kind: "trouble"; why: string };

async function look({ hook, key, prove }: PushToAwait): Promise<Looked> {
  const { headers, path } = await prove(signedPath(key));
  const url = `${hook.replace(/\/hooks\/[^/]+$/, "")}${signedPath(key)}${path}`;
  try {
    const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (response.status === 404) return { kind: "unknown" };
    if (response.status === 401) return { kind: "refused" };
    if (response.status !== 200) return { kind: "trouble", why: `the answer is ${response.status}` };
    return { kind: "clusters", clusters: answer.parse(await response.json()).clusters };
  } catch (error) {
    return { kind: "trouble", why: error instanceof z.ZodError ? "the answer is none of a relay" : "no answer" };
  }
}

/** `dev: PICKED_UP`, with the reason where it has one. */
export function endText({ cluster: name, outcome, why }: ClusterEnd): string {
  const meaning = MEANING[outcome];
  return oneLine(`${name}: ${outcome}${meaning === undefined ? "" : `, ${meaning}`}${why === null ? "" : `: ${why}`}`).slice(0, 600);
}
const MEANING: Readonly<Record<string, string>> = {
  QUEUED: "stored, waiting for the cluster's consumer",
  NUDGED: "Deckhouse is told, and has not taken it up yet",
  PICKED_UP: "Deckhouse runs it",
  UNVERIFIED: "nudged; no digest was given that could be compared",
  SUPERSEDED: "a later push took over before this one was seen to run",
  NOT_OVERRIDDEN: "no override of this module there",
  TAG_DIFFERS: "the override there follows another tag",
};

/** What keeps this from being a success: null, or what to tell. */
export function shortfall(ends: readonly ClusterEnd[]): string | null {
  const waiting = ends.filter((end) => isApplied(end) === null);
  const short = ends.filter((end) => isApplied(end) === false);
  const texts = [...short.map(endText), ...waiting.map((each) => `${endText(each)} (the time is over, it goes on)`)];
  return texts.length === 0 ? null : texts.join("\n");
}
