/**
 * Numbers that somebody has to be asked for: how much waits, and since when. Asked only when somebody scrapes, seldom, and once however
 * many scrape; whoever is slow or away keeps no scrape waiting.
 */
import type { RelayError } from "../outcome.ts";
import { within } from "../patience.ts";
import type { DeadLetters, Queue } from "../queue/queue.ts";
import type { Meters } from "./prometheus.ts";

/** A scrape waits no longer; Prometheus waits for 10 s as it comes. */
const PATIENCE_MS = 1_000;
/** An answer serves all scrapes for so long: SQS counts each question, and an embedded queue counts its records beside its writes. */
const FRESH_MS = 15_000;
/** From then on an answer is worse than none: its series go. */
const STALE_MS = 60_000;

export interface Readings {
  queue(cluster: string, queue: Pick<Queue, "depth">): void;
  /** `cluster`: or `unparsed`, as `mpo-relay dlq --cluster` calls it. */
  deadLetters(cluster: string, letters: Pick<DeadLetters, "count">): void;
  circuit(cluster: string, circuit: { readonly error: RelayError | null }): void;
  /** Puts into the meters what is known. Never throws. */
  read(): Promise<void>;
}

export function createReadings({ set }: Pick<Meters, "set">, now: () => number = Date.now, patienceMs = PATIENCE_MS): Readings {
  const reads: (() => Promise<void>)[] = [];
  const asked = <T>(ask: () => Promise<T>, tell: (answer: T | null) => void) => reads.push(createReading(ask, tell, now, patienceMs));
  return {
    queue(cluster, queue) {
      asked(
        () => queue.depth(),
        (depth) => {
          set("queueRecords", { cluster }, depth?.records ?? null);
          set("queueOldest", { cluster }, depth?.records === 0 ? 0 : (depth?.oldestSeconds ?? null));
        },
      );
    },
    deadLetters(cluster, letters) {
      asked(
        () => letters.count(),
        (count) => set("deadLetters", { cluster }, count),
      );
    },
    circuit(cluster, circuit) {
      reads.push(async () => set("circuitOpen", { cluster }, circuit.error === null ? 0 : 1));
    },
    async read() {
      await Promise.all(reads.map((read) => read()));
    },
  };
}

/** A question that goes on behind a scrape is not asked again beside itself; its answer is there for the next scrape. */
function createReading<T>(ask: () => Promise<T>, tell: (answer: T | null) => void, now: () => number, patienceMs: number) {
  let running: Promise<void> | null = null;
  let askedAt = -Infinity;
  let answeredAt = -Infinity;
  const answer = async () => {
    try {
      tell(await ask());
      answeredAt = now();
    } catch {
      // whoever uses the queue tells; here the series goes when its last answer is stale
    } finally {
      running = null;
    }
  };
  return async () => {
    if (running === null && now() - askedAt >= FRESH_MS) {
      askedAt = now();
      running = answer();
    }
    if (running) await within(patienceMs, running, "QUEUE_UNAVAILABLE").catch(() => {});
    if (now() - answeredAt >= STALE_MS) tell(null);
  };
}
