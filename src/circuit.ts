/** One per cluster: while its API server does not answer us, records wait in the queue and one probe asks. */
import type { Observer } from "./observe.ts";
import { ADVICE, type RelayError } from "./outcome.ts";

const FIRST_PROBE_MS = 500;
const LAST_PROBE_MS = 30_000;

export interface Circuit {
  /** The error that opened it; null while it is closed. */
  readonly error: RelayError | null;
  /** Milliseconds until the next probe is due; grows from half a second to half a minute, at least what the server asked for. */
  readonly waitMs: number;
  open(error: RelayError): void;
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
  return {
    get error() {
      return error;
    },
    get waitMs() {
      return Math.max(Math.min(LAST_PROBE_MS, FIRST_PROBE_MS * 2 ** Math.min(10, failures)), (error?.retryAfterSeconds ?? 0) * 1000);
    },
    open(reason) {
      if (error === null) observer.alarm(reason.code, { what: ADVICE[reason.code] ?? reason.message, cluster, why: reason.message });
      error = reason;
    },
    async probe() {
      if (error === null) return true;
      try {
        await probe();
      } catch (thrown) {
        error = toError(thrown);
        failures += 1;
        return false;
      }
      observer.outcome({ event: "process", outcome: "CIRCUIT_CLOSED", cluster });
      error = null;
      failures = 0;
      return true;
    },
  };
}
