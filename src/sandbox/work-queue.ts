/**
 * A controller's work queue for one worker: each name waits in it once, and a name that comes while it is worked on comes again.
 * https://pkg.go.dev/k8s.io/client-go/util/workqueue
 */
const LAST_BACKOFF_MS = 1_000_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class WorkQueue {
  readonly #waiting = new Set<string>();
  readonly #timers = new Map<string, { readonly timer: NodeJS.Timeout; readonly at: number }>();
  readonly #failures = new Map<string, number>();
  readonly #signal: AbortSignal;
  readonly #options: { readonly firstBackoffMs: number; readonly speed: number };
  #wake: () => void = () => undefined;

  /** With the signal, `next` gives null and every timer ends. `speed` 100: what is due in a minute comes after 0.6 s. */
  constructor(signal: AbortSignal, options: { readonly firstBackoffMs: number; readonly speed: number }) {
    this.#signal = signal;
    this.#options = options;
    signal.addEventListener("abort", () => {
      for (const { timer } of this.#timers.values()) clearTimeout(timer);
      this.#wake();
    });
  }

  add(name: string): void {
    this.#waiting.add(name);
    this.#wake();
  }

  /** Adds the name later; of several times the earliest counts. */
  addAfter(name: string, ms: number): void {
    if (this.#signal.aborted) return;
    const wait = Math.min(ms / this.#options.speed, LONGEST_TIMER_MS);
    const at = performance.now() + wait;
    const waiting = this.#timers.get(name);
    if (waiting !== undefined && waiting.at <= at) return;
    clearTimeout(waiting?.timer);
    const due = () => {
      this.#timers.delete(name);
      this.add(name);
    };
    this.#timers.set(name, { timer: setTimeout(due, wait), at });
  }

  /** Milliseconds to wait before the next try: twice as long with every failure. */
  backoff(name: string): number {
    const failures = this.#failures.get(name) ?? 0;
    this.#failures.set(name, failures + 1);
    return Math.min(this.#options.firstBackoffMs * 2 ** failures, LAST_BACKOFF_MS);
  }

  forget(name: string): void {
    this.#failures.delete(name);
  }

  /** The name that waited longest. */
  async next(): Promise<string | null> {
    for (;;) {
      if (this.#signal.aborted) return null;
      for (const name of this.#waiting) {
        this.#waiting.delete(name);
        return name;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
