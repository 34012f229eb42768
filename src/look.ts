/** Looks at a cluster without a push: at the start, and from time to time where no sweep does. */
import type { ConsumeContext } from "./consume.ts";
import { LOOK_EVERY_MS } from "./limits.ts";
import { toRelayError } from "./outcome.ts";
import { pause } from "./take.ts";

interface LookContext {
  readonly overrides: Pick<ConsumeContext["overrides"], "probe">;
  readonly circuit: ConsumeContext["circuit"];
}

/**
 * A cluster that cannot be reached, or be verified, is told at start and not with the first push; it keeps nobody else from starting.
 * Another cluster than the configuration means ends a worker. Beside an edge its records wait: pushes for the others must not be lost for it.
 */
export async function lookOnce({ overrides, circuit }: LookContext, isAlone: boolean): Promise<void> {
  try {
    await overrides.probe();
  } catch (thrown) {
    const error = toRelayError(thrown, "CLUSTER_ERROR");
    if (isAlone && error.code === "OTHER_CLUSTER") throw error;
    circuit.open(error);
  }
}

/** Until `signal` is aborted. While the circuit is open whoever works probes. Also what hears of a token that is about to end. */
export async function lookAgain(context: LookContext, signal: AbortSignal, everyMs = LOOK_EVERY_MS): Promise<void> {
  while (!signal.aborted) {
    await pause(signal, everyMs);
    if (!signal.aborted && context.circuit.error === null) await lookOnce(context, false);
  }
}
