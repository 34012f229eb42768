import { describe, expect, it } from "vitest";
import { confirm } from "../src/confirm.ts";
import type { Override } from "../src/cluster/overrides.ts";
import { decode, type RenewRequest } from "../src/event.ts";
import { RelayError } from "../src/outcome.ts";
import { renew } from "../src/renew.ts";
import { watch } from "../src/watch.ts";
import { at, digestOf, fakeContext, requestOf } from "./support/relay.ts";

const LAST = 5;
const ready = (digest: string, updatedAt = at(5)) => ({ message: "Ready", imageDigest: digestOf(digest), updatedAt });

/** Nudges, then gives the confirm record that came of it. */
async function nudged(part: Partial<RenewRequest> = {}) {
  const world = fakeContext();
  await renew(requestOf(part), world.context);
  const read = decode(world.take()[0]?.body ?? "");
  if (read.kind !== "request" || !read.request.look) throw new Error("no confirm record");
  const { request } = read;
  const look = read.request.look;
  return { ...world, record: request, atStep: (step: number) => ({ ...request, look: { ...look, step } }) };
}

/** The only record that was stored. */
function renewIn([stored, ...more]: readonly { body: string }[]): RenewRequest {
  const read = decode(stored?.body ?? "");
  if (read.kind !== "request" || more.length > 0) throw new Error("not one record");
  return read.request;
}

describe("confirm: taken over", () => {
  it("ends where another push's nudge, another tag or nothing is there", async () => {
    const world = await nudged();
    world.wait(600);
    await renew(requestOf({ key: "bbbbbbbbbbbb", webhook: "other" }), world.context);
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "SUPERSEDED" });
    world.cluster.set({ imageTag: "dev" });
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "SUPERSEDED" });
    world.cluster.set(null);
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "SUPERSEDED" });
  });

  it("goes on where the mark of its nudge is gone, or an older one is back: nobody else looks after this push", async () => {
    const world = await nudged();
    const old = { ...world.cluster.get()?.annotations };
    for (const annotations of [{}, { ...old, "mpo-relay/key": "bbbbbbbbbbbb", "mpo-relay/at": at(-60) }]) {
      world.cluster.set({ annotations, status: { message: "Download error: EOF", imageDigest: digestOf("0"), updatedAt: at(1) } });
      expect(await confirm(world.record, world.context)).toMatchObject({ code: "RENUDGED" });
      world.cluster.set({ annotations, status: ready("a") });
      expect(await confirm(world.record, world.context)).toMatchObject({ code: "PICKED_UP" });
    }
  });

  it("ends where a later nudge remembers this one, by a clock that is behind", async () => {
    const world = await nudged();
    const annotations = { ...world.cluster.get()?.annotations, "mpo-relay/key": "bbbbbbbbbbbb", "mpo-relay/at": at(-60) };
    world.cluster.set({ annotations: { ...annotations, "mpo-relay/recent": "cccccccccccc aaaaaaaaaaaa" } });
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "SUPERSEDED" });
  });

  it("follows a higher nudge of its own key", async () => {
    const world = await nudged();
    world.wait(61);
    await renew(requestOf(), world.context);
    expect(await confirm(world.record, world.context)).toMatchObject({ kind: "deferred", next: { nudge: 1, look: { step: 1 } } });
  });
});

