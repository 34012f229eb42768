/**
 * What will happen in one run, drawn from its seed: the same seed, topology and number of pushes make the same pushes with the same mishaps on
 * their way, and the same faults after the same pushes. When each process then does what is up to real processes, as always.
 */
import { Random } from "../model/random.ts";
import { type FaultName, FAULTS } from "./faults.ts";
import { KINDS, type Kind } from "./senders.ts";
import { TOPOLOGIES, type TopologyName } from "./topologies.ts";

/** What befalls the deliveries that tell of one push. */
export interface Fate {
  /** So many tries never reach the relay. */
  readonly lost: number;
  /** The relay has the first try that reaches it, and its sender hears nothing. */
  readonly unheard: boolean;
  /** Milliseconds until it sets out: a later push may overtake it. Only senders that keep no order. */
  readonly lateMs: number;
  /** Milliseconds until it comes once more; null: it does not. */
  readonly againMs: number | null;
}
export interface PlannedPush {
  readonly module: string;
  /** In [0, 1): which of the module's earlier images the tag goes back to; null: a new one. */
  readonly back: number | null;
  /** Milliseconds after the push before. */
  readonly pauseMs: number;
  readonly fate: Fate;
}
export interface PlannedFault {
  readonly name: FaultName;
  /** After so many pushes. */
  readonly after: number;
  readonly ms: number;
}
export interface Plan {
  readonly kinds: ReadonlyMap<string, Kind>;
  readonly pushes: readonly PlannedPush[];
  readonly faults: readonly PlannedFault[];
}

const MODULES = 24;
const PUSHES_PER_FAULT = 12;

export function planOf(seed: number, topology: TopologyName, count: number): Plan {
  const random = new Random(seed * TOPOLOGIES.length + TOPOLOGIES.indexOf(topology));
  // every other module is the real registry's own, the rest is told of by senders of other kinds
  const kinds = new Map(
    Array.from({ length: MODULES }, (_, index) => [`module-${index}`, index % 2 === 0 ? "distribution" : random.pick(KINDS)] as const),
  );
  const names = [...kinds.keys()];
  let module = "";
  const pushes = Array.from({ length: count }, (): PlannedPush => {
    if (!random.chance(0.3)) module = names[random.whole(0, MODULES - 1)] ?? "";
    return {
      module: (module ||= "module-0"),
      back: random.chance(0.4) ? random.next() : null,
      pauseMs: random.chance(0.7) ? 0 : random.between(10, 200),
      fate: fateOf(random),
    };
  });
  return { kinds, pushes, faults: faultsOf(random, topology, count) };
}

const fateOf = (random: Random): Fate => ({
  lost: random.chance(0.1) ? random.whole(1, 3) : 0,
  unheard: random.chance(0.1),
  lateMs: random.chance(0.3) ? random.between(0, 4_000) : 0,
  againMs: random.chance(0.1) ? random.between(0, 8_000) : null,
});

/** Each of the table's rows that this topology knows comes in its turn, in an order of its own each time round. */
function faultsOf(random: Random, topology: TopologyName, count: number): PlannedFault[] {
  const rows = FAULTS.filter((fault) => fault.topologies.includes(topology));
  const often = rows.filter(({ once }) => once !== true).map(({ name }) => name);
  const names: FaultName[] = rows.filter(({ once }) => once === true).map(({ name }) => name);
  const total = Math.max(rows.length, Math.floor(count / PUSHES_PER_FAULT));
  while (names.length < total) names.push(...random.shuffle(often).slice(0, total - names.length));
  return random
    .shuffle(names)
    .map((name) => ({ name, after: random.whole(1, Math.max(1, Math.floor(count * 0.95))), ms: random.between(300, 2_500) }))
    .sort((a, b) => a.after - b.after);
}
