/** What the functions that take deliveries open at import, so that a wrong configuration is an init error that their log names, and not a 503 to each sender. */
import * as z from "zod";
import type { RelayConfig } from "./config.ts";
import type { Journal } from "./journal/journal.ts";
import { EDGE_PATIENCE_MS, openJournals } from "./journals.ts";
import { lambdaConfig, lambdaLog } from "./lambda.ts";
import { openQueues, type Queues } from "./queues.ts";
import type { ReceiveContext } from "./receive.ts";
import { createSecretReader } from "./secrets.ts";

export interface LambdaEdge {
  readonly config: RelayConfig;
  readonly queues: Queues;
  readonly journal: Journal | null;
  readonly context: ReceiveContext;
}

/** Throws an Error with every problem of the configuration, or with the queue that cannot be opened. */
export async function openLambdaEdge(): Promise<LambdaEdge> {
  const config = await lambdaConfig();
  const observer = lambdaLog(config);
  const env = withAddresses(config, process.env);
  const queues = await openQueues(config, { clusters: Object.keys(config.clusters), unparsed: true, as: "owner", observer, env });
  const { journal, note } = await openJournals(config, { observer, patienceMs: EDGE_PATIENCE_MS });
  const { store, storeUnparsed } = queues;
  const context = { config, observer, store, storeUnparsed, note, readSecret: createSecretReader(), now: () => new Date() };
  return { config, queues, journal, context };
}

/**
 * All variables of a function have 4 KB, so the stack gives the clusters' queues to an edge by name alone. They lie beside the queue of unread
 * deliveries, whose address is whole.
 */
export function withAddresses(
  { clusters, unparsed }: Pick<RelayConfig, "clusters" | "unparsed">,
  env: NodeJS.ProcessEnv,
): NodeJS.ProcessEnv {
  const beside = unparsed?.kind === "env" ? env[unparsed.name] : undefined;
  if (beside === undefined || !URL.canParse(beside)) return env;
  const named = Object.values(clusters).flatMap(({ queue }) => {
    const name = queue.kind === "env" ? (env[queue.name] ?? "") : "";
    return queue.kind === "env" && /^[\w-]{1,80}$/.test(name) ? [[queue.name, new URL(name, beside).href] as const] : [];
  });
  return { ...env, ...Object.fromEntries(named) };
}

/**
 * An HTTP API hands over a decoded path, so a secret in it may fall into parts, or break the URL; a function URL leaves it as it came. What
 * stands behind a webhook's name, or a push's key, is one part.
 */
export function withEncodedPath<E extends object>(event: E): E {
  const read = decoded.safeParse(event);
  if (!read.success || read.data.requestContext.domainName.includes(".lambda-url.")) return event;
  const [area = "", name = "", ...rest] = read.data.rawPath.slice(1).split("/");
  return rest.length === 0 ? event : { ...event, rawPath: `/${[area, name, rest.join("/")].map(encoded).join("/")}` };
}
/** Half a character cannot be encoded, and would throw. */
const encoded = (part: string) => encodeURIComponent(Buffer.from(part).toString());
/** https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html */
const decoded = z.object({ rawPath: z.string().startsWith("/"), requestContext: z.object({ domainName: z.string() }) });

/** Lambda takes no larger event, and the body is in it: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const LARGEST_BODY = 6 * 1024 ** 2;

/** The app's limits, where a body is in hand whole before anybody looks: it is measured by `receive`, once its sender is known, so a stranger's is no alarm. */
export const withWholeBodies = ({ limits, webhooks }: RelayConfig): Pick<RelayConfig, "limits" | "webhooks"> => ({
  limits: { ...limits, body: LARGEST_BODY },
  webhooks: Object.fromEntries(Object.entries(webhooks).map(([name, webhook]) => [name, { ...webhook, maxBody: null }])),
});
