/** What a caller without a secret can do to the log: some lines a minute, and one more. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createApp } from "../src/app.ts";
import { openMetrics } from "../src/metrics/admin.ts";
import { toAll } from "../src/observe.ts";
import { type ErrorCode, RelayError } from "../src/outcome.ts";
import { receive } from "../src/receive.ts";
import { boundRefusals } from "../src/refusals.ts";
import { configOf, fakeObserver, start } from "./support/relay.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function edge() {
  const config = configOf();
  const log = fakeObserver();
  const bound = boundRefusals(log.observer);
  const metrics = openMetrics(config);
  const observer = toAll(bound.observer, metrics.observer);
  let unreadable: RelayError | null = null;
  const context = {
    config,
    observer,
    readSecret: async () => {
      if (unreadable) throw unreadable;
      return "s";
    },
    store: async () => {},
    storeUnparsed: async () => true,
    now: () => start,
  };
  const app = createApp({
    config,
    observer,
    receive: (delivery) => receive(delivery, context),
    ready: async () => {},
    tooMany: () => true,
  });
  const post = async (path: string, body = "{}") => (await app.request(path, { method: "POST", body })).status;
  const scrape = async () => (await metrics.fetch(new Request("http://relay/metrics"))).text();
  return { log, bound, post, scrape, failReading: (error: RelayError) => void (unreadable = error) };
}
const LARGE = "x".repeat(1024 ** 2 + 1);

it.each([
  ["/hooks/registry", "{}", 429, "AUTH_FAILED", "registry", "refused"],
  ["/hooks/registry", LARGE, 413, "TOO_LARGE", "registry", "refused"],
  ["/hooks/nobody", LARGE, 413, "TOO_LARGE", null, "refused"],
  ["/hooks/nobody", "{}", 404, "UNKNOWN_WEBHOOK", null, "refused"],
])("a hundred calls of %s are told in ten lines and a sum (%#)", async (path, body, status, outcome, webhook, decision) => {
  const { log, post, scrape } = edge();
  for (let n = 0; n < 100; n += 1) expect(await post(path, body)).toBe(status);
  expect(log.lines).toHaveLength(10);
  const count = new RegExp(
    `mpo_relay_deliveries_total\\{webhook="${webhook ?? "\\(other\\)"}",decision="${decision}",reason="${outcome}"\\} 100\n`,
  );
  expect(await scrape()).toMatch(count); // counted at once, told or not
  vi.advanceTimersByTime(60_000);
  expect(log.lines.slice(9)).toEqual([expect.objectContaining({ outcome, webhook }), { event: "delivery", outcome, webhook, more: 90 }]);
  await post(path, body);
  expect(log.lines).toHaveLength(12); // a new minute
});

it("a delivery over the limit is an alarm at a webhook that there is, bound as its lines are; at another it is none", async () => {
  const { log, post, scrape } = edge();
  for (let n = 0; n < 12; n += 1) await post("/hooks/registry", LARGE);
  await post("/hooks/nobody", LARGE);
  expect(log.alarms).toHaveLength(10);
  expect(await scrape()).toContain(`mpo_relay_alarms_total{code="TOO_LARGE"} 12\n`);
  vi.advanceTimersByTime(60_000);
  expect(log.alarms.at(-1)).toMatchObject({ code: "TOO_LARGE", webhook: "registry", more: 2 });
  expect(log.alarms).toHaveLength(11);
});

it("what is still to be told is told at the end, and lines of others are never bound", async () => {
  const { log, bound, post } = edge();
  for (let n = 0; n < 11; n += 1) {
    await post("/hooks/registry");
    bound.observer.outcome({ event: "record", outcome: "AUTH_FAILED" });
    bound.observer.alarm("CLUSTER_UNREACHABLE", { what: "it does not answer", cluster: "dev" });
  }
  expect(log.lines).toHaveLength(10 + 11);
  bound.close();
  expect(log.lines.at(-1)).toEqual({ event: "delivery", outcome: "AUTH_FAILED", webhook: "registry", more: 1 });
  expect(log.codes()).toEqual(Array.from({ length: 11 }, () => "CLUSTER_UNREACHABLE"));
  bound.close();
  expect(log.lines).toHaveLength(22);
});

it.each<ErrorCode>(["INTERNAL", "KEYS_UNAVAILABLE"])("a stranger fills no disk while %s keeps anybody from being known", async (code) => {
  const { log, post, failReading } = edge();
  failReading(new RelayError(code, "it cannot be read"));
  for (let n = 0; n < 100; n += 1) expect(await post("/hooks/registry")).toBe(503);
  expect(log.lines).toHaveLength(10);
  expect(log.alarms).toHaveLength(10);
});
