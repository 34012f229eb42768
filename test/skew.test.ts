/**
 * Edges and workers are updated one after the other, in any order, while records lie in the queues: what one release writes, the releases
 * before and after it must read. What earlier and later ones write stands here as they write it, and not by this release's own hands.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { describe, expect, it, onTestFinished } from "vitest";
import * as z from "zod";
import { createCircuit } from "../src/circuit.ts";
import { confirm } from "../src/confirm.ts";
import { consume } from "../src/consume.ts";
import { decode, encode, type RenewRequest } from "../src/event.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import { nudgeAnnotations, nudgeOf } from "../src/nudge.ts";
import { RelayError, toRelayError } from "../src/outcome.ts";
import type { NewDeadLetter, NewRecord } from "../src/queue/queue.ts";
import { answers, asks, refusal } from "../src/queue/hub/wire.ts";
import { renew } from "../src/renew.ts";
import { rescan } from "../src/rescan.ts";
import { settlementOf } from "../src/settle.ts";
import { at, digestOf, fakeCluster, fakeContext, fakeObserver, overrideOf, requestOf, start } from "./support/relay.ts";

/** As the first release wrote them: no index, refusedSince, retries and rival. */
const FIRST_RENEW = `{"v":1,"kind":"renew","cluster":"dev","module":"echo","source":"test","tag":"main","digest":"${digestOf("a")}",
  "key":"aaaaaaaaaaaa","nudge":0,"webhook":"registry","image":"registry.example.com/deckhouse/modules/echo:main","actor":"ci",
  "pushedAt":"2026-11-24T12:00:00.000Z","receivedAt":"2026-11-24T12:00:00.000Z","attempt":0,"notBefore":null}`;
const FIRST_CONFIRM = `{"v":1,"kind":"confirm","cluster":"dev","module":"echo","source":null,"tag":"main","digest":"${digestOf("a")}",
  "key":"aaaaaaaaaaaa","nudge":1,"webhook":"registry","image":"registry.example.com/deckhouse/modules/echo:main","actor":null,
  "pushedAt":null,"receivedAt":"2026-11-24T12:00:00.000Z","attempt":3,"notBefore":"2026-11-24T13:00:00.000Z",
  "look":{"step":2,"digest":null,"message":"","updatedAt":null,"patchedAt":"2026-11-24T12:00:01.000Z"}}`;
/** The release in between had the first three of them, not yet `rival`. */
const SECOND_RENEW = FIRST_RENEW.replace(/\}$/, `,"index":true,"refusedSince":"2026-11-24T12:00:00.000Z","retries":2}`);
/** A later one says more, in the record and in its look. */
const LATER_CONFIRM = FIRST_CONFIRM.replace(/\}\}$/, `,"phase":{"of":"later"}},"priority":9,"trace":["x"]}`);

/** The first worker's schema, frozen; like this one's it ignores what it does not know. Never change it with the code. */
const instant = z.iso.datetime({ precision: 3 });
const digest = z.string().regex(/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/);
const firstSchema = z.object({
  v: z.literal(1),
  kind: z.enum(["renew", "confirm"]),
  cluster: z.string().min(1).max(64),
  module: z.string().min(1).max(64),
  source: z.string().min(1).max(253).nullable(),
  tag: z.string().min(1).max(256),
  digest: digest.nullable(),
  key: z.string().regex(/^[a-z0-9]{8,63}$/),
  nudge: z.int().min(0),
  webhook: z.string().min(1).max(64),
  image: z.string().min(1).max(1100),
  actor: z.string().min(1).max(255).nullable(),
  pushedAt: instant.nullable(),
  receivedAt: instant,
  attempt: z.int().min(0),
  notBefore: instant.nullable(),
  look: z
    .object({
      step: z.int().min(0),
      digest: z.string().nullable(),
      message: z.string().nullable(),
      updatedAt: z.string().nullable(),
      patchedAt: instant,
    })
    .optional(),
});

const first = JSON.parse(FIRST_RENEW);
const look = { step: 2, digest: null, message: "", updatedAt: null, patchedAt: "2026-11-24T12:00:01.000Z" };
const confirmed = { ...JSON.parse(FIRST_CONFIRM), look };
const added = { index: false, refusedSince: null, retries: 0, rival: null };

