/**
 * A process under load: `edge.js <kind> <port> <configuration>`.
 * `bare`: a Hono route that reads the body and answers. `discard`: the edge, with a queue that stores nothing. `edge`: the edge as it is.
 */
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { createApp } from "../../src/app.ts";
import { configOrThrow } from "../../src/config.ts";
import { processLog } from "../../src/observe.ts";
import { untilStopped } from "../../src/process.ts";
import { receive } from "../../src/receive.ts";
import { bodyOf, startRelay } from "../../src/relay.ts";
import { createSecretReader } from "../../src/secrets.ts";

const [, , kind = "", port = "", file = ""] = process.argv;
const observer = await processLog();

const nothing = async () => {};
const kinds: Readonly<Record<string, () => Promise<() => Promise<void>>>> = { bare, discard, edge };
const begin = kinds[kind];
if (!begin) throw new Error(`no such kind: ${kind}`);
await untilStopped(observer, async () => ({ stop: await begin() }));

async function bare(): Promise<() => Promise<void>> {
  const app = new Hono();
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.post("/hooks/:webhook", async (c) => {
    const body = await c.req.arrayBuffer();
    return c.json({ bytes: body.byteLength }, 202);
  });
  return listen(app);
}

async function discard(): Promise<() => Promise<void>> {
  const config = await configOrThrow({ file });
  const readSecret = createSecretReader();
  const context = { config, observer, readSecret, store: nothing, storeUnparsed: async () => true, now: () => new Date() };
  return listen(createApp({ config, observer, receive: (delivery) => receive(delivery, context), ready: nothing, bodyOf }));
}

async function edge(): Promise<() => Promise<void>> {
  const relay = await startRelay({ config: await configOrThrow({ file }), observer, roles: ["edge"] });
  return () => relay.stop();
}

function listen(app: Hono): () => Promise<void> {
  const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(port) });
  return async () => void server.close();
}
