/** Files of one small job each. */
import { describe, expect, it } from "vitest";
import { decodeBody } from "../src/body.ts";
import { createCircuit } from "../src/circuit.ts";
import { managedFields } from "../src/cluster/managed.ts";
import { readFound } from "../src/cluster/read.ts";
import { recordsOf } from "../src/lambda.ts";
import { withAddresses, withEncodedPath } from "../src/lambda-edge.ts";
import { createLimiter } from "../src/limiter.ts";
import { sentenceOf } from "../src/observe.ts";
import { type ErrorCode, httpStatus, RelayError, toRelayError, TREATMENT } from "../src/outcome.ts";
import { createPace } from "../src/pace.ts";
import { adviceOn, verdictOf } from "../src/status.ts";
import { configOf, fakeObserver } from "./support/relay.ts";

const bytes = (text: string) => Buffer.from(text);

describe("decodeBody", () => {
  it("takes JSON whatever the content type says, or says nothing", () => {
    for (const type of [undefined, "application/json", "application/vnd.docker.distribution.events.v2+json", "text/plain"]) {
      expect(decodeBody(bytes('{"a":1}'), type)).toEqual({ ok: true, value: { a: 1 } });
    }
  });
  it("takes a form's payload", () => {
    const form = "application/x-www-form-urlencoded; charset=utf-8";
    expect(decodeBody(bytes("payload=%7B%22a%22%3A1%7D"), form)).toEqual({ ok: true, value: { a: 1 } });
    expect(decodeBody(bytes("x=1"), form)).toMatchObject({ ok: false });
  });
  it("says why it cannot", () => {
    expect(decodeBody(bytes("{"), undefined)).toEqual({ ok: false, why: "not JSON" });
    expect(decodeBody(Buffer.from([0xff]), undefined)).toEqual({ ok: false, why: "not UTF-8" });
  });
});

it("a line for people holds nothing that steers their terminal, whoever wrote it", () => {
  const line = { outcome: "REFUSED", module: "echo\u001b[2J", why: "no\n2026-11-30 PICKED_UP  fine\u009b1A", message: "\u0007" };
  expect(sentenceOf(line)).toBe("REFUSED  echo [2J  no 2026-11-30 PICKED_UP  fine 1A  ");
});

it("a queue that a Lambda edge knows by name lies beside that of the unread deliveries, and an address stays one", () => {
  const form = (name: string) => ({ kind: "env", name, region: null, endpoint: null }) as const;
  const { clusters } = configOf();
  const [dev = expect.fail("no cluster")] = Object.values(clusters);
  const config = {
    clusters: { a: { ...dev, queue: form("A") }, b: { ...dev, queue: form("B") }, c: dev, d: { ...dev, queue: form("D") } },
    unparsed: form("U"),
  };
  const SQS = "https://sqs.eu-central-1.amazonaws.com/123456789012";
  const env = { A: "mpo-relay-prod-QueueA-1X", B: `${SQS}/b`, U: `${SQS}/mpo-relay-prod-UnparsedQueue-2Y`, D: "no name", E: "mpo-relay" };
  expect(withAddresses(config, env)).toEqual({ ...env, A: `${SQS}/mpo-relay-prod-QueueA-1X` });
  expect(withAddresses(config, { A: "mpo-relay-prod-QueueA-1X" })).toEqual({ A: "mpo-relay-prod-QueueA-1X" });
});

it.each([
  ["/hooks/quay/a/b+c=", "/hooks/quay/a%2Fb%2Bc%3D"],
  ["/pushes/aaaaaaaaaaaa/%2F#", "/pushes/aaaaaaaaaaaa/%252F%23"],
  ["/hooks/quay/\ud800", "/hooks/quay/%EF%BF%BD"],
  ["/hooks/quay/", "/hooks/quay/"],
  ["/hooks/quay", "/hooks/quay"],
  ["/", "/"],
])("the path %j, which an HTTP API has decoded, has its parts again: %j", (rawPath, wanted) => {
  const event = (domainName: string) => ({ version: "2.0", rawPath, requestContext: { domainName } });
  expect(withEncodedPath(event("relay.example.com"))).toEqual({ ...event("relay.example.com"), rawPath: wanted });
  const url = "relay.lambda-url.eu-west-1.on.aws";
  expect(withEncodedPath(event(url))).toEqual(event(url));
});

