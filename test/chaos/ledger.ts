/**
 * Which pushes were lost. Believed are: the answer that a sender got, the patch that passed on its way to the API server and stands on the
 * override, the registry's tag, Deckhouse's status, and what lies in the queue. Not believed: any reason or report of the relay.
 *
 * A push counts once the relay answered a 2xx; one that it never acknowledged is its sender's to repeat, and no loss of ours. It is lost
 * - when no nudge of its override set out after the push itself did, and no record or letter in the queue is about it. The status is no proof:
 *   Deckhouse looks at every override when it restarts, also at one that nobody nudged;
 * - when its override does not show what the tag resolves to, and no record or letter names the override.
 */
import type { Findings } from "../e2e/audit.ts";
import type { RenewRequest } from "../../src/event.ts";
import { markOf, type Patch } from "./api.ts";

export interface Push {
  readonly module: string;
  readonly digest: string;
  /** When the first try set out to the relay; null: none did. */
  sentAt: number | null;
  acknowledged: boolean;
  /** By which the relay calls it: it says so in its answer, and answers several times where a sender repeats without an id. */
  readonly keys: Set<string>;
}
export interface Ledger {
  /** In the order in which they came to stand in the registry, module by module. */
  readonly pushes: readonly Push[];
  readonly patches: readonly Patch[];
  readonly overrides: readonly { readonly metadata: { readonly name: string; readonly annotations: Readonly<Record<string, string>> } }[];
  /** Whatever lies in the queue or among the dead letters. */
  readonly named: readonly Pick<RenewRequest, "key">[];
  readonly wrong: Findings["wrong"];
}
export interface Lost {
  readonly module: string;
  readonly digest: string;
  readonly why: string;
}

export function lostOf({ pushes, patches, overrides, named, wrong }: Ledger): Lost[] {
  const open = new Set(named.map(({ key }) => key));
  const lost = overrides.flatMap(({ metadata: { name, annotations } }): Lost[] => {
    const nudged = lastPatchOf(name, annotations, patches);
    return pushes
      .filter(
        (push) => push.module === name && push.acknowledged && (push.sentAt ?? 0) > nudged && ![...push.keys].some((key) => open.has(key)),
      )
      .map(({ module, digest }) => ({ module, digest, why: "acknowledged, and never nudged since" }));
  });
  const unheard = new Set(overrides.map(({ metadata }) => metadata.name).filter((name) => !(lastOf(name, pushes)?.acknowledged ?? false)));
  const told = new Set(lost.map(({ module }) => module));
  const astray = wrong.filter(({ module }) => !told.has(module) && !unheard.has(module));
  return [
    ...lost,
    ...astray.map(({ module, shows, registry }) => ({
      module,
      digest: registry ?? "none",
      why: `its override shows ${shows ?? "nothing"}`,
    })),
  ];
}

/** When the nudge that stands on the override was sent on its way; -Infinity where there is none. Throws where it passed nobody's eyes. */
function lastPatchOf(module: string, annotations: Readonly<Record<string, string>>, patches: readonly Patch[]): number {
  if (annotations["mpo-relay/key"] === undefined) return -Infinity;
  const mark = markOf(annotations);
  const found = patches.findLast((patch) => patch.module === module && patch.mark === mark);
  if (!found) throw new Error(`${module} holds a nudge that did not come by the way that is watched`);
  return found.at;
}

const lastOf = (module: string, pushes: readonly Push[]) => pushes.findLast((push) => push.module === module);
