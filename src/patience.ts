/** How long we wait for what may not answer. */
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorCode, RelayError } from "./outcome.ts";

/** What `work` resolves to; after `ms` a RelayError of that code, while the work goes on behind it. */
export async function within<T>(ms: number, work: Promise<T>, code: ErrorCode): Promise<T> {
  const patience = new AbortController();
  const late = sleep(ms, undefined, { signal: patience.signal, ref: false }).then(() => {
    throw new RelayError(code, `no answer within ${ms} ms`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    patience.abort();
    late.catch(() => {});
  }
}