describe("records of other releases", () => {
  it.each([
    ["the first one's renewal", FIRST_RENEW, { ...first, ...added }],
    ["the first one's confirmation", FIRST_CONFIRM, { ...confirmed, ...added }],
    ["the second one's renewal", SECOND_RENEW, { ...first, index: true, refusedSince: at(0), retries: 2, rival: null }],
    ["a later one's confirmation, without what it says more", LATER_CONFIRM, { ...confirmed, ...added }],
  ])("are read: %s", (_whose, body, request) => {
    expect(decode(body)).toEqual({ kind: "request", request });
  });

  it("are worked on: the first one's renewal nudges, the first one's confirmation looks", async () => {
    const { context, cluster, outcomes } = world();
    await consume([recordOf(FIRST_RENEW)], context);
    expect([outcomes(), cluster.patches.length]).toEqual([["NUDGED"], 1]);
    cluster.set({ status: { message: "Ready", imageDigest: digestOf("a"), updatedAt: at(1) } });
    const due = FIRST_CONFIRM.replace(`"notBefore":"2026-11-24T13:00:00.000Z"`, `"notBefore":null`).replace(`"nudge":1`, `"nudge":0`);
    await consume([recordOf(due)], context);
    expect(outcomes()).toEqual(["NUDGED", "PICKED_UP"]);
  });

  it.each([
    ["a later version", FIRST_RENEW.replace(`"v":1`, `"v":2`).replace(`"module":"echo"`, `"modules":["echo"]`)],
    ["a kind that came later", FIRST_RENEW.replace(`"kind":"renew"`, `"kind":"later"`)],
  ])("wait, as they are, for a worker that knows them: %s", async (_what, body) => {
    const { context, deferred, buried, codes, cluster } = world();
    await consume([recordOf(body)], context);
    expect([deferred, buried, cluster.patches]).toEqual([[{ body, delaySeconds: 300 }], [], []]);
    expect(codes()).toEqual(["WORKER_TOO_OLD"]);
  });
});

/** The first worker lets wait, as they are, what is of these versions and of none of its kinds. Frozen likewise. */
const firstWaits = z.object({ v: z.literal(1), kind: z.string().refine((kind) => !["renew", "confirm"].includes(kind)) });

describe("records of this release", () => {
  it("of a kind that the first one's worker does not know wait there for a newer one", async () => {
    const { context, take } = fakeContext(fakeCluster(null));
    const request = requestOf({ kind: "rescan", tag: "alpha" });
    await rescan(request, context);
    const bodies = [encode(request), ...take().map(({ body }) => body)];
    expect(bodies.map((body) => firstWaits.safeParse(JSON.parse(body)).success)).toEqual([true, true]);
  });

  it("are read by the first one's worker, each in each form that it is written in", async () => {
    const written = await writtenNow();
    expect(written.map(([what]) => what)).toEqual(["renew", "after a 403", "in hops", "confirm", "next look", "renudge", "watch"]);
    for (const [what, body] of written) {
      const read = firstSchema.safeParse(JSON.parse(body));
      expect(read.error?.issues ?? [], what).toEqual([]);
      const now = decode(body);
      expect(now.kind === "request" && now.request, what).toMatchObject({ ...read.data });
    }
  });
});

/** Each kind of record, made by the code that makes it. */
async function writtenNow(): Promise<(readonly [string, string])[]> {
  const later = nudgeAnnotations(requestOf({ key: "bbbbbbbbbbbb", pushedAt: at(5) }), 0, null, start);
  const annotations = Object.fromEntries(Object.entries(later).filter((each): each is [string, string] => each[1] !== null));
  const { context, cluster, take, wait } = fakeContext(fakeCluster(overrideOf({ annotations })));
  wait(1000);
  const request = requestOf({ index: true, receivedAt: at(900) });
  const bodyOf = (records: readonly NewRecord[]) => records[0]?.body ?? "";
  const deferred = (outcome: Parameters<typeof settlementOf>[0]) => {
    const settlement = settlementOf(outcome, request, start, () => 1);
    return settlement.kind === "defer" ? settlement.next.body : "";
  };
  await renew(request, context);
  const confirmBody = bodyOf(take());
  const confirming = requestFrom(confirmBody);
  expect(confirming.rival).toBe(digestOf("a")); // the field that came last is in it
  const next = await confirm(confirming, context);
  cluster.set({ status: { message: "Download error: 503", imageDigest: null, updatedAt: at(1001) } });
  await confirm(confirming, context);
  const renudge = bodyOf(take());
  cluster.setState({ source: null, isReady: false, isBroken: false, message: "" });
  cluster.set({ status: { message: "Ready", imageDigest: request.digest, updatedAt: at(1002) } });
  await confirm(confirming, context);
  return [
    ["renew", encode(requestOf())],
    ["after a 403", deferred({ kind: "failed", error: new RelayError("FORBIDDEN", "403") })],
    ["in hops", deferred({ kind: "deferred", seconds: 3600, why: "" })],
    ["confirm", confirmBody],
    ["next look", deferred(next)],
    ["renudge", renudge],
    ["watch", bodyOf(take())],
  ];
}

