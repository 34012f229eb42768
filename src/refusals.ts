/**
 * The part of the log that callers can make grow who never proved who they are: so many lines of each kind a minute in full, and of the
 * rest one line with their number. Only the log: what counts lines stands beside this and hears each of them.
 */
import type { AlarmLine, Observer, OutcomeLine } from "./observe.ts";
import type { AlarmCode, ErrorCode } from "./outcome.ts";

const WINDOW_MS = 60_000;
/** Enough to see who it is; 30 refused calls a minute from one address are answered 401 (src/relay.ts). */
const TOLD_IN_FULL = 10;
/** Ends of a call before, or instead of, its sender's proof. */
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  "UNKNOWN_WEBHOOK",
  "METHOD",
  "AUTH_FAILED",
  "TOO_LARGE",
  "NO_MEMORY",
  "CUT_OFF",
  "KEYS_UNAVAILABLE",
  "INTERNAL",
]);

export interface BoundLog {
  readonly observer: Observer;
  /** Tells what is still to be told. */
  close(): void;
}

/** `log` hears all other lines as they are. A kind is a code at a webhook; alarms are bound where they name one (a name that nobody configured is null). */
export function boundRefusals(log: Observer, windowMs = WINDOW_MS): BoundLog {
  const kinds = new Map<string, { count: number; tell: (more: number) => void }>();
  let timer: NodeJS.Timeout | null = null;
  const close = () => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    for (const { count, tell } of kinds.values()) if (count > TOLD_IN_FULL) tell(count - TOLD_IN_FULL);
    kinds.clear();
  };
  const isOneMore = (kind: string, tell: (more: number) => void): boolean => {
    timer ??= setTimeout(close, windowMs).unref();
    const seen = kinds.get(kind) ?? { count: 0, tell };
    seen.count += 1;
    kinds.set(kind, seen);
    return seen.count > TOLD_IN_FULL;
  };
  return {
    close,
    observer: {
      outcome(line: OutcomeLine) {
        const { event, outcome, webhook = null } = line;
        const isBound = event === "delivery" && REFUSALS.has(outcome);
        const sum = (more: number) => log.outcome({ event, outcome, webhook, more });
        if (!isBound || !isOneMore(JSON.stringify([outcome, webhook]), sum)) log.outcome(line);
      },
      alarm(code: AlarmCode, line: AlarmLine) {
        const { what, webhook } = line;
        const sum = (more: number) => log.alarm(code, { what, webhook, more });
        if (webhook === undefined || !isOneMore(JSON.stringify(["alarm", code, webhook]), sum)) log.alarm(code, line);
      },
    },
  };
}
