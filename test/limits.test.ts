/** What others may make as large as they like: each has a bound where it comes in, so that it breaks nothing further on. */
import { expect, it } from "vitest";
import { toClusterError } from "../src/cluster/errors.ts";
import { readFound } from "../src/cluster/read.ts";
import { loadConfig } from "../src/config.ts";
import { decode, encode } from "../src/event.ts";
import { createMatcher } from "../src/match.ts";
import { providers } from "../src/providers/index.ts";
import { pushesOf } from "../src/providers/provider.ts";
import { checkRecord, checkSize } from "../src/queue/body.ts";
import { settlementOf } from "../src/settle.ts";
import { storedDelivery, unparsedLetter } from "../src/unparsed.ts";
import { requestOf, start } from "./support/relay.ts";

it("a Retry-After of any size leads to a record that can be read again", () => {
  for (const seconds of ["3601", "1000000000000", "1e300"]) {
    const error = toClusterError({ code: 429, headers: { "retry-after": seconds }, body: "slow down" });
    expect(error.retryAfterSeconds).toBe(3600);
    const settlement = settlementOf({ kind: "failed", error }, requestOf(), start);
    expect(settlement.kind === "defer" && decode(settlement.next.body).kind).toBe("request");
  }
});

it("a status message of any size fits into a confirm record", () => {
  const answer = {
    kind: "ModulePullOverride",
    metadata: { name: "echo", resourceVersion: "1" },
    spec: { imageTag: "main" },
    status: { message: `Download error: ${"ы".repeat(100_000)}` },
  };
  const { message } = readFound(answer, "v1alpha2").override.status;
  expect(message).toMatch(/^Download error: ы+$/);
  const look = { step: 0, digest: null, message, updatedAt: null, patchedAt: start.toISOString() };
  expect(() => checkRecord({ body: encode(requestOf({ kind: "confirm", look })) })).not.toThrow();
});

it("of a delivery of thousands of pushes the first ones count, and the rest is one part that cannot be read", () => {
  const { generic } = providers;
  if (!generic) throw new Error("generic");
  const items = Array.from({ length: 5000 }, (_, n) => ({ repository: "registry.example.com/modules/echo", tag: `v${n}` }));
  const { pushes, unreadable } = pushesOf(generic, items, { headers: {}, host: null });
  expect(pushes.map(({ tag }) => tag)).toEqual(items.slice(0, 500).map(({ tag }) => tag));
  expect(unreadable).toEqual(["more than 500 items: those behind are not read"]);
});

it("a delivery of half a million items is read to the five hundredth", () => {
  for (const name of ["generic", "distribution"]) {
    const provider = providers[name];
    if (!provider) throw new Error(name);
    const items = Array.from({ length: 500_000 }, () => 0);
    const { pushes, unreadable } = pushesOf(provider, name === "generic" ? items : { events: items }, { headers: {}, host: null });
    expect([pushes, unreadable.length, unreadable.at(-1)]).toEqual([[], 501, "more than 500 items: those behind are not read"]);
  }
});

it("an image's name at the longest of its parts fits into a record", () => {
  const image = `${"h".repeat(255)}/${"r".repeat(512)}:${"t".repeat(256)}`;
  expect(decode(encode(requestOf({ image })))).toMatchObject({ kind: "request" });
});

it("an unread delivery with long headers still fits into a queue: its body is packed", () => {
  const body = Buffer.from("x".repeat(184_000));
  const letterWith = (headers: Record<string, string>) => unparsedLetter({ webhook: "registry", headers, body }, [], ["not JSON"], start);
  const [short, long] = [letterWith({ "ce-id": "1" }), letterWith({ "ce-id": '"'.repeat(15_000) })];
  expect(storedDelivery(short.body)?.body).toEqual(body);
  expect(storedDelivery(long.body)?.body).toEqual(body);
  expect(JSON.parse(long.body)).toMatchObject({ body: { encoding: "gzip" } });
  expect(() => checkSize(long.body)).not.toThrow();
});

const config = (file: Record<string, unknown>) =>
  loadConfig({
    env: {
      MPO_RELAY_CONFIG: JSON.stringify({
        webhooks: { registry: { provider: "distribution", secret: "env:SECRET" } },
        sources: [{ repo: "registry.example.com/deckhouse/modules" }],
        clusters: { dev: { queue: "embedded:" } },
        ...file,
      }),
    },
  });
const problems = async (file: Record<string, unknown>) => {
  const loaded = await config(file);
  return loaded.ok ? [] : loaded.problems.map(({ path, message }) => `${path}: ${message}`);
};

it("a source's name is no longer than a record takes", async () => {
  const sources = (name: string) => ({ sources: [{ repo: "registry.example.com/deckhouse/modules", name }] });
  expect(await problems(sources("n".repeat(253)))).toEqual([]);
  expect(await problems(sources("n".repeat(254)))).toEqual(["sources[0].name: is too long"]);
});

it("letters go to no queue that is consumed, nor to another kind of queue", async () => {
  const sqs = (name: string) => `https://sqs.eu-west-1.amazonaws.com/1/${name}`;
  expect(await problems({ clusters: { dev: { queue: sqs("a"), deadLetters: sqs("a-dead") } }, unparsed: sqs("u") })).toEqual([]);
  expect(await problems({ clusters: { dev: { queue: "env:QUEUE", deadLetters: "env:DEAD" } }, unparsed: "env:UNPARSED" })).toEqual([]);
  expect(await problems({ clusters: { dev: { queue: "embedded:./data", deadLetters: "embedded:data" } } })).toEqual([]);
  expect(
    await problems({
      clusters: {
        dev: { queue: sqs("a"), deadLetters: sqs("b") },
        stage: { queue: sqs("b"), deadLetters: "embedded:" },
        prod: { queue: "embedded:", deadLetters: sqs("c") },
      },
      unparsed: sqs("a"),
    }),
  ).toEqual([
    "unparsed: the queue of clusters.dev: letters there would be taken for records",
    "clusters.dev.deadLetters: the queue of clusters.stage: letters there would be taken for records",
    "clusters.stage.deadLetters: cannot hold the dead letters of this queue",
    "clusters.prod.deadLetters: cannot hold the dead letters of this queue",
  ]);
});

it("a webhook narrowed to a repo in another spelling is narrowed to that repo", async () => {
  const narrowed = { provider: "distribution", secret: "env:SECRET", sources: ["https://Registry.example.com/deckhouse/modules/"] };
  const loaded = await config({ webhooks: { registry: narrowed } });
  if (!loaded.ok) throw new Error("refused");
  const { sources, webhooks } = loaded.config;
  const nothing = { digest: null, mediaType: null, actor: null, time: null, id: null };
  const push = { host: "registry.example.com", repository: "deckhouse/modules/echo", tag: "main", ...nothing };
  expect(createMatcher(sources, webhooks["registry"]?.sources)(push)).toMatchObject({ kind: "match" });
});
