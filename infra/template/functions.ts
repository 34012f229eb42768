/** The functions, as serverless.yml takes them. Their variables hold addresses and no secret: those are read by reference while they run. */
import type { RelayConfig } from "../../src/config.ts";
import { type Inbox, INBOX_TIMEOUT_SECONDS, inboxesOf } from "./inboxes.ts";
import { consumerOf, deliveriesOf, type Deployed, EDGE, inboxOf, JOURNAL, queueOf, roleOf, sweepOf, UNPARSED_QUEUE } from "./names.ts";
import { CONSUMER_TIMEOUT_SECONDS } from "./queues.ts";
import type { Settings } from "./settings.ts";

const CONFIG = "dist/lambda/relay.json";

export function functions(config: RelayConfig, settings: Settings, { clusters, sweepMinutes }: Deployed): Record<string, unknown> {
  const consumed = clusters.filter((cluster) => cluster.consumed);
  const stores = {
    MPO_RELAY_CONFIG: CONFIG,
    ...Object.assign({}, ...clusters.map(({ name, id }) => variable(config.clusters[name]?.queue, queueOf(id), "QueueName"))),
    ...variable(config.unparsed, UNPARSED_QUEUE),
    ...variable(config.journal, JOURNAL),
  };
  return Object.assign(
    { [EDGE]: edge(settings, stores) },
    ...inboxesOf(config).map((each) => inbox(config, each, stores)),
    ...consumed.map((cluster) => ofCluster(config, cluster, sweepMinutes)),
  );
}

function edge({ http }: Settings, environment: object) {
  return {
    description: "Takes deliveries of registries and stores them in the clusters' queues",
    ...bundle("edge", EDGE),
    timeout: 10, // seconds; a sender waits 1 to 10
    // No reservedConcurrency: it is a ceiling too, and a delivery beyond it is answered 429, which a registry that sends once takes for good: a lost push.
    // Anybody may call; who is who, the relay decides by each webhook's own secret.
    ...(http === "url" ? { url: true } : { events: [{ httpApi: "*" }] }),
    environment,
  };
}

/** Its variables are the edge's, and the queue that it takes from. */
function inbox({ webhooks }: RelayConfig, { webhook, id }: Inbox, stores: object) {
  const arn = { "Fn::GetAtt": [deliveriesOf(id), "Arn"] };
  const taker = {
    description: `Takes deliveries for the webhook ${webhook} from its queue`,
    ...bundle("inbox", inboxOf(id)),
    timeout: INBOX_TIMEOUT_SECONDS,
    environment: { ...stores, MPO_RELAY_WEBHOOK: webhook, ...variable(webhooks[webhook]?.queue, deliveriesOf(id)) },
    events: [{ sqs: { arn, batchSize: 10, functionResponseType: "ReportBatchItemFailures" } }],
  };
  return { [inboxOf(id)]: taker };
}

function ofCluster(config: RelayConfig, { name, id }: Deployed["clusters"][number], sweepMinutes: number) {
  const { queue, lambda } = config.clusters[name] ?? {};
  const environment = {
    MPO_RELAY_CONFIG: CONFIG,
    MPO_RELAY_CLUSTER: name,
    ...variable(queue, queueOf(id)),
    ...variable(config.journal, JOURNAL),
  };
  const runs = { MPO_RELAY_RUNS: { Ref: JOURNAL } }; // also where no journal is written
  const where = lambda?.vpc && { vpc: lambda.vpc };
  const trigger = {
    arn: { "Fn::GetAtt": [queueOf(id), "Arn"] },
    batchSize: 10, // the most that Lambda takes without a batching window, and a window is a wait
    maximumConcurrency: lambda?.maximumConcurrency, // one API server, and its overrides are patched one after the other
    functionResponseType: "ReportBatchItemFailures",
  };
  const consumer = {
    description: `Nudges the overrides of cluster ${name}`,
    ...bundle("consumer", consumerOf(id)),
    timeout: CONSUMER_TIMEOUT_SECONDS,
    environment: { ...environment, ...runs },
    ...where,
    events: [{ sqs: trigger }],
  };
  const { minutes, enabled } = schedule(sweepMinutes);
  const sweep = {
    description: `Looks whether a push to cluster ${name} got lost`,
    ...bundle("sweep", sweepOf(id)),
    timeout: Math.min(240, minutes * 60 - 10), // seconds; less than the schedule's, so that there is one at a time
    environment,
    ...where,
    events: [{ schedule: { rate: [`rate(${minutes} minute${minutes === 1 ? "" : "s"})`], enabled } }],
  };
  return { [consumerOf(id)]: consumer, [sweepOf(id)]: sweep };
}

function bundle(name: string, key: string) {
  const patterns = [`dist/lambda/${name}.mjs`, `dist/lambda/${name}/**`, CONFIG];
  return { handler: `dist/lambda/${name}.handler`, role: roleOf(key), package: { patterns } };
}

/** The variable that relay.yaml names gets the address of what the stack made; or an attribute of it (src/lambda-edge.ts makes addresses of names). */
function variable(form: { kind: string; name?: string } | null | undefined, resource: string, attribute?: "QueueName") {
  const value = attribute === undefined ? { Ref: resource } : { "Fn::GetAtt": [resource, attribute] };
  return form?.kind === "env" && form.name !== undefined ? { [form.name]: value } : {};
}

/** `tuning.sweep: off` keeps the function, which somebody may call, and stops its clock. */
const schedule = (minutes: number) => (minutes === 0 ? { minutes: 5, enabled: false } : { minutes, enabled: true });
