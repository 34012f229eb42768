/** GitLab's registry puts a JWT into `actor.user` of every notification: whatever else is wrong with it, that token is kept nowhere. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { createApp } from "../src/app.ts";
import { logTo } from "../src/observe.ts";
import { receive } from "../src/receive.ts";
import { deliveriesOf } from "./contracts/deliveries.ts";
import { configOf, source, start, webhook } from "./support/relay.ts";

const TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtYWRlLXVwIn0.bm90LWEtc2lnbmF0dXJl";
const SECRET = "correct-horse-battery-staple";
const deliveries = deliveriesOf("gitlab").filter(({ body }) => body.includes(TOKEN));

/** Posts it; everything that was answered, logged and stored, as one text. */
async function traceOf(body: Uint8Array, headers: Readonly<Record<string, string>>): Promise<string> {
  const trace: unknown[] = [];
  const config = configOf({
    webhooks: { registry: { ...webhook, provider: "gitlab" } },
    sources: [{ ...source, repo: "registry.gitlab.example.com/platform/deckhouse/modules" }],
  });
  const context = {
    config,
    readSecret: async () => SECRET,
    store: async (records: ReadonlyMap<string, unknown>) => void trace.push(...records.values()),
    storeUnparsed: async (letter: unknown) => trace.push(letter, Buffer.from(JSON.stringify(letter)).toString("base64")) > 0,
    observer: logTo({ write: (line) => void trace.push(line) }),
    now: () => start,
  };
  const app = createApp({ ...context, receive: (delivery) => receive(delivery, context), ready: async () => {} });
  const response = await app.request("/hooks/registry", {
    method: "POST",
    body: new Uint8Array(body),
    headers: { ...headers, authorization: SECRET },
  });
  expect(response.status).toBeLessThan(300);
  return JSON.stringify([...trace, await response.text()]);
}

/** No part of it that would be worth anything: the payload, and in base64 too. */
const expectNoToken = (trace: string) => {
  const decoded = trace.replaceAll(/[A-Za-z0-9+/]{80,}={0,2}/g, (text) => Buffer.from(text, "base64").toString("latin1"));
  for (const text of [trace, decoded]) expect(text).not.toContain("eyJzdWIi");
};

it("is in the saved deliveries, and the trace holds what it ought to", async () => {
  const names = deliveries.map(({ name }) => name);
  expect(names.some((name) => name.startsWith("push-")) && names.some((name) => name.startsWith("unreadable-"))).toBe(true);
  const unreadable = deliveries.find(({ name }) => name.startsWith("unreadable-"));
  const trace = await traceOf(unreadable?.body ?? Buffer.alloc(0), unreadable?.headers ?? {});
  expect(trace).toContain("QUEUED");
  expect(trace).toContain("UNPARSED");
  expect(trace).toContain("(removed)");
});

it.each(deliveries)("is not kept of $name, whole or cut off anywhere", async ({ body, headers }) => {
  expectNoToken(await traceOf(body, headers));
  const text = body.toString("latin1");
  const behind = text.indexOf(TOKEN) + TOKEN.length;
  for (const end of [behind, behind + 1, behind + 20, body.length - 1]) expectNoToken(await traceOf(body.subarray(0, end), headers));
  expectNoToken(await traceOf(body, { ...headers, "content-type": "application/x-www-form-urlencoded" }));
  expectNoToken(await traceOf(Buffer.from(`${text}\xff`, "latin1"), headers));
});

it("is not kept of a delivery with any byte changed", async () => {
  const spoiled = fc.record({ delivery: fc.constantFrom(...deliveries), at: fc.nat(), byte: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(spoiled, async ({ delivery, at, byte }) => {
      const place = at % delivery.body.length;
      const token = delivery.body.indexOf(TOKEN);
      fc.pre(place < token || place >= token + TOKEN.length); // changed itself it is no token
      const body = Buffer.from(delivery.body);
      body[place] = byte;
      expectNoToken(await traceOf(body, delivery.headers));
    }),
    { numRuns: 200 },
  );
});
