/** What differs in Cloudflare Workers: configuration, secrets and the keys for SQS are bindings, no disk lasts, and there is no credential chain. */
import { configOrThrow, type QueueForm, type RelayConfig, resolveQueue, type SecretRef } from "./config.ts";
import type { Observer } from "./observe.ts";
import { openSqsByFetch } from "./queue/sqs-fetch.ts";
import { refuseShared, type Sink, type Storing, storing } from "./storing.ts";

/** Throws an Error with every problem: wrangler shows it, and does not deploy. */
export async function workersConfig(env = process.env): Promise<RelayConfig> {
  if (!env["MPO_RELAY_CONFIG"]?.trim().startsWith("{"))
    throw new Error("MPO_RELAY_CONFIG must hold the configuration as JSON: a variable of the Worker (infra/workers.md)");
  const config = await configOrThrow({ env });
  const journal = config.journal?.kind === "dynamodb" || config.journal?.kind === "env" ? ["journal"] : [];
  const queued = Object.entries(config.webhooks).flatMap(([name, { queue }]) => (queue ? [`webhooks.${name}.queue`] : []));
  const secrets = Object.entries(config.webhooks).flatMap(([name, { secret, previousSecret, oidc }]) =>
    [secret, previousSecret, oidc?.keys ?? null].some(isElsewhere) ? [`webhooks.${name}`] : [],
  );
  const problems = [
    ...queued.map((place) => `${place}: only mpo-relay serve takes deliveries from a queue`),
    ...journal.map((place) => `${place}: a Worker writes none; take it out here, the consumers' own files may name it`),
    ...secrets.map((place) => `${place}: a Worker's secrets are its own bindings; write env:NAME, and \`wrangler secret put NAME\``),
  ];
  if (problems.length > 0) throw new Error(problems.join("; "));
  return config;
}

function isElsewhere(ref: SecretRef | { kind: "url" } | null): boolean {
  return ref?.kind === "file" || ref?.kind === "ssm";
}

/** Opens the queue of every cluster, and that of unread deliveries. Throws an Error that names what is no queue of SQS. */
export function openSinks(config: RelayConfig, observer: Observer, env = process.env): Storing {
  refuseShared(config, { clusters: Object.keys(config.clusters), isEdge: true, env });
  const open = (place: string, form: QueueForm): Sink => {
    const queue = resolveQueue(form, env);
    if (queue.kind !== "sqs") throw new Error(`${place}: a Worker reaches queues of SQS alone; write the queue's URL, or env:NAME`);
    return openSqsByFetch({ ...queue, deadLettersUrl: queue.url }, env); // an edge puts letters into `unparsed` alone, which holds nothing else
  };
  return storing({
    queues: new Map(Object.entries(config.clusters).map(([name, { queue }]) => [name, open(`clusters.${name}.queue`, queue)])),
    unparsed: config.unparsed && open("unparsed", config.unparsed),
    files: new Map(),
    most: config.limits.unparsed,
    observer,
  });
}
