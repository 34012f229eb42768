/** Wakes those who wait for a record. Counts its rings, so that one between looking and falling asleep is not missed. */
export class Bell {
  #rings = 0;
  readonly #sleepers = new Set<() => void>();

  get rings(): number {
    return this.#rings;
  }

  ring(): void {
    this.#rings++;
    for (const wake of this.#sleepers) wake();
  }

  /** Resolves at the first ring after ring number `since`, at the instant `until` (ms), or when `signal` is aborted. */
  sleep(since: number, until: number, signal?: AbortSignal): Promise<void> {
    if (this.#rings !== since || signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", wake);
        this.#sleepers.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, Math.min(Math.max(0, until - Date.now()), LONGEST_TIMER_MS));
      signal?.addEventListener("abort", wake);
      this.#sleepers.add(wake);
    });
  }
}

/** setTimeout takes no more: https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
