/** AWS Lambda, HTTP: the edge behind a function URL or an HTTP API. */
import { handle, type LambdaContext, type LambdaEvent } from "hono/aws-lambda";
import { createApp } from "../src/app.ts";
import { openLambdaEdge, withEncodedPath, withWholeBodies } from "../src/lambda-edge.ts";
import { type PushQuestion, tellPush } from "../src/pushes.ts";
import { receive } from "../src/receive.ts";

const { config, queues, journal, context } = await openLambdaEdge();

const app = createApp({
  config: withWholeBodies(config),
  observer: context.observer,
  receive: (delivery) => receive(delivery, context),
  ...(journal && { tellPush: (question: PushQuestion) => tellPush(question, { ...context, journal }) }),
  ready: queues.ready,
});
const respond = handle(app);
export const handler = (event: LambdaEvent, lambda?: LambdaContext) => respond(withEncodedPath(event), lambda);