function requestFrom(body: string): RenewRequest {
  const read = decode(body);
  if (read.kind !== "request") throw new Error(`${read.kind}: ${read.why}`);
  return read.request;
}

const recordOf = (body: string) => ({ id: "1", receipt: "1", body, receiveCount: 1, sentAt: at(0) });

function world() {
  const base = fakeContext();
  const observed = fakeObserver();
  const deferred: NewRecord[] = [];
  const buried: NewDeadLetter[] = [];
  const queue = {
    acknowledge: async () => {},
    defer: async (moves: readonly { next: NewRecord }[]) => void deferred.push(...moves.map(({ next }) => next)),
    bury: async (_record: unknown, letter: NewDeadLetter) => void buried.push(letter),
  };
  const circuit = createCircuit("dev", () => base.cluster.overrides.probe(), observed.observer, toRelayError);
  const context = { ...base.context, cluster: "dev", queue, circuit, observer: observed.observer };
  return { ...base, ...observed, context, deferred, buried };
}

describe("marks of other releases on an override", () => {
  const mark = {
    "mpo-relay/key": "aaaaaaaaaaaa",
    "mpo-relay/at": at(0),
    "mpo-relay/pushed": JSON.stringify({ webhook: "registry", time: at(0), received: at(0) }),
  };
  it("are read: of an earlier one without recent keys, of a later one that says more", () => {
    const known = { key: "aaaaaaaaaaaa", nudge: 0, webhook: "registry", recent: [] };
    expect(nudgeOf(overrideOf({ annotations: mark }))).toMatchObject(known);
    const more = { webhook: "registry", time: at(0), received: at(0), edge: "b" };
    const annotations = { ...mark, "mpo-relay/pushed": JSON.stringify(more), "mpo-relay/later": "x" };
    expect(nudgeOf(overrideOf({ annotations }))).toMatchObject(known);
  });
});

describe("the hub between two releases", () => {
  const record = { id: "1", receipt: "1:1", body: "{}", receiveCount: 1, sentAt: at(0) };
  const letter = { id: "1", body: "{}", code: "INVALID", text: "", attempts: 1, firstAt: at(0), lastAt: at(0) };

  it("reads what a later one says more, in both directions", () => {
    const ask = { ticket: "t", max: 10, waitSeconds: 20, visibilitySeconds: 120 };
    expect(asks.receive.parse({ ...ask, later: 1 })).toEqual(ask);
    expect(asks.send.parse({ records: [{ body: "{}", later: 1 }], later: 1 })).toEqual({ records: [{ body: "{}" }] });
    expect(answers.receive.parse([{ ...record, later: 1 }])).toEqual([record]);
    expect(answers.depth.parse({ records: 1, oldestSeconds: null, later: 1 })).toEqual({ records: 1, oldestSeconds: null });
  });

  it("reads an earlier one's dead letters, which end at no time, and a later one's reason to refuse", () => {
    const page = { letters: [letter], more: false, newest: "1" };
    expect(answers["letters.page"].parse(page)).toEqual({ ...page, letters: [{ ...letter, expiresAt: null }] });
    expect(refusal.parse({ code: "LATER", message: "m" })).toEqual({ code: "QUEUE_UNAVAILABLE", message: "m" });
  });
});

it("the journal shows a stage that a later release wrote", async () => {
  const folder = mkdtempSync(join(tmpdir(), "mpo-relay-skew-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const journal = openSqliteJournal(folder, { create: true });
  const db = new Database(join(folder, "journal.db"));
  db.prepare(
    `INSERT INTO entries (key, cluster, stage, at, last, module, tag, image, webhook, received_at, detail)
     VALUES ('aaaaaaaaaaaa', 'dev', 'LATER_STAGE', ?, ?, 'echo', 'main', 'i', 'registry', ?, '{"more":1}')`,
  ).run(at(0), at(0), at(0));
  db.close();
  expect(await journal.read({ limit: 9 })).toMatchObject([{ stage: "LATER_STAGE", detail: { more: 1 }, digest: null }]);
  await journal.close();
});
