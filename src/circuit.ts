/** One per cluster: while its API server does not answer us, records wait in the queue and one probe asks. */
import { FIRST_PROBE_MS, LAST_PROBE_MS, PROBED_DESPITE_RETRY_AFTER_MS } from "./limits.ts";
import { createNews } from "./news.ts";
import type { Observer } from "./observe.ts";
import { ADVICE, type RelayError } from "./outcome.ts";

export interface Circuit {
  /** The error that opened it; null while it is closed. */
  readonly error: RelayError | null;
  /** Milliseconds until the next probe is due; grows from half a second to half a minute, at least what the server asked for. */
  readonly waitMs: number;
  open(error: RelayError): void;
  /** A run got what it asked for: the next failure is news again. A probe that was answered proves less: its own request may be all that works. */
  succeeded(): void;
  /** One probe: closes the circuit and gives true when the API server answers. */
  probe(): Promise<boolean>;
}

export function createCircuit(
  cluster: string,
  probe: () => Promise<void>,
  observer: Observer,
  toError: (thrown: unknown) => RelayError,
): Circuit {
  let error: RelayError | null = null;
  let failures = 0;
  const news = createNews();
  const tell = (reason: RelayError) => {
    if (news.isNews(reason.code))
      observer.alarm(reason.code, { what: ADVICE[reason.code] ?? reason.message, cluster, why: reason.message });
  };
  return {
    get error() {
      return error;
    },
    get waitMs() {
      const asked = Math.min(PROBED_DESPITE_RETRY_AFTER_MS, (error?.retryAfterSeconds ?? 0) * 1000);
      return Math.max(Math.min(LAST_PROBE_MS, FIRST_PROBE_MS * 2 ** Math.min(10, failures)), asked);
    },
    open(reason) {
      if (error === null && news.told !== null) failures += 1; // closed by a probe, and nothing but the probe went well
      tell(reason);
      error = reason;
    },
    succeeded() {
      failures = 0;
      news.over();
    },
    async probe() {
      if (error === null) return true;
      try {
        await probe();
      } catch (thrown) {
        error = toError(thrown);
        tell(error);
        failures += 1;
        return false;
      }
      observer.outcome({ event: "process", outcome: "CIRCUIT_CLOSED", cluster });
      error = null;
      return true;
    },
  };
}
