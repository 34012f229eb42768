/** One random schedule by its seed: sets the parts up, lets it happen, and audits what there is at rest. */
import { encode } from "../../src/event.ts";
import type { DeadLetter } from "../../src/queue/queue.ts";
import { redriveOf } from "../../src/redrive.ts";
import { Audit, type Figures, type Finding } from "./audit.ts";
import { ClusterModel } from "./cluster.ts";
import { Consumer, type Mistake } from "./consumer.ts";
import { DeckhouseModel } from "./deckhouse.ts";
import { QueueModel } from "./queue.ts";
import { Random } from "./random.ts";
import { BAD, digestOf, RegistryModel } from "./registry.ts";
import { CONFIG, type Kind, KINDS, type Push, Senders } from "./senders.ts";
import { startSweeps } from "./sweeper.ts";
import { Timeline } from "./timeline.ts";
import { type Faults, SECOND, type World } from "./world.ts";

export interface Played {
  readonly seed: number;
  readonly findings: readonly Finding[];
  readonly figures: Figures;
  readonly trace: readonly string[];
}

const MAX_EVENTS = 100_000;
const MAX_REDRIVES = 6;

export async function play(seed: number, options: { trace?: boolean; mistake?: Mistake; faults?: Partial<Faults> } = {}): Promise<Played> {
  const random = new Random(seed);
  const timeline = new Timeline();
  const trace: string[] = [];
  const tell = options.trace ? (line: string) => void trace.push(`${(timeline.now / SECOND).toFixed(2).padStart(9)} ${line}`) : null;
  const world: World = { timeline, random, faults: { ...faultsOf(random), ...options.faults }, tell };
  const registry = new RegistryModel();
  const cluster = new ClusterModel(world);
  const deckhouse = new DeckhouseModel(world, cluster, registry);
  const queue = new QueueModel(world, { visibilityMs: random.pick([30, 60, 120]) * SECOND, strictReceipts: random.chance(0.5) });
  const audit = new Audit(world, { cluster, deckhouse, queue, registry });
  const parts = { queue, cluster, registry, observer: audit.observer, mistake: options.mistake ?? {} };
  const consumers = Array.from({ length: random.whole(1, 2) }, () => new Consumer(world, parts));
  const senders = new Senders(world, queue);

  cluster.changed = (module, triggers) => deckhouse.changed(module, triggers);
  queue.visible = () => {
    if (queue.hasVisible) random.shuffle(consumers).forEach((consumer) => consumer.wake());
  };
  let redrives = 0;
  queue.buried = (letter) => {
    if (redrives < MAX_REDRIVES && random.chance(0.3)) redrives += 1;
    else return;
    timeline.at(random.between(30 * SECOND, 600 * SECOND), () => redrive(letter, queue, world));
  };

  for (let number = random.pick([1, 1, 2, 3]); number > 0; number--)
    planModule(`module-${number}`, world, { cluster, deckhouse, registry, senders, audit });
  if (world.faults.lostPush > 0) startSweeps(world, { queue, cluster, registry, observer: audit.observer });
  deckhouse.start();
  if (random.chance(0.2)) timeline.at(random.between(0, 60 * SECOND), () => deckhouse.restart());
  const isAtRest = await timeline.play(MAX_EVENTS);
  return { seed, ...audit.conclude(isAtRest), trace };
}

/** A quarter is calm: what fails there needs no fault at all. */
function faultsOf(random: Random): Faults {
  const calm = random.chance(0.25);
  const chance = (...chances: [number, ...number[]]) => (calm ? 0 : random.pick(chances));
  const window = (maxSeconds: number): [number, number] => {
    const from = random.between(0, 60 * SECOND);
    return [from, from + random.between(1, maxSeconds) * SECOND];
  };
  return {
    until: random.between(60, 900) * SECOND,
    crash: chance(0, 0.005, 0.02),
    pause: chance(0, 0.01),
    lostReply: chance(0, 0.03),
    queueDown: chance(0, 0, 0.03),
    lostDelete: chance(0, 0.01),
    double: chance(0, 0.2, 0.5),
    downloadError: random.pick([0, 0.1, 0.4, 0.4]),
    deployError: chance(0.03),
    outages: calm || random.chance(0.7) ? [] : [window(600)],
    forbidden: calm || random.chance(0.85) ? [] : [window(random.chance(0.95) ? 3_000 : 100_000)],
    skewMs: calm ? 0 : 750,
    replicaBehindMs: 0,
    lostPush: 0,
    lookUp: false,
    tagLateMs: 0,
    replaces: 0,
  };
}

