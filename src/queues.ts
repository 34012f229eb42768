/** Opens the queues that a configuration names, each adapter only where a form asks for it, and closes them. */
import { type ClusterConfig, type RelayConfig, resolveQueue, resolveSqs, type SqsForm } from "./config.ts";
import type { Observer } from "./observe.ts";
import { RelayError } from "./outcome.ts";
import type { EmbeddedStore } from "./queue/embedded.ts";
import type { LendableQueue } from "./queue/hub/server.ts";
import type { DeadLetters, Queue } from "./queue/queue.ts";
import { createSecretReader } from "./secrets.ts";
import { refuseShared, type Storing, storing } from "./storing.ts";

export interface Queues extends Storing {
  of(cluster: string): Queue;
  /** The queue of a cluster where this process owns it, and so can lend it. */
  owned(cluster: string): LendableQueue | null;
  readonly unparsed: DeadLetters | null;
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
  refuseShared(config, { clusters: options.clusters, isEdge: options.unparsed, env: options.env });
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

function assemble(config: RelayConfig, queues: Map<string, Queue>, unparsed: Queue | null, opener: Opener, observer: Observer): Queues {
  return {
    ...storing({ queues, unparsed, files: opener.storeOf, most: config.limits.unparsed, observer }),
    of: (cluster) => {
      const queue = queues.get(cluster);
      if (!queue) throw new RelayError("INTERNAL", `the queue of cluster ${cluster} is not open in this process`);
      return queue;
    },
    owned: (cluster) => opener.storeOf.get(cluster)?.queue(cluster) ?? null,
    unparsed: unparsed?.deadLetters ?? null,
    close: () => opener.close(),
  };
}

/** The queue that a webhook's deliveries come from; nothing is asked of it yet. Throws an Error that says what to do. */
export async function openWebhookQueue(form: SqsForm, env: NodeJS.ProcessEnv = process.env): Promise<Queue> {
  const queue = resolveSqs(form, env);
  const { openSqs } = await import("./queue/sqs.ts");
  return openSqs(queue);
}

type Openable = Pick<ClusterConfig, "queue" | "deadLetters" | "hub">;

interface Opener {
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
