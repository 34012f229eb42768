/** A ModuleSource and the releases of its modules in memory, as the port's words have them. */
import type { Channels, ModuleRelease, ModuleSource } from "../../src/cluster/channels.ts";
import { RelayError } from "../../src/outcome.ts";

export interface FakeChannels {
  readonly channels: Channels;
  /** Each spelling that was written. */
  readonly written: string[];
  set(part: Partial<ModuleSource> | null): void;
  setReleases(...releases: readonly ModuleRelease[]): void;
  /** The next calls throw these. */
  fail(...errors: RelayError[]): void;
}

/** `now` is the API server's clock, which tells whole seconds. `prunes`: as before Deckhouse v1.75. */
export function fakeChannels(now: () => Date = () => new Date(), { prunes = false } = {}): FakeChannels {
  let held: ModuleSource | null = { name: "test", resourceVersion: "1", scanInterval: prunes ? null : "3m", rescannedAt: null };
  let releases: readonly ModuleRelease[] = [];
  const written: string[] = [];
  const failures: RelayError[] = [];
  const stumble = () => {
    const failure = failures.shift();
    if (failure) throw failure;
  };
  return {
    written,
    set: (part) => void (held = part === null || held === null ? null : { ...held, ...part }),
    setReleases: (...next) => void (releases = next),
    fail: (...errors) => void failures.push(...errors),
    channels: {
      async source(name) {
        stumble();
        return held?.name === name ? held : null;
      },
      async respell(source, scanInterval) {
        stumble();
        if (held?.name !== source.name) return null;
        if (held.resourceVersion !== source.resourceVersion) throw new RelayError("CONFLICT", "the object has been modified");
        if (prunes) return held;
        written.push(scanInterval);
        const rescannedAt = now()
          .toISOString()
          .replace(/\.\d+Z$/, "Z");
        held = { ...held, scanInterval, rescannedAt, resourceVersion: String(Number(held.resourceVersion) + 1) };
        return held;
      },
      async releases(module) {
        stumble();
        return releases.filter(({ name }) => name.startsWith(`${module}-`));
      },
    },
  };
}