describe("confirm: took effect", () => {
  it("says so with the times from the push on", async () => {
    const world = await nudged();
    world.cluster.set({ status: ready("a") });
    world.wait(10);
    expect(await confirm(world.record, world.context)).toMatchObject({
      code: "PICKED_UP",
      detail: { digest: digestOf("a"), pushToPatchedMs: 0, pushToPickedUpMs: 10_000 },
    });
  });

  it("takes an empty message, as versions before v1.67 write it, for success", async () => {
    const world = await nudged();
    world.cluster.set({ status: { ...ready("a"), message: "" } });
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "PICKED_UP" });
  });

  it("believes a digest that was there before the patch only when Deckhouse must have looked", async () => {
    const world = await nudged({ digest: digestOf("0") });
    for (const step of [0, 1, 2, 3]) expect(await confirm(world.atStep(step), world.context)).toMatchObject({ kind: "deferred" });
    expect(await confirm(world.atStep(4), world.context)).toMatchObject({ code: "PICKED_UP" });
    world.cluster.set({ status: ready("0", at(7)) });
    expect(await confirm(world.atStep(0), world.context)).toMatchObject({ code: "PICKED_UP" });
  });

  it("takes a changed digest where none is known, and for an index, of which Deckhouse shows a child", async () => {
    for (const part of [{ digest: null }, { index: true }]) {
      const world = await nudged(part);
      expect(await confirm(world.record, world.context)).toMatchObject({ kind: "deferred" });
      world.cluster.set({ status: ready("f") });
      expect(await confirm(world.record, world.context)).toMatchObject({ code: "PICKED_UP" });
    }
  });

  it("does not while an error stands in the message", async () => {
    const world = await nudged();
    world.cluster.set({ status: { ...ready("a"), message: "Download error: x" } });
    expect(await confirm(world.record, world.context)).not.toMatchObject({ code: "PICKED_UP" });
  });
});

describe("confirm: refused", () => {
  it.each([
    "The module is embedded",
    "The module disabled",
    "The module not found",
    "The source not found",
    "The module does not have an active source",
    'ModuleSource "test" not found',
  ])("reports %s from the second look on", async (message) => {
    const world = await nudged();
    world.cluster.set({ status: { message, imageDigest: null, updatedAt: null } });
    expect(await confirm(world.atStep(0), world.context)).toMatchObject({ kind: "deferred" });
    expect(await confirm(world.atStep(1), world.context)).toMatchObject({
      code: "REFUSED",
      detail: { message, advice: expect.any(String) },
    });
  });

  it.each(["Validation error: no module.yaml", "validation failed: x"])(
    "asks again before it reports %s: the tag may have named another image",
    async (message) => {
      const world = await nudged();
      world.cluster.set({ status: { message, imageDigest: digestOf("0"), updatedAt: at(3) } });
      world.wait(10);
      expect(await confirm(world.record, world.context)).toMatchObject({ code: "RENUDGED", detail: { message, seconds: 0 } });
      await renew(renewIn(world.take()), world.context);
      const again = renewIn(world.take());
      world.cluster.set({ status: { message, imageDigest: digestOf("0"), updatedAt: at(15) } });
      expect(await confirm(again, world.context)).toMatchObject({ kind: "deferred" });
      expect(await confirm({ ...again, look: again.look && { ...again.look, step: 1 } }, world.context)).toMatchObject({ code: "REFUSED" });
    },
  );
});

