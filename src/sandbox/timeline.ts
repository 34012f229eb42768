/** Follows each push through the relay by the lines that the relay tells its observers, and counts the milliseconds since the push. */
import * as z from "zod";
import type { AlarmLine, Observer, OutcomeLine } from "../observe.ts";

/** What became of a push. Times are in ms since the sender's own time of the push; those that are not known yet are left out. */
export interface PushNews {
  readonly event: "push";
  /** QUEUED, NUDGED, PICKED_UP; where it goes another way, that outcome (see outcome.ts). */
  readonly outcome: string;
  readonly key: string | null;
  readonly image: string;
  readonly digest: string | null;
  readonly receivedMs?: number;
  readonly queuedMs?: number;
  readonly nudgedMs?: number;
  readonly pickedUpMs?: number;
  /** What the same would have cost with polling every 15 s: ms since the push, on average and at most. */
  readonly polling?: { readonly meanMs: number; readonly maxMs: number };
  readonly why?: string;
}
export interface AlarmNews {
  readonly event: "alarm";
  readonly alarm: string;
  readonly what: string;
  readonly why?: string;
}

const POLL_MS = 15_000;
const KEPT = 1_000;
/** Steps on the way that a person need not see. */
const QUIET = new Set(["REPEATED", "NOT_A_PUSH", "NO_TAG"]);

const text = z.string().nullish().catch(null);
const at = z.iso.datetime().transform(Date.parse).optional().catch(undefined);
const lineSchema = z.object({
  kind: text,
  image: text,
  digest: text,
  why: text,
  hint: text,
  message: text,
  repository: text,
  tag: text,
  pushedAt: at,
  receivedAt: at,
  queuedAt: at,
  patchedAt: at,
  pickedUpAt: at,
});

interface Times {
  pushed: number;
  received?: number | undefined;
  queued?: number | undefined;
  nudged?: number | undefined;
  pickedUp?: number | undefined;
}

/** An observer that tells `news` of each push's next step, once per step. */
export function timeline(news: (news: PushNews | AlarmNews) => void): Observer {
  const pushes = new Map<string, { times: Times; told: Set<string> }>();

  const pushOf = (key: string, pushed: number) => {
    const known = pushes.get(key) ?? { times: { pushed }, told: new Set<string>() };
    pushes.set(key, known);
    for (const oldest of pushes.keys()) if (pushes.size > KEPT) pushes.delete(oldest);
    return known;
  };

  return {
    outcome({ event, outcome, key, ...fields }: OutcomeLine) {
      const line = lineSchema.parse(fields);
      const image = line.image ?? (line.repository == null ? null : `${line.repository}:${line.tag ?? ""}`);
      const isLook = outcome === "DEFERRED" && line.kind !== "renew"; // the next look is no news, a nudge that has to wait is
      if (event === "process" || image === null || isLook || QUIET.has(outcome)) return;
      const why = line.why ?? line.hint ?? line.message;
      const base = {
        event: "push",
        outcome,
        key: key ?? null,
        image,
        digest: line.digest ?? null,
        ...(why == null ? {} : { why }),
      } as const;
      if (key === undefined) return news(base);
      const { times, told } = pushOf(key, line.pushedAt ?? line.receivedAt ?? Date.now());
      times.received ??= line.receivedAt;
      times.queued ??= line.queuedAt;
      times.nudged ??= line.patchedAt;
      times.pickedUp ??= line.pickedUpAt;
      const step = `${outcome} ${why ?? ""}`;
      if (told.has(step)) return; // a redelivery, or a record that came twice
      told.add(step);
      news({ ...base, ...since(times) });
    },
    alarm(code: string, { what, ...fields }: AlarmLine) {
      const { why } = lineSchema.parse(fields);
      news({ event: "alarm", alarm: code, what, ...(why == null ? {} : { why }) });
    },
  };
}

/** Polling starts the same work later: half an interval on average, a whole one at most. */
function since({ pushed, received, queued, nudged, pickedUp }: Times): Partial<PushNews> {
  const after = (time: number) => Math.max(0, time - pushed);
  const work = pickedUp === undefined || nudged === undefined ? null : pickedUp - nudged;
  return {
    ...(received === undefined ? {} : { receivedMs: after(received) }),
    ...(queued === undefined ? {} : { queuedMs: after(queued) }),
    ...(nudged === undefined ? {} : { nudgedMs: after(nudged) }),
    ...(pickedUp === undefined ? {} : { pickedUpMs: after(pickedUp) }),
    ...(work === null ? {} : { polling: { meanMs: POLL_MS / 2 + work, maxMs: POLL_MS + work } }),
  };
}
