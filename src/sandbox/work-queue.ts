/**
 * A controller's work queue for one worker: each name waits in it once, and a name that comes while it is worked on comes again.
 * https://pkg.go.dev/k8s.io/client-go/util/workqueue
 */
const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 10_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class WorkQueue {
  readonly #waiting = new Set<string>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #failures = new Map<string, number>();
  readonly #signal: AbortSignal;
  #wake: () => void = () => undefined;

  /** With the signal, `next` gives null and every timer ends. */
  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => {
      for (const timer of this.#timers.values()) clearTimeout(timer);
      this.#wake();
    });
  }

  add(name: string): void {
    this.#waiting.add(name);
    this.#wake();
  }

  /** Adds the name later; a later call takes the place of an earlier one. */
  addAfter(name: string, ms: number): void {
    if (this.#signal.aborted) return;
    clearTimeout(this.#timers.get(name));
    this.#timers.set(
      name,
      setTimeout(() => this.add(name), Math.min(ms, LONGEST_TIMER_MS)),
    );
  }

  /** Milliseconds to wait before the next try: twice as long with every failure. */
  backoff(name: string): number {
    const failures = this.#failures.get(name) ?? 0;
    this.#failures.set(name, failures + 1);
    return Math.min(FIRST_BACKOFF_MS * 2 ** failures, LAST_BACKOFF_MS);
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