describe("confirm: a push that the override does not show by 90 s", () => {
  const looks = async (world: Awaited<ReturnType<typeof nudged>>, step: number) => confirm(world.atStep(step), world.context);

  it("is not taken over by what was there before, for which Ready was written again behind an error", async () => {
    const world = await nudged();
    world.cluster.set({ status: ready("0", at(40)) });
    world.wait(90);
    expect(await looks(world, 2)).toMatchObject({ code: "RENUDGED" });
    expect(renewIn(world.take())).toMatchObject({ rival: null });
    await expect(looks(world, LAST)).rejects.toMatchObject({ code: "UNCONFIRMED" });
  });

  it("is nudged once more, since its tag may have been written after its webhook was sent", async () => {
    const world = await nudged();
    for (const step of [0, 1]) expect(await looks(world, step)).toMatchObject({ kind: "deferred" });
    world.wait(90);
    expect(await looks(world, 2)).toMatchObject({ code: "RENUDGED", detail: { seconds: 0, message: expect.stringContaining("tag") } });
    const again = renewIn(world.take());
    expect(again).toMatchObject({ kind: "renew", nudge: 1, retries: 0, rival: null });
    expect(await renew(again, world.context)).toMatchObject({ code: "NUDGED", detail: { nudge: 1 } });
    const followed = renewIn(world.take());
    const step = (number: number) => ({ ...followed, look: followed.look && { ...followed.look, step: number } });
    for (const each of [2, 3, 4]) expect(await confirm(step(each), world.context)).toMatchObject({ kind: "deferred" });
    world.cluster.set({ status: ready("a", at(120)) });
    expect(await confirm(step(2), world.context)).toMatchObject({ code: "PICKED_UP" });
  });

  it("also where it has never shown any", async () => {
    const world = await nudged();
    world.cluster.set({ status: { message: "", imageDigest: null, updatedAt: null } });
    expect(await looks(world, 2)).toMatchObject({ code: "RENUDGED" });
  });

  it("keeps in mind what Deckhouse deployed meanwhile", async () => {
    const world = await nudged();
    world.cluster.set({ status: ready("b", at(20)) });
    world.wait(90);
    expect(await looks(world, 2)).toMatchObject({ code: "RENUDGED" });
    const again = renewIn(world.take());
    expect(again.rival).toBe(digestOf("b"));
    await renew(again, world.context);
    const followed = renewIn(world.take());
    expect(await confirm({ ...followed, look: followed.look && { ...followed.look, step: 4 } }, world.context)).toMatchObject({
      code: "SUPERSEDED",
    });
  });

  it("is left alone where it waits for nothing: its digest, a later one by the sender's clock, or what the registry names is there", async () => {
    const same = await nudged({ digest: digestOf("0") });
    expect(await looks(same, 2)).toMatchObject({ kind: "deferred" });
    const older = await nudged();
    expect(await confirm({ ...older.atStep(2), rival: digestOf("0") }, older.context)).toMatchObject({ kind: "deferred" });
    const bare = await nudged({ digest: null });
    const registry = { resolve: async () => ({ digest: digestOf("0"), image: digestOf("0") }) };
    expect(await confirm(bare.atStep(2), { ...bare.context, registry })).toMatchObject({ kind: "deferred" });
    expect(await looks(bare, 2)).toMatchObject({ code: "RENUDGED" });
  });
});

it("confirm does not take a validation message from before the patch for an answer: it may be another push's", async () => {
  const world = await nudged();
  const message = "Validation error: no module.yaml";
  const status = { message, imageDigest: digestOf("0"), updatedAt: at(-10) };
  world.cluster.set({ status });
  const before = (step: number) => ({
    ...world.record,
    look: { step, digest: digestOf("0"), message, updatedAt: at(-10), patchedAt: at(0) },
  });
  for (const step of [1, 2, 3]) expect(await confirm(before(step), world.context)).toMatchObject({ kind: "deferred" });
  expect(await confirm(before(4), world.context)).toMatchObject({ code: "REFUSED" });
  world.cluster.set({ status: { ...status, updatedAt: at(5) } });
  expect(await confirm({ ...before(1), nudge: 0 }, world.context)).toMatchObject({ code: "RENUDGED" });
});

describe("confirm: a download error", () => {
  it("is answered with a repeated nudge after a minute, then after five, three times at most", async () => {
    const world = await nudged();
    world.cluster.set({ status: { message: "Download error: 500", imageDigest: digestOf("0"), updatedAt: at(3) } });
    const seconds = [60, 300, 300];
    for (const [retries, delaySeconds] of seconds.entries()) {
      expect(await confirm({ ...world.record, retries }, world.context)).toMatchObject({ code: "RENUDGED" });
      const [sent] = world.take();
      expect(sent?.delaySeconds).toBe(delaySeconds);
      expect(decode(sent?.body ?? "")).toMatchObject({ request: { kind: "renew", nudge: 1, retries: retries + 1, attempt: 0 } });
    }
    expect(await confirm({ ...world.record, retries: 3 }, world.context)).toMatchObject({ kind: "deferred" });
  });

  it("counts from the second look on even if it is the one from before the patch", async () => {
    const world = fakeContext();
    const status = { message: "Download error: 500", imageDigest: digestOf("0"), updatedAt: at(-10) };
    world.cluster.set({ status });
    await renew(requestOf(), world.context);
    const look = { step: 0, digest: digestOf("0"), message: status.message, updatedAt: status.updatedAt, patchedAt: at(0) };
    expect(await confirm(requestOf({ kind: "confirm", look }), world.context)).toMatchObject({ kind: "deferred" });
    expect(await confirm(requestOf({ kind: "confirm", look: { ...look, step: 1 } }), world.context)).toMatchObject({ code: "RENUDGED" });
  });
});

