/** Many pushes into the real registry, which notifies of each: one in five by crane, the others by HTTP as crane does it, which is quicker. */
import { pushImage } from "../../src/sandbox/registry-client.ts";
import type { World } from "./world.ts";

export const PUSHES = 500;
const CRANE_EVERY = 5;
const LANES = 4;
const PATH = "deckhouse/modules";

export interface Load {
  /** The next `count` pushes, `onPushed` told of each as it stands in the registry. Pushes of one module follow one another; modules are mixed. */
  push(count: number, onPushed?: (pushed: number) => void): Promise<void>;
  /** How many pushes there were so far, and by what. */
  readonly counts: { readonly crane: number; readonly http: number };
}

export function createLoad(world: World, modules: readonly string[]): Load {
  const counts = { crane: 0, http: 0 };
  const last = new Map<string, Promise<unknown>>();
  let next = 0;

  const pushOne = async (nth: number, module: string): Promise<void> => {
    if (nth % CRANE_EVERY === 0) {
      await world.crane.push(world.image(module));
      counts.crane += 1;
    } else {
      await pushImage(`http://${world.registry.host}`, `${PATH}/${module}`, "main");
      counts.http += 1;
    }
  };
  return {
    counts,
    async push(count, onPushed = () => undefined) {
      const until = next + count;
      let pushed = 0;
      const lane = async () => {
        while (next < until) {
          const nth = next++;
          const module = modules[Math.floor(((nth * GOLDEN) % 1) * modules.length)] ?? "";
          const turn = (last.get(module) ?? Promise.resolve()).then(() => pushOne(nth, module));
          last.set(module, turn);
          await turn;
          onPushed(++pushed);
        }
      };
      await Promise.all(Array.from({ length: LANES }, lane));
    },
  };
}

/** Mixes the modules evenly, and the same in every run: https://en.wikipedia.org/wiki/Low-discrepancy_sequence#Additive_recurrence */
const GOLDEN = 0.618_033_988_749_895;
