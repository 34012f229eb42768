/**
 * Notifications as CNCF Distribution 3.x sends them: one event in each POST, in order, one in flight, without end.
 * https://distribution.github.io/distribution/about/notifications/
 */
import { setTimeout as sleep } from "node:timers/promises";

export interface Notify {
  readonly url: string;
  readonly token: string;
  /** Milliseconds between tries, once the first few failed. Default 1,000. */
  readonly backoffMs?: number;
  /** Gets each body that was taken, as sent. */
  readonly sent?: (body: string) => void;
}
export interface Notifier {
  send(event: object): void;
  /** Waiting events are lost, as they are with Distribution. */
  close(): Promise<void>;
}

const TRIES_AT_ONCE = 3;
const TIMEOUT_MS = 5_000;
const CONTENT_TYPE = "application/vnd.docker.distribution.events.v2+json";

export function startNotifier({ url, token, backoffMs = 1_000, sent }: Notify, log: (line: string) => void): Notifier {
  const closing = new AbortController();
  const waiting: string[] = [];
  let running: Promise<void> | null = null;

  const post = async (body: string): Promise<string | null> => {
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const headers = { "content-type": CONTENT_TYPE, authorization: `Bearer ${token}` };
    try {
      const response = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal });
      await response.arrayBuffer();
      return response.ok ? null : `answered ${response.status}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  // The first event holds all later ones back: that is how the real one does it, and what the relay must live with.
  const deliver = async (body: string) => {
    for (let failures = 0; !closing.signal.aborted;) {
      const failure = await post(body);
      if (failure === null) sent?.(body);
      if (failure === null || closing.signal.aborted) return;
      failures += 1;
      log(`notification to ${url} failed (${failures}): ${failure}`);
      if (failures >= TRIES_AT_ONCE) await sleep(backoffMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
  };
  const run = async () => {
    for (let body = waiting.shift(); body !== undefined && !closing.signal.aborted; body = waiting.shift()) await deliver(body);
    running = null;
  };

  return {
    send(event) {
      waiting.push(JSON.stringify({ events: [event] }));
      running ??= run();
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}
