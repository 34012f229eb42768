/**
 * Trusts state, not messages: at rest each override holds what its tag holds, or a dead letter names it. And the one message that people
 * act upon must be true: PICKED_UP.
 */
import { decode, SWEEP } from "../../src/event.ts";
import type { Observer, OutcomeLine } from "../../src/observe.ts";
import type { ClusterModel } from "./cluster.ts";
import { TUNING } from "./consumer.ts";
import type { DeckhouseModel } from "./deckhouse.ts";
import type { QueueModel } from "./queue.ts";
import { BAD, contentOf, digestOf, type RegistryModel } from "./registry.ts";
import type { Push } from "./senders.ts";
import { virtualOf, type World } from "./world.ts";

/** `lost`: wrong, and nothing open names it. `untrue`: PICKED_UP that nobody saw. `restless`: it never ends. */
export interface Finding {
  readonly kind: "lost" | "untrue" | "restless";
  readonly text: string;
}

/**
 * Counts by name: each outcome by its own, and `pushes`, `patches`, `deploys`, `letters`; `falselyUnconfirmed`: such letters although the
 * override holds what the tag holds; `namedLoosely`: wrong, and a letter names the module but not its last push; `wrongFiles`: the status
 * is right, the files are another push's, since a patch met a deploy.
 */
export type Figures = Readonly<Record<string, number>>;

interface Parts {
  readonly cluster: ClusterModel;
  readonly deckhouse: DeckhouseModel;
  readonly queue: QueueModel;
  readonly registry: RegistryModel;
}

export class Audit {
  readonly pushes: Push[] = [];
  readonly #findings: Finding[] = [];
  readonly #figures: Record<string, number> = {};
  /** Module → when REFUSED was told last. */
  readonly #refusals = new Map<string, number>();
  readonly #retags = new Map<string, number>();
  readonly #world: World;
  readonly #parts: Parts;

  constructor(world: World, parts: Parts) {
    this.#world = world;
    this.#parts = parts;
  }

  readonly observer: Observer = {
    outcome: (line) => this.#hear(line),
    alarm: () => undefined,
  };

  /** Deckhouse looks by itself then; the relay answers for pushes from then on. */
  retagged(module: string): void {
    this.#retags.set(module, this.#world.timeline.now);
  }

  conclude(isAtRest: boolean): { findings: readonly Finding[]; figures: Figures } {
    const { queue, cluster, deckhouse } = this.#parts;
    this.#count("pushes", this.pushes.length);
    this.#count("patches", cluster.patches.length);
    this.#count("deploys", deckhouse.deploys);
    this.#count("letters", queue.letters.size);
    if (!isAtRest || queue.size > 0) this.#find("restless", `not at rest, ${queue.size} records in the queue`);
    else for (const { name } of cluster.list()) this.#check(name);
    return { findings: this.#findings, figures: this.#figures };
  }

  #count(name: string, count = 1): void {
    this.#figures[name] = (this.#figures[name] ?? 0) + count;
  }

  #hear(line: OutcomeLine): void {
    this.#count(line.outcome);
    const { event, outcome, kind, module, key, nudge, why } = line;
    if (event === "record")
      this.#world.tell?.(
        `${String(kind)} ${String(module)} ${key?.slice(0, 6)}.${String(nudge)}: ${outcome} ${typeof why === "string" ? why : ""}`,
      );
    if (outcome === "REFUSED") this.#refusals.set(String(module), this.#world.timeline.now);
    if (outcome === "PICKED_UP") this.#checkPickedUp(line);
  }

  /** What was wanted was there after the patch; and where it is told before the late looks, Deckhouse wrote since the patch. */
  #checkPickedUp(line: OutcomeLine): void {
    const { cluster } = this.#parts;
    if (line["webhook"] === SWEEP) return this.#checkSwept(line);
    const { module, key, patchedAt } = line;
    const push = this.pushes.find(({ keys }) => key !== undefined && keys.has(key));
    const patch = cluster.patches.find(
      (each) =>
        each.module === module &&
        each.annotations["mpo-relay/at"] === patchedAt &&
        each.annotations["mpo-relay/key"]?.startsWith(key ?? "-"),
    );
    if (!push || !patch) return this.#find("untrue", `PICKED_UP of ${String(key)}, which was never patched`);
    const writes = cluster.statusWrites.filter((write) => write.module === module);
    const since = writes.filter(({ at }) => at >= patch.at);
    const before = writes.findLast(({ at }) => at < patch.at)?.status.imageDigest ?? digestOf("A");
    const held = [before, ...since.map(({ status }) => status.imageDigest)];
    const isKnown = push.kind !== "bare" && !push.isIndex;
    if (isKnown && !held.includes(digestOf(push.content)))
      this.#find("untrue", `PICKED_UP of push ${push.number}, whose digest was never there after its patch`);
    const isEarly = this.#world.timeline.now - virtualOf(String(patchedAt)) < (TUNING.looksMs.at(-2) ?? 0) - 5_000;
    if (isEarly && since.length === 0) this.#find("untrue", `PICKED_UP of push ${push.number} before Deckhouse did anything`);
  }

  /** What the sweep wanted was there when it is told, or was there after the sweep's own patch. */
  #checkSwept({ module, key, digest }: OutcomeLine): void {
    const { patches, statusWrites } = this.#parts.cluster;
    const patch = patches.find((each) => each.annotations["mpo-relay/key"]?.startsWith(key ?? "-"));
    if (!patch || !statusWrites.some((write) => write.module === module && write.status.imageDigest === digest))
      this.#find("untrue", `PICKED_UP of the sweep's ${String(key)}, which was never patched, or never there`);
  }

  #check(module: string): void {
    const { cluster, deckhouse, queue, registry } = this.#parts;
    const { imageTag, status } = cluster.read(module);
    const wanted = registry.resolve(module, imageTag);
    const letters = [...queue.letters.values()].flatMap(({ body, code }) => {
      const read = decode(body);
      return read.kind === "request" && read.request.module === module ? [{ code, key: read.request.key }] : [];
    });
    const isRight = status.imageDigest === wanted;
    if (isRight) {
      this.#count("falselyUnconfirmed", letters.filter(({ code }) => code === "UNCONFIRMED").length);
      if (deckhouse.files.get(module) !== wanted) this.#count("wrongFiles");
      return;
    }
    const last = this.pushes.findLast((push) => push.module === module && push.tag === imageTag);
    if (!last || last.at < (this.#retags.get(module) ?? 0)) return;
    if (deckhouse.disabledUntil.has(module)) return;
    const isSaid = status.message.startsWith("Validation error") || (this.#refusals.get(module) ?? 0) > last.at;
    if (last.content === BAD && isSaid) return; // there is nothing to run, and the override or an outcome says so
    if (letters.some(({ key }) => last.keys.has(key))) return;
    if (letters.length > 0) this.#count("namedLoosely");
    else
      this.#find(
        "lost",
        `${module} holds ${contentOf(status.imageDigest)} (${status.message}), ${imageTag} is ${contentOf(wanted)}, push ${last.number} of a sender of kind ${last.kind}`,
      );
  }

  #find(kind: Finding["kind"], text: string): void {
    this.#world.tell?.(`FOUND ${kind}: ${text}`);
    this.#findings.push({ kind, text });
  }
}
