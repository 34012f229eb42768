/**
 * Owns time in a schedule: a queue of events, each at its virtual millisecond. Real code waits in promises that only an event
 * resolves, and before the next event it has run as far as it can: so one seed gives one order of everything.
 */
interface Event {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

export class Timeline {
  /** Virtual milliseconds since the schedule began. */
  now = 0;
  #order = 0;
  #awake = false;
  readonly #heap: Event[] = [];

  at(delayMs: number, action: () => void): void {
    this.#push({ at: this.now + Math.max(0, delayMs), order: this.#order++, action });
  }

  /** For an action that starts or continues asynchronous code: the next event waits until that code waits. */
  wake(action: () => void): void {
    this.#awake = true;
    action();
  }

  /** Plays until nothing is left to happen; false: it did not come to rest within so many events. */
  async play(maxEvents: number): Promise<boolean> {
    for (let played = 0; played < maxEvents; played++) {
      const event = this.#pop();
      if (!event) return true;
      this.now = event.at;
      event.action();
      if (this.#awake) await new Promise(setImmediate); // every microtask runs before it
      this.#awake = false;
    }
    return false;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#swapped(parent, index)) return;
      index = parent;
    }
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    heap[0] = last;
    for (let index = 0; ;) {
      const left = 2 * index + 1;
      const child = this.#isLater(left, left + 1) ? left + 1 : left;
      if (!this.#swapped(index, child)) return first;
      index = child;
    }
  }

  #swapped(parent: number, child: number): boolean {
    const heap = this.#heap;
    const [above, below] = [heap[parent], heap[child]];
    if (!above || !below || !this.#isLater(parent, child)) return false;
    heap[parent] = below;
    heap[child] = above;
    return true;
  }

  #isLater(one: number, other: number): boolean {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    return a !== undefined && b !== undefined && (a.at > b.at || (a.at === b.at && a.order > b.order));
  }
}
