/** The queue port with what real queues do to a consumer: delays, visibility, doubles, no order, lost deletes, refusals in mid work. */
import { RelayError } from "../../src/outcome.ts";
import type { DeadLetter, NewDeadLetter, NewRecord, Queue, QueueRecord } from "../../src/queue/queue.ts";
import { dateOf, type Process, SECOND, type World } from "./world.ts";

interface Stored {
  readonly id: string;
  readonly body: string;
  readonly sentAt: string;
  visibleAt: number;
  receives: number;
  receipt: string;
}

export interface QueueProfile {
  readonly visibilityMs: number;
  /** An outdated receipt deletes nothing (the embedded queue), or the record all the same (SQS, mostly). */
  readonly strictReceipts: boolean;
}

export type QueuePort = Pick<Queue, "send" | "acknowledge" | "defer" | "bury">;

export class QueueModel {
  /** Told when a record may have become visible. */
  visible: () => void = () => undefined;
  /** Told of each letter, once stored. */
  buried: (letter: DeadLetter) => void = () => undefined;
  readonly letters = new Map<string, DeadLetter>();
  readonly #records = new Map<string, Stored>();
  #count = 0;
  readonly #world: World;
  readonly #profile: QueueProfile;

  constructor(world: World, profile: QueueProfile) {
    this.#world = world;
    this.#profile = profile;
  }

  get hasVisible(): boolean {
    const { now } = this.#world.timeline;
    for (const { visibleAt } of this.#records.values()) if (visibleAt <= now) return true;
    return false;
  }

  get size(): number {
    return this.#records.size;
  }

  /** Up to `max` visible records in any order; without a step. */
  take(max: number, process: Process): QueueRecord[] {
    const { timeline, random, faults } = this.#world;
    const visible = [...this.#records.values()].filter(({ visibleAt }) => visibleAt <= timeline.now);
    return random
      .shuffle(visible)
      .slice(0, max)
      .map((record) => {
        record.receives += 1;
        record.receipt = `${record.id}/${record.receives}`;
        record.visibleAt = timeline.now + (process.unlucky(faults.double / 5) ? 0 : this.#profile.visibilityMs);
        timeline.at(record.visibleAt - timeline.now + random.between(0, 500), () => this.visible());
        const { id, body, sentAt, receipt, receives } = record;
        return { id, body, sentAt, receipt, receiveCount: receives };
      });
  }

  put({ body, delaySeconds = 0 }: NewRecord): void {
    if (delaySeconds > 900) throw new Error(`a delay of ${delaySeconds} s`);
    const { timeline, random } = this.#world;
    const id = String(++this.#count);
    const delay = delaySeconds * SECOND;
    this.#records.set(id, {
      id,
      body,
      sentAt: dateOf(timeline.now).toISOString(),
      visibleAt: timeline.now + delay,
      receives: 0,
      receipt: "",
    });
    timeline.at(delay + random.between(0, random.chance(0.1) ? 3_000 : 300), () => this.visible());
  }

  remove(record: QueueRecord, process: Process): void {
    const stored = this.#records.get(record.id);
    if (!stored || (this.#profile.strictReceipts && stored.receipt !== record.receipt)) return;
    if (!process.unlucky(this.#world.faults.lostDelete)) this.#records.delete(record.id);
  }

  /** As one process sees it. */
  portFor(process: Process): QueuePort {
    const each = async <T>(items: readonly T[], effect: (item: T) => void) => {
      await process.step();
      const done = process.unlucky(this.#world.faults.queueDown) ? this.#world.random.whole(0, items.length) : Infinity;
      items.slice(0, done).forEach(effect);
      await process.step();
      if (done < Infinity) throw new RelayError("QUEUE_UNAVAILABLE", "the queue is gone for a moment");
    };
    const remove = (records: readonly QueueRecord[]) => each(records, (record) => this.remove(record, process));
    return {
      send: (records) => each(records, (record) => this.put(record)),
      acknowledge: remove,
      defer: async (moves) => {
        await each(moves, ({ next }) => this.put(next));
        await remove(moves.map(({ record }) => record));
      },
      bury: async (record, letter) => {
        await each([letter], (stored) => this.#bury(stored));
        await remove([record]);
      },
    };
  }

  #bury(letter: NewDeadLetter): void {
    const stored = { ...letter, expiresAt: null, id: String(++this.#count) };
    this.letters.set(stored.id, stored);
    this.buried(stored);
  }
}
