/** Long polls that are never cut off: the other side may be handing out records at that very moment, and they would stay hidden. */
import type { QueueRecord } from "./queue.ts";

export interface Poll {
  readonly records: Promise<QueueRecord[]>;
  readonly signal: AbortSignal | undefined;
  /** What to do with records that come after the caller went away. */
  readonly giveBack: (records: QueueRecord[]) => Promise<unknown>;
  /** Called once when the caller went away, to make the poll end sooner. */
  readonly hurry?: () => void;
}

export class Polls {
  readonly #abandons = new Set<() => void>();
  readonly #endings = new Set<Promise<void>>();

  /** What the poll brings; [] at once when the signal is aborted or `close` is called, and the poll ends in the background. */
  take({ records, signal, giveBack, hurry }: Poll): Promise<QueueRecord[]> {
    return new Promise((resolve, reject) => {
      let abandoned = false;
      const abandon = () => {
        abandoned = true;
        hurry?.();
        resolve([]);
      };
      const listen = () => {
        this.#abandons.add(abandon);
        signal?.addEventListener("abort", abandon);
      };
      const unlisten = () => {
        this.#abandons.delete(abandon);
        signal?.removeEventListener("abort", abandon);
      };
      const end = async () => {
        try {
          const got = await records;
          unlisten();
          if (!abandoned) resolve(got);
          else if (got.length > 0) await giveBack(got);
        } catch (thrown) {
          unlisten();
          reject(thrown); // no effect once abandoned: then the records come again when their visibility ends
        }
      };
      listen();
      const ending = end().finally(() => this.#endings.delete(ending));
      this.#endings.add(ending);
    });
  }

  /** Ends all polls for their callers and waits until what they still bring is given back. */
  async close(): Promise<void> {
    for (const abandon of this.#abandons) abandon();
    await Promise.all(this.#endings);
  }
}
