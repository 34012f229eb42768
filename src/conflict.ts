/** What is decided by what was read, and written only if nobody wrote meanwhile. */
import { CONFLICT_TRIES } from "./limits.ts";
import { RelayError } from "./outcome.ts";

/**
 * Reads, decides and writes anew where somebody else wrote meanwhile. After {@link CONFLICT_TRIES} of them throws the last CONFLICT, or one
 * that says of `what` how often it changed; anything else at once.
 */
export async function unlessChanged<T>(work: () => Promise<T>, what?: string): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RelayError) || error.code !== "CONFLICT") throw error;
      if (tries < CONFLICT_TRIES) continue;
      throw what === undefined ? error : new RelayError("CONFLICT", `${what} changed ${tries} times while it was being patched`);
    }
  }
}
