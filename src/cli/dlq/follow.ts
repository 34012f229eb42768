/** What became of records that were sent again: by the state of their overrides, and by what comes back as a dead letter. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Override } from "../../cluster/overrides.ts";
import { asFollowed, decode, type RenewRequest } from "../../event.ts";
import { nudgeOf } from "../../nudge.ts";
import { isCovered } from "../../renew.ts";
import { verdictOf } from "../../status.ts";
import { progressOf } from "../follow.ts";
import { messageOf } from "../terminal.ts";
import type { Desk } from "./letters.ts";
import type { Looker } from "./overrides.ts";

/** `before`: the override before the record was sent; null where there was none, or it could not be seen. */
export interface Sent {
  readonly id: string;
  readonly request: RenewRequest;
  readonly before: Override | null;
}

/** `isWell`: nothing is left to do. UNKNOWN: the time was over first. */
export interface Ending {
  readonly id: string;
  readonly outcome: "PICKED_UP" | "JOINED" | "NOT_OVERRIDDEN" | "TAG_DIFFERS" | "REFUSED" | "CAME_BACK" | "UNKNOWN";
  readonly text: string;
  readonly isWell: boolean;
}

export interface Following {
  readonly looker: Pick<Looker, "get">;
  readonly desk: Pick<Desk, "lettersOf">;
  readonly tell: (ending: Ending) => void;
  readonly now: () => Date;
  readonly timeoutMs: number;
  readonly lookEveryMs: number;
  readonly signal: AbortSignal;
}

/** A look at dead letters costs more than one at overrides, and on SQS hides them from others. */
const LETTERS_EVERY = 5;

/** Looks until each has come to its end, the time is over, or `signal` is aborted; what is not known by then is UNKNOWN, with the reason. */
export async function followRedriven(sent: readonly Sent[], following: Following): Promise<Ending[]> {
  const { now, signal, timeoutMs, lookEveryMs, tell } = following;
  const endings: Ending[] = [];
  const started = now().getTime();
  let open = [...sent];
  const why = new Map<Sent, string>();
  const close = (each: Sent, ending: Omit<Ending, "id">) => {
    const closed = { id: each.id, ...ending };
    endings.push(closed);
    if (ending.outcome !== "UNKNOWN") tell(closed);
    open = open.filter((other) => other !== each);
  };
  for (let round = 0; ; round++) {
    const elapsed = now().getTime() - started;
    const isLast = signal.aborted || elapsed >= timeoutMs;
    if (isLast || round % LETTERS_EVERY === LETTERS_EVERY - 1) await backAgain(open, following, close);
    const looks = new Map<string, Promise<Override | null>>();
    for (const each of open) {
      const { cluster, module } = each.request;
      const place = `${cluster}/${module}`;
      const look = looks.get(place) ?? following.looker.get(cluster, module);
      looks.set(place, look);
      try {
        const ending = endingOf(each, await look, elapsed, now());
        if ("outcome" in ending) close(each, ending);
        else why.set(each, ending.waitsFor);
      } catch (error) {
        why.set(each, messageOf(error));
      }
    }
    if (open.length === 0 || isLast) break;
    await sleep(lookEveryMs, undefined, { signal }).catch(() => {});
  }
  for (const each of open) close(each, { outcome: "UNKNOWN", text: why.get(each) ?? "", isWell: false });
  return endings;
}

/** One look. What Deckhouse says counts only once the override bears this record's mark. */
export function endingOf(
  { request, before }: Sent,
  seen: Override | null,
  elapsedMs: number,
  now: Date,
): Omit<Ending, "id"> | { waitsFor: string } {
  if (request.kind === "rescan") return { outcome: "UNKNOWN", text: "a rescan; `mpo-relay history` tells what came of it", isWell: true };
  if (!seen) return { outcome: "NOT_OVERRIDDEN", text: "there is no such override: nothing to renew", isWell: true };
  const isUnread = seen.odd !== null && seen.imageTag === ""; // it will come back
  if (seen.imageTag !== asFollowed(request, seen.imageTag).tag && !isUnread)
    return { outcome: "TAG_DIFFERS", text: `the override follows ${seen.imageTag}: nothing to renew`, isWell: true };
  const newest = nudgeOf(seen);
  if (newest && isCovered(newest, request, now)) return { outcome: "JOINED", text: "a later push's nudge covers this one", isWell: true };
  if (newest?.key !== request.key || newest.nudge < request.nudge)
    return { waitsFor: "not nudged yet; see what waits: `mpo-relay dlq list`" };

  const { status } = seen;
  const knowsDigest = request.digest !== null && !request.index;
  if (request.digest !== null && status.imageDigest === request.digest && verdictOf(status.message) === "ok") {
    return { outcome: "PICKED_UP", text: `runs ${request.digest}`, isWell: true };
  }
  const progress = progressOf(before ?? seen, seen, elapsedMs);
  if (progress.kind === "refused")
    return { outcome: "REFUSED", text: `Deckhouse says: ${progress.message}; ${progress.advice}`, isWell: false };
  if (progress.kind === "picked-up" && !knowsDigest) return { outcome: "PICKED_UP", text: `runs ${progress.digest}`, isWell: true };
  return { waitsFor: `nudged, and Deckhouse still runs ${status.imageDigest ?? "no image"}` };
}

/** A dead letter of the same push, with this nudge or a later one. */
async function backAgain(
  open: readonly Sent[],
  { desk }: Following,
  close: (each: Sent, ending: Omit<Ending, "id">) => void,
): Promise<void> {
  for (const cluster of new Set(open.map(({ request }) => request.cluster))) {
    try {
      await (
        await desk.lettersOf(cluster)
      ).sweep(async ({ id, code, text, body }) => {
        const read = decode(body);
        const back = open.filter(
          ({ request }) => read.kind === "request" && request.key === read.request.key && request.nudge <= read.request.nudge,
        );
        for (const each of back)
          close(each, { outcome: "CAME_BACK", text: `a dead letter again, ${cluster}/${id}: ${code}: ${text}`, isWell: false });
        return "keep";
      });
    } catch {
      // the next look may succeed; at the end it is not known
    }
  }
}
