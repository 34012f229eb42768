/** Opens the queues that a configuration names, each adapter only where a form asks for it, and fans a delivery's records out to them. */
import { type ClusterConfig, type QueueForm, type RelayConfig, resolveQueue, resolveSqs, type SqsForm } from "./config.ts";
import { STORE_MS } from "./limits.ts";
import type { Observer } from "./observe.ts";
import { RelayError, toRelayError } from "./outcome.ts";
import { within } from "./patience.ts";
import type { EmbeddedStore } from "./queue/embedded.ts";
import type { LendableQueue } from "./queue/hub/server.ts";
import type { DeadLetters, NewDeadLetter, NewRecord, Queue } from "./queue/queue.ts";
import type { Store } from "./receive.ts";
import { createSecretReader } from "./secrets.ts";
import { storedDelivery } from "./unparsed.ts";

export interface Queues {
  of(cluster: string): Queue;
  /** The queue of a cluster where this process owns it, and so can lend it. */
  owned(cluster: string): LendableQueue | null;
  readonly unparsed: DeadLetters | null;
  readonly store: Store;
  storeUnparsed(letter: NewDeadLetter): Promise<boolean>;
  ready(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions {
  /** Whose queues; others stay closed, so that a process needs only its own credentials. */
  readonly clusters: readonly string[];
  readonly unparsed: boolean;
  /** `owner`: this process owns embedded folders, and serves them to others. `guest`: it asks the owner where there is one. */
  readonly as: "owner" | "guest";
  readonly observer: Observer;
  readonly env?: NodeJS.ProcessEnv;
}

const UNPARSED = "unparsed";

/** Throws an Error that says what to do where a queue cannot be opened. */
export async function openQueues(config: RelayConfig, options: OpenOptions): Promise<Queues> {
  refuseShared(config, options);
  const opener = createOpener(options);
  const queues = new Map<string, Queue>();
  try {
    for (const name of options.clusters) {
      const cluster = config.clusters[name];
      if (!cluster) throw new Error(`no cluster "${name}" in the configuration; known: ${Object.keys(config.clusters).join(", ")}`);
      queues.set(name, await opener.open(name, cluster));
    }
    const form = options.unparsed ? config.unparsed : null;
    const unparsed = form ? await opener.open(UNPARSED, { queue: form, deadLetters: form, hub: null }) : null;
    return assemble(config, queues, unparsed, opener, options.observer);
  } catch (error) {
    await opener.close();
    throw error;
  }
}

/** What the configuration shows to be one queue is refused there; here, what only the variables do. */
function refuseShared({ clusters, webhooks, unparsed }: RelayConfig, { clusters: opened, unparsed: isEdge, env }: OpenOptions): void {
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

function assemble(config: RelayConfig, queues: Map<string, Queue>, unparsed: Queue | null, opener: Opener, observer: Observer): Queues {
  const of = (cluster: string): Queue => {
    const queue = queues.get(cluster);
    if (!queue) throw new RelayError("INTERNAL", `the queue of cluster ${cluster} is not open in this process`);
    return queue;
  };
  return {
    of,
    owned: (cluster) => opener.storeOf.get(cluster)?.queue(cluster) ?? null,
    unparsed: unparsed?.deadLetters ?? null,
    async store(records) {
      const batches = opener.embedded.map((store) => ({ store, batch: ofStore(records, store, opener) }));
      // a file that has no part in this delivery must not fail it: its disk may be full
      const writes = batches
        .filter(({ batch }) => batch.length > 0)
        .map(
          ({ store, batch }) =>
            () =>
              store.sendAll(batch),
        );
      for (const [cluster, batch] of records) {
        if (!opener.storeOf.has(cluster)) writes.push(() => twice(() => of(cluster).send(batch, { timeoutMs: STORE_MS })));
      }
      const failed = (await Promise.allSettled(writes.map((write) => write()))).find((write) => write.status === "rejected");
      if (failed) throw notStored(failed.reason);
    },
    async storeUnparsed(letter) {
      if (!unparsed) throw new RelayError("QUEUE_UNAVAILABLE", "there is no place for deliveries that could not be read");
      if ((await within(2 * STORE_MS, unparsed.deadLetters.count(), "QUEUE_UNAVAILABLE")) >= config.limits.unparsed) {
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
    close: () => opener.close(),
  };
}

/** The queue that a webhook's deliveries come from; nothing is asked of it yet. Throws an Error that says what to do. */
export async function openWebhookQueue(form: SqsForm, env: NodeJS.ProcessEnv = process.env): Promise<Queue> {
  const queue = resolveSqs(form, env);
  const { openSqs } = await import("./queue/sqs.ts");
  return openSqs(queue);
}

/** Of a delivery's records those that lie in one embedded file: they are stored in one transaction. */
function ofStore(records: ReadonlyMap<string, readonly NewRecord[]>, store: EmbeddedStore, { storeOf }: Opener) {
  return [...records].flatMap(([queue, batch]) => (storeOf.get(queue) === store ? [{ queue, records: batch }] : []));
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

type Openable = Pick<ClusterConfig, "queue" | "deadLetters" | "hub">;

interface Opener {
  readonly embedded: EmbeddedStore[];
  /** Which embedded file holds a cluster's queue; clusters of other forms are not in it. */
  readonly storeOf: Map<string, EmbeddedStore>;
  open(name: string, openable: Openable): Promise<Queue>;
  close(): Promise<void>;
}

function createOpener({ as, env = process.env }: OpenOptions): Opener {
  const folders = new Map<string, EmbeddedStore>();
  const storeOf = new Map<string, EmbeddedStore>();
  const closers: (() => Promise<void>)[] = [];
  const readSecret = createSecretReader({ env });

  async function own(folder: string): Promise<EmbeddedStore> {
    const known = folders.get(folder);
    if (known) return known;
    const { openEmbedded } = await import("./queue/embedded.ts");
    const { serveHub } = await import("./queue/hub.ts");
    const store = openEmbedded(folder);
    folders.set(folder, store);
    closers.push(() => store.close());
    const hub = await serveHub(store);
    closers.push(() => hub.close());
    return store;
  }

  async function openForm(name: string, { queue, deadLetters, hub: access }: Openable): Promise<Queue> {
    const form = resolveQueue(queue, env);
    switch (form.kind) {
      case "embedded": {
        if (as === "guest") {
          const { openFolder } = await import("./queue/folder.ts");
          return openFolder(form.folder, name);
        }
        const store = await own(form.folder);
        storeOf.set(name, store);
        return store.queue(name);
      }
      case "sqs": {
        const { openSqs } = await import("./queue/sqs.ts");
        const letters = deadLetters && resolveQueue(deadLetters, env);
        return openSqs({ ...form, deadLettersUrl: letters?.kind === "sqs" ? letters.url : null });
      }
      case "hub": {
        if (!access) throw new Error(`clusters.${name}.hubToken: is missing: a hub asks for a token; write hubToken: file:PATH`);
        const { openRemoteHub } = await import("./queue/hub/remote.ts");
        return openRemoteHub({ url: form.url, queue: name, access, readSecret });
      }
    }
  }

  return {
    get embedded() {
      return [...folders.values()];
    },
    storeOf,
    async open(name, cluster) {
      const opened = await openForm(name, cluster);
      if (!storeOf.has(name)) closers.push(() => opened.close());
      return opened;
    },
    async close() {
      for (const close of closers.toReversed()) await close();
    },
  };
}
