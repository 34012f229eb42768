/** Mistakes that ports can make for the code: each breaks one rule, and the audit must see it. */
import type { Mistake } from "./consumer.ts";
import type { Faults } from "./world.ts";

/** With so many faults each shows within few schedules. */
export const ROUGH: Partial<Faults> = { crash: 0.03, downloadError: 0.4, double: 0.2 };

export const MISTAKES: Readonly<Record<string, Mistake>> = {
  "a deferred record is deleted before its copy is stored": {
    queue: (port) => ({
      ...port,
      async defer(moves) {
        await port.acknowledge(moves.map(({ record }) => record));
        await port.send(moves.map(({ next }) => next));
      },
    }),
  },
  "no look follows a nudge": {
    queue: (port) => ({ ...port, send: async () => undefined }),
  },
  "dead letters go nowhere": {
    queue: (port) => ({ ...port, bury: (record) => port.acknowledge([record]) }),
  },
  "a repeated nudge changes no annotation": {
    cluster: (port) => ({
      ...port,
      async annotate(override, annotations) {
        const kept = Object.entries(annotations).map(([key, value]) => [key, override.annotations[key] ?? value]);
        const patched = await port.annotate(override, Object.fromEntries(kept));
        const asked = Object.entries(annotations).filter((entry): entry is [string, string] => entry[1] !== null);
        return patched && { ...patched, annotations: Object.fromEntries(asked) }; // and says that it did
      },
    }),
  },
  "every status reads as new": {
    cluster: (port) => ({
      ...port,
      async get(module) {
        const override = await port.get(module);
        const isNudged = override?.annotations["mpo-relay/key"] !== undefined;
        return override && isNudged ? { ...override, status: { ...override.status, updatedAt: new Date(0).toISOString() } } : override;
      },
    }),
  },
};
