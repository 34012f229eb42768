/**
 * Deckhouse v1.67 to mid 2026, as far as a nudge meets it: one worker for all overrides; a cache that lags behind; a restart after each
 * deploy, also where the status could not be written; after a restart everything is looked at again; a registry's refusal is tried again
 * only after the scan interval of 24 h, which no schedule reaches: so whatever is right in the end is right because of a nudge.
 * test/deckhouse.test.ts holds the sandbox's stand-in to the same behaviour.
 */
import type { Override, OverrideStatus } from "../../src/cluster/overrides.ts";
import type { ClusterModel } from "./cluster.ts";
import { BAD, contentOf, digestOf, type RegistryModel } from "./registry.ts";
import { dateOf, MINUTE, SECOND, type World } from "./world.ts";

const GATE_RETRY_MS = MINUTE;
const MAX_BACKOFF_MS = 1_000 * SECOND;

export class DeckhouseModel {
  /** Module → virtual millisecond from which on it is enabled again (Infinity: never). */
  readonly disabledUntil = new Map<string, number>();
  /** Module → what lies on its disk: a deploy whose status write failed leaves other files than the status says. */
  readonly files = new Map<string, string>();
  deploys = 0;
  #isUp = true;
  #life = 0;
  #isBusy = false;
  #queue: string[] = [];
  readonly #cache = new Map<string, Override>();
  readonly #backoff = new Map<string, number>();
  readonly #world: World;
  readonly #cluster: ClusterModel;
  readonly #registry: RegistryModel;
  readonly #skewMs: number;
  /** Whether a repeated download error moves `updatedAt`. */
  readonly #touches: boolean;

  constructor(world: World, cluster: ClusterModel, registry: RegistryModel) {
    this.#world = world;
    this.#cluster = cluster;
    this.#registry = registry;
    this.#skewMs = world.random.between(-1, 1) * world.faults.skewMs;
    this.#touches = world.random.chance(0.7);
  }

