/** The hub's journal, as far as the token of one cluster opens it: what a worker writes there, and reads again. */
import { type Entry, type Journal, type NewEntry, type Wanted } from "../../journal/journal.ts";
import { RelayError, toRelayError } from "../../outcome.ts";
import { cutIntoBatches } from "../batches.ts";
import type { HubCall } from "./client.ts";
import { ASK_LIMITS, MOST_ENTRIES } from "./wire.ts";

export type LentJournal = Pick<Journal, "append" | "read">;

/** At the hub. null: it keeps no journal. */
export function journalOfCluster(journal: LentJournal | null, cluster: string): LentJournal {
  const kept = () => {
    if (journal) return journal;
    throw new RelayError("JOURNAL_UNAVAILABLE", "the hub keeps none: write `journal: off` here, or a journal there");
  };
  return {
    async append(entries) {
      if (entries.some((entry) => entry.cluster !== cluster))
        throw new RelayError("INTERNAL", `an entry of another cluster than ${cluster}, whose token this is`);
      await kept().append(entries);
    },
    read: async (wanted) => kept().read({ ...wanted, cluster }),
  };
}

/** Of one cluster, at its hub. */
export interface Door {
  readonly call: HubCall;
  close(): Promise<void>;
}

/** The workers' end: each cluster's entries go to the hub that lends its queue, and come from there. */
export class HubJournal implements Journal {
  readonly name: string;
  readonly #doors: ReadonlyMap<string, Door>;

  constructor(name: string, doors: ReadonlyMap<string, Door>) {
    this.name = name;
    this.#doors = doors;
  }

  async append(entries: readonly NewEntry[]): Promise<void> {
    await this.#each(new Set(entries.map(({ cluster }) => cluster)), async (cluster, call) => {
      const own = entries.filter((entry) => entry.cluster === cluster);
      const weight = (entry: NewEntry) => JSON.stringify(entry).length;
      for (const batch of cutIntoBatches(own, ASK_LIMITS, weight)) await call("journal.append", { entries: batch });
    });
  }

  async read({ cluster, ...wanted }: Wanted): Promise<Entry[]> {
    const read = await this.#each(cluster === undefined ? this.#doors.keys() : [cluster], (_cluster, call) => readPages(call, wanted));
    return read
      .flat()
      .toSorted((a, b) => b.last.localeCompare(a.last))
      .slice(0, wanted.limit);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#doors.values()].map((door) => door.close()));
  }

  #each<T>(clusters: Iterable<string>, work: (cluster: string, call: HubCall) => Promise<T>): Promise<T[]> {
    return Promise.all(
      [...clusters].map(async (cluster) => {
        const door = this.#doors.get(cluster);
        if (!door) throw new RelayError("JOURNAL_UNAVAILABLE", `no hub lends the queue of ${cluster} to us`);
        return work(cluster, door.call).catch((thrown: unknown) => {
          throw new RelayError("JOURNAL_UNAVAILABLE", `the journal of ${cluster}: ${toRelayError(thrown).message}`);
        });
      }),
    );
  }
}

/** Page by page backwards. Those of the page's oldest instant come twice; more than a page of one instant there never are. */
async function readPages(call: HubCall, { limit, ...wanted }: Omit<Wanted, "cluster">): Promise<Entry[]> {
  const found = new Map<string, Entry>();
  const atOnce = Math.min(limit, MOST_ENTRIES);
  for (let { until } = wanted; found.size < limit;) {
    const page = await call("journal.read", { ...wanted, until, limit: atOnce });
    const before = found.size;
    for (const entry of page) found.set(JSON.stringify([entry.key, entry.stage]), entry);
    if (page.length < atOnce || found.size === before) break;
    until = page.at(-1)?.last;
  }
  return [...found.values()];
}
