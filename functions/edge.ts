/** AWS Lambda, HTTP: the edge behind a function URL or an HTTP API. */
import { handle } from "hono/aws-lambda";
import { createApp } from "../src/app.ts";
import { EDGE_PATIENCE_MS, openJournals } from "../src/journals.ts";
import { lambdaConfig } from "../src/lambda.ts";
import { logTo } from "../src/observe.ts";
import { type PushQuestion, tellPush } from "../src/pushes.ts";
import { openQueues } from "../src/queues.ts";
import { receive } from "../src/receive.ts";
import { createSecretReader } from "../src/secrets.ts";

// At import, so that a wrong configuration is an init error that the function's log names, and not a 503 to each sender.
const config = await lambdaConfig();
const observer = logTo(process.stdout);
const queues = await openQueues(config, { clusters: Object.keys(config.clusters), unparsed: true, as: "owner", observer });
const { journal, note } = await openJournals(config, { observer, patienceMs: EDGE_PATIENCE_MS });
const { store, storeUnparsed } = queues;
const context = { config, observer, store, storeUnparsed, note, readSecret: createSecretReader(), now: () => new Date() };

const app = createApp({
  config,
  receive: (delivery) => receive(delivery, context),
  ...(journal && { tellPush: (question: PushQuestion) => tellPush(question, { ...context, journal }) }),
  ready: queues.ready,
});
export const handler = handle(app);
