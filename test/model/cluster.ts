/** The cluster port over a map of overrides: resourceVersions, events to whoever follows, outages, RBAC, and a history for the audit. */
import type { Override, Overrides, OverrideStatus } from "../../src/cluster/overrides.ts";
import { RelayError } from "../../src/outcome.ts";
import { type Process, within, type World } from "./world.ts";

export interface StatusWrite {
  readonly at: number;
  readonly module: string;
  readonly status: OverrideStatus;
}
export interface Patch {
  readonly at: number;
  readonly module: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export type ClusterPort = Pick<Overrides, "get" | "annotate" | "probe" | "list">;

export class ClusterModel {
  /** `triggers`: annotations or spec changed, which is what Deckhouse's watch looks at. */
  changed: (module: string, triggers: boolean) => void = () => undefined;
  readonly statusWrites: StatusWrite[] = [];
  readonly patches: Patch[] = [];
  readonly #overrides = new Map<string, Override>();
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  create(name: string, imageTag: string, digest: string): void {
    const status = { message: "Ready", imageDigest: digest, updatedAt: "2025-12-31T00:00:00Z" };
    const fixed = {
      name,
      apiVersion: "v1alpha2",
      source: null,
      scanInterval: "24h",
      annotations: {},
      keeper: null,
      taggedAt: null,
      odd: null,
    } as const;
    this.#overrides.set(name, { ...fixed, resourceVersion: "1", imageTag, status });
  }

  read(name: string): Override {
    const override = this.#overrides.get(name);
    if (!override) throw new Error(`no override ${name}`);
    return override;
  }

  list(): Override[] {
    return [...this.#overrides.values()];
  }

  get isDown(): boolean {
    return within(this.#world.faults.outages, this.#world.timeline.now);
  }

  /** Deckhouse's write, of what its cache held: false where somebody wrote meanwhile, or nobody can. */
  writeStatus(seen: Override, change: Partial<OverrideStatus>): boolean {
    const current = this.read(seen.name);
    if (this.isDown || current.resourceVersion !== seen.resourceVersion) return false;
    const status = { ...current.status, ...change };
    if (JSON.stringify(status) === JSON.stringify(current.status)) return true; // the API server writes nothing
    this.statusWrites.push({ at: this.#world.timeline.now, module: seen.name, status });
    this.#write(current, { status }, false);
    return true;
  }

  /** Deckhouse's clean-up after a deploy. */
  dropRenew(name: string): void {
    const { renew, ...annotations } = this.read(name).annotations;
    if (renew !== undefined && !this.isDown) this.#write(this.read(name), { annotations }, true);
  }

  retag(name: string, imageTag: string): void {
    this.#write(this.read(name), { imageTag }, true);
  }

  /** As `kubectl replace` does, and Argo CD with `Replace=true`: what the file does not name is gone. */
  replace(name: string): void {
    if (!this.isDown) this.#write(this.read(name), { annotations: {} }, true);
  }

  portFor(process: Process): ClusterPort {
    return {
      get: (name) => process.call(() => this.#answering(() => this.read(name))),
      annotate: (override, change) => process.call(() => this.#answering(() => this.#annotate(override, change))),
      list: () => process.call(() => this.#answering(() => this.list())),
      probe: () => process.call(() => this.#answering(() => undefined)),
    };
  }

  #annotate(seen: Override, change: Readonly<Record<string, string | null>>): Override {
    const { timeline, faults } = this.#world;
    const current = this.read(seen.name);
    if (within(faults.forbidden, timeline.now)) throw new RelayError("FORBIDDEN", "RBAC");
    if (current.resourceVersion !== seen.resourceVersion) throw new RelayError("CONFLICT", "the override changed meanwhile");
    const annotations = Object.fromEntries(
      Object.entries({ ...current.annotations, ...change }).flatMap(([key, value]) => (value === null ? [] : [[key, value]])),
    );
    this.patches.push({ at: timeline.now, module: seen.name, annotations });
    const isSame = JSON.stringify(annotations) === JSON.stringify(current.annotations);
    return isSame ? current : this.#write(current, { annotations }, true);
  }

  #answering<T>(effect: () => T): T {
    const { random } = this.#world;
    if (this.isDown) {
      const code = random.pick(["CLUSTER_UNREACHABLE", "CLUSTER_BUSY", "CLUSTER_ERROR", "CLUSTER_UNAUTHORIZED"] as const);
      throw new RelayError(code, "an outage", code === "CLUSTER_BUSY" ? { retryAfterSeconds: random.whole(1, 20) } : {});
    }
    return effect();
  }

  #write(current: Override, change: Partial<Override>, triggers: boolean): Override {
    const written = { ...current, ...change, resourceVersion: String(Number(current.resourceVersion) + 1) };
    this.#overrides.set(current.name, written);
    this.changed(current.name, triggers);
    return written;
  }
}