interface Stage {
  readonly cluster: ClusterModel;
  readonly deckhouse: DeckhouseModel;
  readonly registry: RegistryModel;
  readonly senders: Senders;
  readonly audit: Audit;
}

/** What happens to one module: pushes in bursts and at leisure, and now and then it is disabled or follows another tag. */
function planModule(
  module: string,
  { random, timeline, tell, faults }: World,
  { cluster, deckhouse, registry, senders, audit }: Stage,
): void {
  const kind: Kind = random.pick(KINDS);
  const isIndex = random.chance(kind === "full" ? 0.2 : 0.05);
  const webhooks = random.chance(0.1) ? 2 : 1;
  const tags = random.chance(0.1) ? (["main", "next"] as const) : (["main"] as const);
  for (const tag of tags) registry.move(module, tag, "A");
  cluster.create(module, "main", digestOf("A"));
  deckhouse.files.set(module, digestOf("A"));

  let moved = 0;
  const push = (tag: string, content: string) => {
    const made: Push = { number: audit.pushes.length + 1, module, tag, content, isIndex, kind, at: timeline.now, keys: new Set() };
    tell?.(`push ${made.number} of ${module}:${tag}: ${content} (${kind}${isIndex ? ", index" : ""})`);
    const move = () => registry.move(module, tag, content, isIndex);
    if (faults.tagLateMs > 0) {
      moved = Math.max(moved, timeline.now + random.between(0, faults.tagLateMs)); // one after the other
      timeline.at(moved - timeline.now, move);
    } else move();
    audit.pushes.push(made);
    if (faults.lostPush > 0 && random.chance(faults.lostPush)) tell?.(`nobody hears of push ${made.number}`);
    else senders.tell(made, webhooks);
  };
  let at = random.between(0, 20 * SECOND);
  let content = "A";
  for (let left = random.whole(1, 6); left > 0; left--) {
    if (!random.chance(0.15)) content = random.chance(0.04) ? BAD : random.pick(["A", "B", "A", "B", "C"]);
    const [tag, pushed] = [random.pick(tags), content];
    timeline.at(at, () => push(tag, pushed));
    at += SECOND * (random.chance(0.4) ? random.between(0.05, 2) : random.chance(0.6) ? random.between(2, 40) : random.between(40, 300));
  }
  if (tags.length > 1) {
    timeline.at(random.between(0, at), () => {
      tell?.(`${module} follows ${tags[1]} now`);
      audit.retagged(module);
      cluster.retag(module, "next");
    });
  }
  if (random.chance(0.08)) disable(module, deckhouse, { random, timeline });
  for (let left = faults.replaces > 0 ? random.whole(1, faults.replaces) : 0; left > 0; left--) {
    timeline.at(random.between(0, at + 30 * SECOND), () => {
      tell?.(`${module} is replaced by what stands in a file`);
      cluster.replace(module);
    });
  }
}

function disable(module: string, deckhouse: DeckhouseModel, { random, timeline }: Pick<World, "random" | "timeline">): void {
  const from = random.between(0, 60 * SECOND);
  const until = random.chance(0.8) ? from + random.between(1, 400) * SECOND : Infinity;
  timeline.at(from, () => void deckhouse.disabledUntil.set(module, until));
  if (until < Infinity) timeline.at(until, () => void deckhouse.disabledUntil.delete(module));
}

/** As `mpo-relay dlq redrive`: stored first, then removed. */
function redrive(letter: DeadLetter, queue: QueueModel, { tell }: World): void {
  const again = redriveOf(letter, CONFIG);
  if (again.kind === "refused") throw new Error(again.why);
  tell?.(`redrive of ${letter.code}`);
  for (const request of again.requests) queue.put({ body: encode(request) });
  queue.letters.delete(letter.id);
}