describe("confirm: looks", () => {
  it("come at 30 s, 90 s, 5, 15 and 60 minutes after the patch", async () => {
    const world = await nudged({ nudge: 1 });
    world.wait(10);
    const waits: number[] = [];
    for (let step = 0; step < LAST; step++) {
      const outcome = await confirm(world.atStep(step), world.context);
      if (outcome.kind !== "deferred") throw new Error("ended early");
      waits.push(outcome.seconds);
      world.wait(outcome.seconds);
    }
    expect(waits).toEqual([20, 60, 210, 600, 2700]);
  });

  it("end UNCONFIRMED with what the override shows, SUPERSEDED where Deckhouse deployed another digest since, UNVERIFIED without a digest", async () => {
    const world = await nudged();
    await expect(confirm(world.atStep(LAST), world.context)).rejects.toMatchObject({
      code: "UNCONFIRMED",
      message: expect.stringMatching(/echo.*main.*sha256:000/),
    });
    world.cluster.set({ status: ready("c", at(60)) });
    expect(await confirm(world.atStep(LAST), world.context)).toMatchObject({ code: "SUPERSEDED" });
    const quay = await nudged({ digest: null });
    expect(await confirm(quay.atStep(LAST), quay.context)).toMatchObject({ code: "UNVERIFIED" });
    quay.cluster.set({ status: { message: "Download error: x", imageDigest: digestOf("0"), updatedAt: at(-3600) } });
    await expect(confirm({ ...quay.atStep(LAST), retries: 3 }, quay.context)).rejects.toMatchObject({ code: "UNCONFIRMED" });
  });
});

describe("confirm: a push that its sender's clock calls older than another", () => {
  it("is superseded where the other's digest is there, as late as Deckhouse must have looked", async () => {
    const world = await nudged();
    const rivalled = (step: number) => ({ ...world.atStep(step), rival: digestOf("0") });
    expect(await confirm(rivalled(3), world.context)).toMatchObject({ kind: "deferred" });
    expect(await confirm(rivalled(4), world.context)).toMatchObject({ code: "SUPERSEDED" });
    world.cluster.set({ status: ready("a") });
    expect(await confirm(rivalled(0), world.context)).toMatchObject({ code: "PICKED_UP" });
  });
});

it("confirm does not spend at once the looks that fell due in an outage", async () => {
  const world = await nudged({ nudge: 1 });
  world.wait(7200);
  const waits = [];
  for (const step of [0, 1, 2]) {
    const outcome = await confirm(world.atStep(step), world.context);
    waits.push(outcome.kind === "deferred" ? outcome.seconds : outcome);
  }
  expect(waits).toEqual([20, 60, 210]);
});