describe("createCircuit", () => {
  it("tells once that it opened, waits longer from probe to probe, and closes", async () => {
    const { observer, codes, outcomes } = fakeObserver();
    let isUp = false;
    const probe = async () => {
      if (!isUp) throw new RelayError("CLUSTER_UNREACHABLE", "refused");
    };
    const circuit = createCircuit("dev", probe, observer, toRelayError);
    expect(await circuit.probe()).toBe(true);
    circuit.open(new RelayError("CLUSTER_BUSY", "429", { retryAfterSeconds: 7 }));
    circuit.open(new RelayError("CLUSTER_BUSY", "429", { retryAfterSeconds: 7 }));
    expect(codes()).toEqual(["CLUSTER_BUSY"]);
    expect(circuit.waitMs).toBe(7000);
    const waits: number[] = [];
    for (let n = 0; n < 9; n++) {
      expect(await circuit.probe()).toBe(false);
      waits.push(circuit.waitMs);
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    isUp = true;
    expect([await circuit.probe(), circuit.error]).toEqual([true, null]);
    expect(outcomes()).toEqual(["CIRCUIT_CLOSED"]);
  });
});

describe("createLimiter", () => {
  it("counts each address by itself, for a minute", () => {
    let now = 0;
    const isTooMany = createLimiter(2, () => now);
    expect([isTooMany("a"), isTooMany("a"), isTooMany("a"), isTooMany("b")]).toEqual([false, false, true, false]);
    now = 60_001;
    expect(isTooMany("a")).toBe(false);
  });
  it("forgets the oldest of very many addresses, and stays small", () => {
    const isTooMany = createLimiter(1, () => 0);
    for (let n = 0; n <= 10_000; n++) isTooMany(String(n));
    expect(isTooMany("0")).toBe(false);
    expect(isTooMany("10000")).toBe(true);
  });
});

it("createPace lets calls through at its rate, in order", async () => {
  const now = 1000;
  const pace = createPace(1000, () => now); // the clock stands still: each call has to wait a gap longer than the one before
  const order: number[] = [];
  await Promise.all([1, 2, 3].map(async (n) => pace().then(() => order.push(n))));
  expect(order).toEqual([1, 2, 3]);
});

describe("verdictOf", () => {
  it.each([
    ["", "ok"],
    ["Ready", "ok"],
    ["The module disabled", "refused"],
    ["Validation error: x", "refused"],
    ["Download error: x", "error"],
    ["GET https://registry.example.com/v2/: 500", "error"],
    ["Enable error: x", "error"],
  ])("%s is %s", (message, verdict) => {
    expect(verdictOf(message)).toBe(verdict);
    expect(adviceOn(message)).not.toBe("");
  });
});

describe("outcomes", () => {
  it("are 202, 200, or what their error says; what nobody foresaw is 503, so that the sender tries again", () => {
    const status = (code: ErrorCode) => httpStatus({ kind: "failed", error: new RelayError(code, "") });
    expect(httpStatus({ kind: "done", code: "QUEUED" })).toBe(202);
    expect(httpStatus({ kind: "skipped", reason: "NO_TAG" })).toBe(200);
    const statuses = (["AUTH_FAILED", "UNKNOWN_WEBHOOK", "TOO_LARGE", "TOO_MANY", "QUEUE_UNAVAILABLE", "INTERNAL"] as const).map(status);
    expect(statuses).toEqual([401, 404, 413, 429, 503, 503]);
  });
  it("treat every error that can heal as one that comes again", () => {
    const treated = (treatment: string) => Object.entries(TREATMENT).flatMap(([code, each]) => (each === treatment ? [code] : []));
    expect(treated("circuit")).toEqual([
      "CLUSTER_UNREACHABLE",
      "CLUSTER_BUSY",
      "CLUSTER_ERROR",
      "CLUSTER_UNAUTHORIZED",
      "OTHER_CLUSTER",
      "CLUSTER_UNVERIFIED",
    ]);
    expect(treated("defer")).toEqual([
      "API_VERSION_GONE",
      "CONFLICT",
      "WORKER_TOO_OLD",
      "QUEUE_UNAVAILABLE",
      "JOURNAL_UNAVAILABLE",
      "REGISTRY_UNAVAILABLE",
      "QUEUE_REFUSED",
      "INTERNAL",
    ]);
  });
});

it("recordsOf reads Lambda's SQS event, and refuses another event", () => {
  const record = {
    messageId: "m",
    receiptHandle: "r",
    body: "b",
    attributes: { ApproximateReceiveCount: "3", SentTimestamp: "1795000000000" },
  };
  expect(recordsOf({ Records: [record] })).toEqual([
    { id: "m", receipt: "r", body: "b", receiveCount: 3, sentAt: "2026-11-18T11:06:40.000Z" },
  ]);
  expect(() => recordsOf({ detail: {} })).toThrow();
});

describe("managed fields", () => {
  const entry = (manager: unknown, field = "f:scanInterval", time: unknown = "2026-11-24T12:00:00Z") => ({
    manager,
    time,
    fieldsType: "FieldsV1",
    fieldsV1: { "f:spec": { [field]: {} } },
  });
  const found = (entries?: unknown) =>
    readFound(
      {
        kind: "ModulePullOverride",
        metadata: { name: "echo", resourceVersion: "1", ...(entries !== undefined && { managedFields: entries }) },
        spec: { imageTag: "main" },
      },
      "v1alpha2",
    ).override.keeper;

  it.each<[string, unknown]>([
    ["no text as its manager", entry(7)],
    ["no text as its time", entry("mpo-relay", "f:scanInterval", 7)],
    ["fields of another form", { manager: "mpo-relay", fieldsV1: { "f:spec": [] } }],
    ["no form at all", null],
  ])("one with %s is left out, and its neighbours count", (_what, broken) => {
    expect(managedFields.parse([broken, entry("argocd-controller")])).toEqual([
      { manager: "argocd-controller", time: "2026-11-24T12:00:00Z", spec: ["f:scanInterval"] },
    ]);
    expect(found([broken, entry("argocd-controller")])).toBe("Argo CD");
  });

  it.each([undefined, null, "none", []])("%j are nobody's", (none) => {
    expect(found(none)).toBeNull();
  });
});