  start(): void {
    for (const override of this.#cluster.list()) this.#cache.set(override.name, override);
  }

  /** An event of the watch; it arrives later. */
  changed(module: string, triggers: boolean): void {
    this.#later(this.#world.random.between(5, 300), () => {
      this.#cache.set(module, this.#cluster.read(module));
      if (triggers) this.#enqueue(module);
    });
  }

  restart(): void {
    const { timeline, random, faults } = this.#world;
    this.#isUp = false;
    this.#life += 1;
    this.#isBusy = false;
    this.#queue = [];
    const outage = faults.outages.find(([from, to]) => timeline.now >= from && timeline.now < to);
    timeline.at((outage ? outage[1] - timeline.now : 0) + random.between(3 * SECOND, 40 * SECOND), () => {
      if (this.#isUp) return;
      this.#isUp = true;
      this.start();
      this.#queue = random.shuffle(this.#cluster.list()).map(({ name }) => name);
      this.#work();
    });
  }

  /** In this life of Deckhouse only: what is scheduled ends with it. */
  #later(ms: number, action: () => void): void {
    const life = this.#life;
    this.#world.timeline.at(ms, () => {
      if (this.#isUp && life === this.#life) action();
    });
  }

  #enqueue(module: string): void {
    if (!this.#queue.includes(module)) this.#queue.push(module);
    this.#work();
  }

  #work(): void {
    const module = this.#isBusy ? undefined : this.#queue.shift();
    const seen = module === undefined ? undefined : this.#cache.get(module);
    if (!seen) return;
    this.#isBusy = true;
    const steps = this.#reconcile(seen);
    const step = () => {
      const { done, value } = steps.next();
      if (!done) return this.#later(value, step);
      this.#isBusy = false;
      if (this.#isUp) this.#work();
    };
    this.#later(1, step);
  }

  /** Yields the milliseconds until its next step. */
  *#reconcile(seen: Override): Generator<number, void> {
    const { random, faults, tell } = this.#world;
    const { name } = seen;
    if (this.disabledUntil.has(name)) return this.#gate(seen);
    yield random.between(20, random.chance(0.1) ? 3_000 : 400);
    // not right after it was enabled again: an error then would be nobody's to notice for 24 h
    if (this.#cluster.read(name).status.imageDigest !== null && random.chance(faults.downloadError)) {
      yield random.between(5, 2_000);
      return this.#downloadError(seen);
    }
    const digest = this.#registry.resolve(name, seen.imageTag);
    tell?.(`deckhouse ${name}: the tag is ${contentOf(digest)}, the status ${contentOf(seen.status.imageDigest)}`);
    yield random.between(5, 100);
    if (digest === seen.status.imageDigest) return this.#unchanged(seen);
    yield random.between(1 * SECOND, random.chance(0.5) ? 6 * SECOND : 60 * SECOND);
    if (digest === digestOf(BAD)) return this.#refuse(seen);
    if (random.chance(faults.deployError)) return this.#deployError(seen);
    yield* this.#deploy(seen, digest);
  }

  #gate(seen: Override): void {
    const written = this.#write(seen, { message: "The module disabled", imageDigest: null });
    const until = this.disabledUntil.get(seen.name) ?? 0;
    if (until === Infinity && written) return; // it looks every minute, and will see the same
    const minutes = Math.max(1, Math.ceil((until - this.#world.timeline.now) / GATE_RETRY_MS));
    this.#later(until === Infinity ? GATE_RETRY_MS : minutes * GATE_RETRY_MS, () => this.#enqueue(seen.name));
  }

  #downloadError(seen: Override): void {
    if (seen.status.message.startsWith("Download error") && !this.#touches) return;
    const message = `Download error: ${this.#world.random.pick(["manifest unknown", "EOF"])}`;
    if (!this.#write(seen, { message })) this.#retry(seen.name);
  }

  #unchanged(seen: Override): void {
    this.#backoff.delete(seen.name);
    const { message } = seen.status;
    if (message !== "Ready" && !this.#write(seen, { message: "Ready" })) this.#retry(seen.name); // which moves `updatedAt`, and deploys nothing
  }

  #refuse(seen: Override): void {
    if (!this.#write(seen, { message: "Validation error: no module.yaml" })) this.#retry(seen.name);
  }

  #deployError(seen: Override): void {
    if (this.#world.random.chance(0.5)) this.#write(seen, { message: "Enable error: a hook failed" });
    this.#retry(seen.name);
  }

  *#deploy(seen: Override, digest: string): Generator<number, void> {
    const { name } = seen;
    this.deploys += 1;
    this.files.set(name, digest);
    const written = this.#write(seen, { imageDigest: digest, message: "Ready" });
    this.#world.tell?.(`deckhouse ${name}: deployed ${contentOf(digest)}${written ? "" : ", the status write failed"}, restarts`);
    this.#backoff.delete(name);
    if (written) {
      const { resourceVersion } = this.#cluster.read(name);
      yield this.#world.random.between(5, 40);
      if (this.#cluster.read(name).resourceVersion === resourceVersion) this.#cluster.dropRenew(name);
    }
    this.restart();
  }

  /** `updatedAt` has whole seconds. */
  #write(seen: Override, change: Partial<OverrideStatus>): boolean {
    const updatedAt = dateOf(this.#world.timeline.now + this.#skewMs)
      .toISOString()
      .replace(/\.\d+Z$/, "Z");
    const written = this.#cluster.writeStatus(seen, { ...change, updatedAt });
    if (change.message !== "Ready") this.#world.tell?.(`deckhouse ${seen.name}: ${change.message}${written ? "" : ", not written"}`);
    return written;
  }

  /** controller-runtime's exponential back-off. */
  #retry(module: string): void {
    const ms = Math.min(MAX_BACKOFF_MS, (this.#backoff.get(module) ?? 5) * 2);
    this.#backoff.set(module, ms);
    this.#later(ms, () => this.#enqueue(module));
  }
}
