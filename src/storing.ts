/** Stores a delivery's records in the queues of its clusters, within a sender's patience. Knows no adapter: who opens the queues hands them in. */
import { type QueueForm, type RelayConfig, resolveQueue } from "./config.ts";
import { STORE_MS } from "./limits.ts";
import type { Observer } from "./observe.ts";
import { RelayError, toRelayError } from "./outcome.ts";
import { within } from "./patience.ts";
import type { EmbeddedStore } from "./queue/embedded.ts";
import type { DeadLetters, NewDeadLetter, NewRecord, Queue } from "./queue/queue.ts";
import type { Store } from "./receive.ts";
import { storedDelivery } from "./unparsed.ts";

/** What storing needs of a queue. */
export type Sink = Pick<Queue, "send" | "ready"> & { readonly deadLetters: Pick<DeadLetters, "put" | "count"> };

export interface Storing {
  readonly store: Store;
  storeUnparsed(letter: NewDeadLetter): Promise<boolean>;
  ready(): Promise<void>;
}

export interface Sinks {
  /** By cluster. */
  readonly queues: ReadonlyMap<string, Sink>;
  readonly unparsed: Sink | null;
  /** Which embedded file holds a cluster's queue; clusters of other forms are not in it. */
  readonly files: ReadonlyMap<string, Pick<EmbeddedStore, "sendAll">>;
  /** So many unread deliveries are kept. */
  readonly most: number;
  readonly observer: Observer;
}

export function storing({ queues, unparsed, files, most, observer }: Sinks): Storing {
  return {
    async store(records) {
      const batches = [...new Set(files.values())].map((file) => ({ file, batch: ofFile(records, file, files) }));
      // a file that has no part in this delivery must not fail it: its disk may be full
      const writes = batches
        .filter(({ batch }) => batch.length > 0)
        .map(
          ({ file, batch }) =>
            () =>
              file.sendAll(batch),
        );
      for (const [cluster, batch] of records) {
        if (files.has(cluster)) continue;
        const queue = queues.get(cluster);
        if (!queue) throw new RelayError("INTERNAL", `the queue of cluster ${cluster} is not open in this process`);
        writes.push(() => twice(() => queue.send(batch, { timeoutMs: STORE_MS })));
      }
      const failed = (await Promise.allSettled(writes.map((write) => write()))).find((write) => write.status === "rejected");
      if (failed) throw notStored(failed.reason);
    },
    async storeUnparsed(letter) {
      if (!unparsed) throw new RelayError("QUEUE_UNAVAILABLE", "there is no place for deliveries that could not be read");
      if ((await within(2 * STORE_MS, unparsed.deadLetters.count(), "QUEUE_UNAVAILABLE")) >= most) {
        const { webhook, bytes, sha256 } = storedDelivery(letter.body) ?? {};
        observer.alarm("UNPARSED_FULL", {
          what: "too many unread deliveries are kept already; this one is only named here. Redrive or purge them: `mpo-relay dlq list --cluster unparsed`",
          why: letter.text,
          webhook,
          bytes,
          sha256,
        });
        return false;
      }
      // a write that goes on behind the 503 is harmless: the sender tries again, and a second dead letter says the same
      await within(2 * STORE_MS, unparsed.deadLetters.put(letter), "QUEUE_UNAVAILABLE");
      return true;
    },
    async ready() {
      await Promise.all([...queues.values(), ...(unparsed ? [unparsed] : [])].map((queue) => queue.ready()));
    },
  };
}

/** Of a delivery's records those that lie in one embedded file: they are stored in one transaction. */
function ofFile(records: ReadonlyMap<string, readonly NewRecord[]>, file: Pick<EmbeddedStore, "sendAll">, files: Sinks["files"]) {
  return [...records].flatMap(([queue, batch]) => (files.get(queue) === file ? [{ queue, records: batch }] : []));
}

/** Whatever keeps a store from storing, a secret that cannot be read too: it is away, and the sender tries again. */
function notStored(thrown: unknown): RelayError {
  const error = toRelayError(thrown, "QUEUE_UNAVAILABLE");
  return error.code.startsWith("QUEUE_") ? error : new RelayError("QUEUE_UNAVAILABLE", error.message, { cause: thrown });
}

async function twice(send: () => Promise<void>): Promise<void> {
  try {
    await send();
  } catch {
    await send();
  }
}

/** `clusters`: whose queues are opened. `isEdge`: those of webhooks and unread deliveries, too. */
export interface Opened {
  readonly clusters: readonly string[];
  readonly isEdge: boolean;
  readonly env?: NodeJS.ProcessEnv | undefined;
}

/** What the configuration shows to be one queue is refused there; here, what only the variables do. */
export function refuseShared({ clusters, webhooks, unparsed }: RelayConfig, { clusters: opened, isEdge, env }: Opened): void {
  const ofClusters = opened.flatMap((name) => {
    const { queue = null, deadLetters = null } = clusters[name] ?? {};
    return [
      { place: `clusters.${name}.queue`, form: queue, isConsumed: true },
      { place: `clusters.${name}.deadLetters`, form: deadLetters, isConsumed: false },
    ];
  });
  const ofWebhooks = Object.entries(isEdge ? webhooks : {}).map(([name, { queue }]) => {
    return { place: `webhooks.${name}.queue`, form: queue, isConsumed: true };
  });
  const letters = { place: "unparsed", form: isEdge ? unparsed : null, isConsumed: false };
  const places = [...ofClusters, ...ofWebhooks, letters].flatMap(({ form, ...place }) => {
    const url = form && urlOf(form, env);
    return url ? [{ ...place, url }] : [];
  });
  for (const [index, { place, url, isConsumed }] of places.entries()) {
    const other = places.slice(0, index).find((each) => each.url === url && (each.isConsumed || isConsumed));
    if (other) throw new Error(`${other.place} and ${place} name one queue: each needs its own; look at the variables that they name`);
  }
}

/** null: it is no queue of SQS, or its variable is wrong, which whoever opens it says. */
function urlOf(form: QueueForm, env?: NodeJS.ProcessEnv): string | null {
  try {
    const resolved = resolveQueue(form, env);
    return resolved.kind === "sqs" ? resolved.url : null;
  } catch {
    return null;
  }
}