describe("confirm: the registry is asked what the tag names", () => {
  const naming = (image: string | null, asked: string[] = []) => ({
    async resolve(push: { image: string }) {
      asked.push(push.image);
      if (image === "down") throw new RelayError("REGISTRY_UNAVAILABLE", "registry.example.com: ECONNREFUSED");
      return image === null ? null : { digest: digestOf("a"), image: digestOf(image) };
    },
  });

  it("where the push has no digest: what Deckhouse shows must be that", async () => {
    const world = await nudged({ digest: null });
    world.cluster.set({ status: ready("x") });
    const other = { ...world.context, registry: naming("b") };
    expect(await confirm(world.record, other)).toMatchObject({ kind: "deferred" });
    await expect(confirm(world.atStep(LAST), other)).rejects.toMatchObject({
      code: "UNCONFIRMED",
      message: expect.stringContaining(digestOf("b")),
    });
    expect(await confirm(world.record, { ...world.context, registry: naming("x") })).toMatchObject({ code: "PICKED_UP" });
  });

  it("where the push has no digest and nothing changed: not before Deckhouse must have looked", async () => {
    const world = await nudged({ digest: null });
    const context = { ...world.context, registry: naming("0") };
    for (const step of [0, 1, 2, 3]) expect(await confirm(world.atStep(step), context)).toMatchObject({ kind: "deferred" });
    expect(await confirm(world.atStep(LAST - 1), context)).toMatchObject({ code: "PICKED_UP" });
  });

  it("another index than the pushed one, by a cache or a later push, proves nothing of this push", async () => {
    const world = await nudged({ index: true });
    world.cluster.set({ status: ready("c") });
    const other = { ...world.context, registry: { resolve: async () => ({ digest: digestOf("e"), image: digestOf("c") }) } };
    expect(await confirm(world.record, other)).toMatchObject({ kind: "deferred" });
    expect(await confirm(world.atStep(LAST), other)).toMatchObject({ code: "SUPERSEDED" });
  });

  it("where the push was an index, of which Deckhouse shows a child", async () => {
    const world = await nudged({ index: true });
    world.cluster.set({ status: ready("c") });
    expect(await confirm(world.record, { ...world.context, registry: naming("c") })).toMatchObject({ code: "PICKED_UP" });
    expect(await confirm(world.record, { ...world.context, registry: naming("d") })).toMatchObject({ kind: "deferred" });
  });

  it("not for a push whose digest is known, but once more before it is given up", async () => {
    const asked: string[] = [];
    const world = await nudged();
    world.cluster.set({ status: ready("x", at(-3600)) });
    const later = { digest: digestOf("x"), image: digestOf("x") };
    const registry = { resolve: async ({ image }: { image: string }) => (asked.push(image), later) };
    const context = { ...world.context, registry };
    await confirm(world.record, context);
    expect(asked).toEqual([]);
    const superseded = { code: "SUPERSEDED", detail: { why: expect.stringContaining("another image") } };
    expect(await confirm(world.atStep(LAST), context)).toMatchObject(superseded);
    expect(asked).toEqual([requestOf().image]);
    world.cluster.set({ status: { ...ready("x", at(-3600)), message: "Download error: EOF" } });
    expect(await confirm({ ...world.atStep(LAST), retries: 3 }, context)).toMatchObject(superseded);
  });

  it("where the push was an index and its sender did not say so", async () => {
    const world = await nudged();
    world.cluster.set({ status: ready("x", at(60)) });
    expect(await confirm(world.atStep(LAST), { ...world.context, registry: naming("x") })).toMatchObject({ code: "PICKED_UP" });
  });

  it("and where what the tag names runs, an error of the last download is no dead letter", async () => {
    const world = await nudged();
    world.cluster.set({ status: { ...ready("a", at(-3600)), message: "Download error: EOF" } });
    const spent = { ...world.atStep(LAST), retries: 3 };
    await expect(confirm(spent, world.context)).rejects.toMatchObject({ code: "UNCONFIRMED" });
    expect(await confirm(spent, { ...world.context, registry: naming("a") })).toMatchObject({
      code: "UNVERIFIED",
      detail: { digest: digestOf("a"), why: expect.stringContaining("EOF") },
    });
  });

  it("in vain: it is decided as without it, and the end says why", async () => {
    const world = await nudged({ digest: null });
    const context = { ...world.context, registry: naming("down") };
    expect(await confirm(world.record, context)).toMatchObject({ kind: "deferred" });
    expect(await confirm(world.atStep(LAST), context)).toMatchObject({
      code: "UNVERIFIED",
      detail: { why: expect.stringContaining("ECONNREFUSED") },
    });
    world.cluster.set({ status: ready("x") });
    expect(await confirm(world.record, context)).toMatchObject({ code: "PICKED_UP" });
    expect(await confirm(world.record, { ...world.context, registry: naming(null) })).toMatchObject({ code: "PICKED_UP" });
  });
});

