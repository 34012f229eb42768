/** What reading a delivery may cost: nobody needs a secret to send bytes. */
import { expect, it } from "vitest";
import { createApp } from "../src/app.ts";
import { createBodies } from "../src/bodies.ts";
import { ADVICE } from "../src/outcome.ts";
import { configOf, start, webhook } from "./support/relay.ts";
import { receive } from "../src/receive.ts";
import { fakeObserver } from "./support/relay.ts";

/** A body that is sent up to its last bytes, which come when the test says so. */
function slowBody(bytes: number) {
  let finish = () => {};
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new Uint8Array(bytes));
      finish = () => controller.close();
    },
  });
  return { stream, finish: () => finish() };
}
const length = async (body: Uint8Array) => body.byteLength;
const settled = () => new Promise((resolve) => setImmediate(resolve));

it("all bodies in hand together have one limit; room is given back, whatever became of them", async () => {
  const bodies = createBodies(100);
  const [one, two] = [slowBody(60), slowBody(40)];
  const first = bodies.read(one.stream, 60, length);
  const second = bodies.read(two.stream, 60, () => Promise.reject(new Error("no queue")));
  await settled();
  await expect(bodies.read(slowBody(1).stream, 60, length)).rejects.toMatchObject({ code: "NO_MEMORY" });
  one.finish();
  two.finish();
  await expect(first).resolves.toBe(60);
  await expect(second).rejects.toThrow("no queue");
  await expect(bodies.read(slowBody(61).stream, 60, length)).rejects.toMatchObject({ code: "TOO_LARGE" });
  const last = slowBody(60);
  last.finish();
  await expect(bodies.read(last.stream, 60, length)).resolves.toBe(60);
});

it("where memory is short the sender is told to come again, and everybody is heard once it is not", async () => {
  const config = configOf({ webhooks: { registry: webhook } });
  const { observer, lines, alarms } = fakeObserver();
  const unused = async () => {};
  const context = { config, observer, readSecret: async () => "s", store: unused, storeUnparsed: async () => true, now: () => start };
  const app = createApp({ config, observer, receive: (delivery) => receive(delivery, context), ready: unused });
  const post = async (body: ReadableStream<Uint8Array>) =>
    app.request(new Request("http://edge/hooks/registry", { method: "POST", body, duplex: "half" }));
  const held = Array.from({ length: 64 }, () => slowBody(1024 ** 2));
  const answers = held.map(({ stream }) => post(stream));
  await settled();
  await settled();
  const refused = await post(slowBody(1).stream);
  expect([refused.status, refused.headers.get("retry-after"), await refused.text()]).toEqual([
    503,
    "5",
    JSON.stringify({ decision: "failed", reason: "NO_MEMORY", key: null }),
  ]);
  expect(lines).toEqual([expect.objectContaining({ event: "delivery", outcome: "NO_MEMORY", webhook: "registry" })]);
  expect(alarms).toEqual([expect.objectContaining({ code: "NO_MEMORY", webhook: "registry", what: ADVICE.NO_MEMORY })]);
  for (const { finish } of held) finish();
  expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([401]));
});
