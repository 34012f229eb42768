/** What all parts of a schedule share: time, chance, and what goes wrong in it. */
import { RelayError } from "../../src/outcome.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;

/** From, to: virtual milliseconds. */
export type Window = readonly [number, number];

/** Chances are per step; those that are not said to last end at `until`, so that every schedule can come to rest. */
export interface Faults {
  /** Virtual millisecond after which processes, queue and network behave. */
  readonly until: number;
  /** A process is killed at a step, for ever. */
  readonly crash: number;
  /** A step takes up to 150 s: the record shows again meanwhile. */
  readonly pause: number;
  /** What was asked was done, the answer got lost. */
  readonly lostReply: number;
  /** The queue refuses, before or after a part of the work. */
  readonly queueDown: number;
  /** A delete that was acknowledged and did not happen. */
  readonly lostDelete: number;
  /** A record is given to two at once; a delivery comes twice. */
  readonly double: number;
  /** The registry refuses Deckhouse; lasts. */
  readonly downloadError: number;
  /** A deploy fails; lasts. */
  readonly deployError: number;
  /** The API server is gone, for us and for Deckhouse. */
  readonly outages: readonly Window[];
  /** The API server refuses our patches (RBAC). */
  readonly forbidden: readonly Window[];
  /** The clocks of edges, consumers and Deckhouse are at most so many milliseconds before or behind. */
  readonly skewMs: number;
  /** A registry has two replicas, and every other push comes by one whose clock is so far behind. */
  readonly replicaBehindMs: number;
  /** A push of which nobody hears; above 0 there is a sweep. */
  readonly lostPush: number;
  /** The relay can ask the registry what a tag names. */
  readonly lookUp: boolean;
  /** A push is told of before its tag names it, which follows within so long: Distribution does so, and so does whatever a mirror serves. */
  readonly tagLateMs: number;
  /** Somebody replaces an override by what stands in a file, so that the marks of the relay are gone: so often at most, for each module. */
  readonly replaces: number;
}

export interface World {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly faults: Faults;
  /** One line of the trace, where one is kept. */
  readonly tell: ((line: string) => void) | null;
}

export const within = (windows: readonly Window[], now: number) => windows.some(([from, to]) => now >= from && now < to);

const EPOCH = Date.UTC(2026, 0, 1);
export const dateOf = (virtualMs: number) => new Date(EPOCH + virtualMs);
export const virtualOf = (instant: string) => Date.parse(instant) - EPOCH;

/** One that runs our code. Each of its calls has two steps, before and after what it does; at each the process may end for ever. */
export class Process {
  #dead = false;
  readonly #world: World;
  readonly #skewMs: number;
  readonly #died: () => void;

  constructor(world: World, skewMs: number, died: () => void) {
    this.#world = world;
    this.#skewMs = skewMs;
    this.#died = died;
  }

  /** By the clock of this process. */
  readonly now = (): Date => dateOf(this.#world.timeline.now + this.#skewMs);

  /** True with this chance, while faults last. */
  unlucky(chance: number): boolean {
    const { timeline, random, faults } = this.#world;
    return timeline.now < faults.until && random.chance(chance);
  }

  /** Time goes by. Never resolves in a process that is dead by then. */
  sleep(ms: number): Promise<void> {
    const { timeline } = this.#world;
    return new Promise((resolve) => {
      timeline.at(ms, () => {
        if (!this.#dead) timeline.wake(resolve);
      });
    });
  }

  /** One way over the network. */
  async step(): Promise<void> {
    const { random, faults } = this.#world;
    await this.sleep(
      this.unlucky(faults.pause) ? random.between(10 * SECOND, 150 * SECOND) : random.between(3, random.chance(0.1) ? 800 : 60),
    );
    if (!this.unlucky(faults.crash)) return;
    this.#dead = true;
    this.#died();
    await new Promise(() => undefined);
  }

  /** There, `effect`, and back. */
  async call<T>(effect: () => T): Promise<T> {
    await this.step();
    const result = effect();
    await this.step();
    if (this.unlucky(this.#world.faults.lostReply)) throw new RelayError("CLUSTER_UNREACHABLE", "the answer got lost");
    return result;
  }
}