describe("confirm: whether the module comes up", () => {
  const broken = { source: null, isReady: false, isBroken: true, message: "hook failed" };
  const pending = { source: null, isReady: false, isBroken: false, message: "Reconciling" };
  const fine = { source: null, isReady: true, isBroken: false, message: "" };

  /** Picked up, with the record that looks at the Module. */
  async function pickedUp() {
    const world = await nudged();
    world.cluster.setState(pending);
    world.cluster.set({ status: ready("a") });
    world.wait(10);
    world.take();
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "PICKED_UP" });
    const stored = world.take();
    const read = decode(stored[0]?.body ?? "");
    if (read.kind !== "request" || stored.length !== 1 || !read.request.look) return expect.fail("no record that watches");
    expect(stored[0]?.delaySeconds).toBe(90);
    const { request } = read;
    const { look } = read.request;
    const atStep = (step: number) => ({ ...request, look: { ...look, step } });
    return { ...world, atStep };
  }

  it("is said by the Module, after Deckhouse has restarted", async () => {
    const world = await pickedUp();
    expect(await watch(world.atStep(2), world.context)).toMatchObject({ kind: "deferred", seconds: 210, next: { look: { step: 3 } } });
    world.cluster.setState(fine);
    world.wait(300);
    expect(await watch(world.atStep(3), world.context)).toMatchObject({ code: "RUNNING", detail: { pickUpToRunningMs: 300_000 } });
  });

  it("an error counts only when it stays", async () => {
    const world = await pickedUp();
    world.cluster.setState(broken);
    expect(await watch(world.atStep(2), world.context)).toMatchObject({ kind: "deferred" });
    expect(await watch(world.atStep(3), world.context)).toMatchObject({ code: "MODULE_ERROR", detail: { message: "hook failed" } });
  });

  it("ends without a word where the Module never says, or the next push followed", async () => {
    const world = await pickedUp();
    expect(await watch(world.atStep(4), world.context)).toMatchObject({ code: "UNWATCHED" });
    for (const silent of [null, { source: "test", isReady: null, isBroken: false, message: "" }]) {
      world.cluster.setState(silent);
      expect(await watch(world.atStep(2), world.context)).toMatchObject({ code: "UNWATCHED", detail: { why: "the Module does not say" } });
    }
    world.cluster.setState(fine);
    world.wait(600);
    await renew(requestOf({ key: "bbbbbbbbbbbb", webhook: "other" }), world.context);
    expect(await watch(world.atStep(2), world.context)).toMatchObject({ code: "UNWATCHED", detail: { why: "another push followed" } });
    world.cluster.set(null);
    expect(await watch(world.atStep(2), world.context)).toMatchObject({ code: "UNWATCHED" });
  });

  it("is not asked where Modules say nothing, as before v1.66, or may not be seen", async () => {
    const world = await nudged();
    world.cluster.set({ status: ready("a") });
    world.take();
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "PICKED_UP" });
    expect(world.take()).toEqual([]);
    world.cluster.setState({ source: "test", isReady: null, isBroken: false, message: "" }); // it tells where it comes from, and no more
    expect(await confirm(world.record, world.context)).toMatchObject({ code: "PICKED_UP" });
    expect(world.take()).toEqual([]);
  });

  it("is adopted once it is over: at the pick-up only where the Module surely does not say", async () => {
    const world = await pickedUp();
    const adopted: string[] = [];
    const context = { ...world.context, adopt: async (_: RenewRequest, { name }: Override) => void adopted.push(name) };
    const away = { ...context.overrides, state: () => Promise.reject(new RelayError("CLUSTER_ERROR", "500")) };
    expect(await confirm(world.record, { ...context, overrides: away })).toMatchObject({ code: "PICKED_UP" });
    expect(world.take()).toHaveLength(1); // by then it may be read
    expect(await watch(world.atStep(2), { ...context, overrides: away })).toMatchObject({ kind: "deferred", next: { look: { step: 3 } } });
    expect(await confirm(world.record, context)).toMatchObject({ code: "PICKED_UP" });
    await watch(world.atStep(2), context);
    expect(adopted).toEqual([]);
    world.cluster.setState(fine);
    await watch(world.atStep(3), context);
    expect(adopted).toEqual(["echo"]);
    world.cluster.setState(null);
    await confirm(world.record, context);
    await watch(world.atStep(2), context);
    expect(adopted).toEqual(["echo", "echo", "echo"]);
    const unread = await watch(world.atStep(4), { ...context, overrides: away });
    expect(unread).toMatchObject({ code: "UNWATCHED", detail: { why: expect.stringContaining("cannot be read: 500") } });
    expect(adopted).toHaveLength(4);
  });
});
