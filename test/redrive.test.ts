import { describe, expect, it } from "vitest";
import { loadConfig, type RelayConfig } from "../src/config.ts";
import { encode, keyOf, type RenewRequest } from "../src/event.ts";
import { redriveOf } from "../src/redrive.ts";
import { unparsedLetter } from "../src/unparsed.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const buried: RenewRequest = {
  v: 1,
  kind: "confirm",
  cluster: "dev",
  module: "echo",
  source: null,
  tag: "main",
  digest: DIGEST,
  index: false,
  key: "0123456789abcdef",
  nudge: 2,
  webhook: "prod",
  image: "r.example.com/m/echo:main",
  actor: "ci",
  pushedAt: null,
  receivedAt: "2026-05-01T00:00:00.000Z",
  attempt: 7,
  notBefore: "2026-05-01T01:00:00.000Z",
  refusedSince: "2026-05-01T00:10:00.000Z",
  rival: null,
  retries: 3,
  look: { step: 5, digest: null, message: "Ready", updatedAt: null, patchedAt: "2026-05-01T00:00:01.000Z" },
};

async function config(): Promise<RelayConfig> {
  const text = {
    webhooks: { prod: { provider: "generic", secret: "env:S" } },
    sources: [{ repo: "r.example.com/m" }],
    clusters: { dev: { queue: "embedded:" }, stage: { queue: "embedded:" } },
  };
  const loaded = await loadConfig({ env: { MPO_RELAY_CONFIG: JSON.stringify(text) } });
  if (!loaded.ok) throw new Error("not a good configuration");
  return loaded.config;
}

const delivery = (body: string, webhook = "prod") =>
  unparsedLetter(
    { webhook, headers: { "content-type": "application/json" }, body: Buffer.from(body) },
    [],
    ["why"],
    new Date("2026-05-01T00:00:00.000Z"),
  );

/** As a letter would be of which only the first bytes were kept. */
function inPart() {
  const { body, ...letter } = delivery("{}");
  return { ...letter, body: body.replace('"whole":true', '"whole":false') };
}

describe("a record", () => {
  it("is renewed once more, as the same push, and forgets what it met on its way", async () => {
    const { look: _, ...kept } = buried;
    expect(redriveOf({ code: "UNCONFIRMED", body: encode(buried) }, await config())).toEqual({
      kind: "send",
      requests: [{ ...kept, kind: "renew", nudge: 3, attempt: 0, notBefore: null, refusedSince: null, retries: 0 }],
    });
  });

  it.each([
    ["no JSON", "MALFORMED", "{", "not a record that a relay wrote (not JSON): purge it"],
    ["another shape", "MALFORMED", JSON.stringify({ ...buried, module: 7 }), "not a record that a relay wrote (module:"],
    ["a newer version", "WORKER_TOO_OLD", JSON.stringify({ ...buried, v: 2 }), "written by a newer relay (version 2, kind confirm)"],
  ])("of %s stays where it is", async (_, code, body, why) => {
    expect(redriveOf({ code, body }, await config())).toEqual({ kind: "refused", why: expect.stringContaining(why) });
  });
});

describe("a delivery that could not be read", () => {
  const push = { repository: "r.example.com/m/echo", tag: "main", digest: DIGEST };

  it("is parsed again as of the time at which it came, for every cluster", async () => {
    const redrive = redriveOf(delivery(JSON.stringify(push)), await config());
    const event = {
      host: "r.example.com",
      repository: "m/echo",
      tag: "main",
      digest: DIGEST,
      mediaType: null,
      actor: null,
      time: null,
      id: null,
    };
    const same = {
      module: "echo",
      tag: "main",
      nudge: 0,
      key: keyOf("prod", event, "2026-05-01T00:00:00.000Z"),
      receivedAt: "2026-05-01T00:00:00.000Z",
    };
    expect(redrive).toMatchObject({
      kind: "send",
      requests: [
        { ...same, cluster: "dev" },
        { ...same, cluster: "stage" },
      ],
    });
  });

  it("is read to its end, also where one answer had no time for all of it", async () => {
    const batch = Array.from({ length: 700 }, (_, index) => ({ ...push, id: String(index) }));
    const redrive = redriveOf(delivery(JSON.stringify(batch)), await config());
    expect(redrive.kind === "send" ? redrive.requests.length : redrive).toBe(1400);
  });

  it("may turn out to be not for us", async () => {
    expect(redriveOf(delivery(JSON.stringify({ ...push, repository: "r.example.com/other/echo" })), await config())).toEqual({
      kind: "send",
      requests: [],
    });
  });

  it.each([
    ["still cannot be read", delivery(`{"repository":7}`), "this version cannot read it either: "],
    ["came to a webhook that is gone", delivery("{}", "old"), 'the webhook "old" is no longer in the configuration'],
    [
      "came to a webhook named like a part of JavaScript",
      delivery("{}", "constructor"),
      'the webhook "constructor" is no longer in the configuration',
    ],
    ["was not kept whole", inPart(), "it was too large to be kept whole"],
    ["is none", { code: "UNPARSED", body: "{}" }, "not a stored delivery"],
  ])("that %s stays where it is", async (_, letter, why) => {
    expect(redriveOf(letter, await config())).toEqual({ kind: "refused", why: expect.stringContaining(why) });
  });
});
