/** Dead letters that the queue service is about to delete: SQS keeps nothing for longer than 14 days. An embedded queue keeps them for good. */
import type { Observer } from "./observe.ts";
import { toRelayError } from "./outcome.ts";
import type { DeadLetters } from "./queue/queue.ts";
import { type Reason, tally, whatToDo } from "./reasons.ts";
import { pause } from "./take.ts";

const DAY_MS = 24 * 3600 * 1000;
const SOON_MS = 2 * DAY_MS;
const EVERY_MS = 3600 * 1000;
/** Ten to a call: so many are a thousand calls an hour, and more would tell nothing else. */
const MOST = 10_000;

export interface Watched {
  /** Cluster name, or `unparsed`: what `mpo-relay dlq --cluster` calls it. */
  readonly place: string;
  readonly letters: Pick<DeadLetters, "count" | "sweep">;
  readonly observer: Observer;
}

/** Looks at once and every hour, until `signal` is aborted. */
export async function watchExpiry(watched: Watched, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await tellExpiring(watched, new Date(), signal);
    await pause(signal, EVERY_MS);
  }
}

/** One alarm DEAD_LETTERS_EXPIRE for each reason of which a letter is deleted within two days. A look that fails is told, and is no alarm. */
export async function tellExpiring({ place, letters, observer }: Watched, now: Date, signal?: AbortSignal): Promise<void> {
  const reasons = new Map<string, Reason>();
  try {
    if ((await letters.count()) === 0) return;
    let looked = 0;
    await letters.sweep(async (letter) => {
      if (letter.expiresAt === null || signal?.aborted) return "stop"; // what holds for one letter of a queue holds for all of them
      if (Date.parse(letter.expiresAt) - now.getTime() <= SOON_MS) tally(reasons, letter);
      looked += 1;
      return looked === MOST ? "stop" : "keep";
    });
  } catch (thrown) {
    observer.outcome({ event: "process", outcome: "EXPIRY_UNKNOWN", cluster: place, why: toRelayError(thrown).message });
  }
  for (const { code, count, oldestAt, expiresAt } of reasons.values()) {
    observer.alarm("DEAD_LETTERS_EXPIRE", {
      what: `the queue service deletes them soon. Keep them: \`mpo-relay dlq export --cluster ${place} --code ${code}\`. ${whatToDo(code)}`,
      cluster: place,
      reason: code,
      count,
      oldestAt,
      expiresAt,
    });
  }
}
