/** Cloudflare Workers, HTTP: the edge. Bindings are `process.env` there (nodejs_compat). */
import { createApp } from "../src/app.ts";
import { logTo } from "../src/observe.ts";
import { receive } from "../src/receive.ts";
import { createSecretReader } from "../src/secrets.ts";
import { openSinks, workersConfig } from "../src/workers.ts";

// At import, so that wrangler refuses to deploy a wrong configuration, and says why.
const config = await workersConfig();
// oxlint-disable-next-line no-console -- it is the log of a Worker
const observer = logTo({ write: (line) => console.log(line.trimEnd()) });
const { store, storeUnparsed, ready } = openSinks(config, observer);
const context = { config, observer, store, storeUnparsed, readSecret: createSecretReader(), now: () => new Date() };

export default createApp({ config, observer, receive: (delivery) => receive(delivery, context), ready });
