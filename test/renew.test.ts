import { describe, expect, it } from "vitest";
import { decode, type RenewRequest } from "../src/event.ts";
import { confirm } from "../src/confirm.ts";
import { RelayError, TREATMENT } from "../src/outcome.ts";
import { renew } from "../src/renew.ts";
import { at, digestOf, fakeCluster, fakeContext, overrideOf, requestOf } from "./support/relay.ts";

/** A world where the push `first` was nudged at second 0, or later. */
async function nudged(first: RenewRequest = requestOf(), seconds = 0) {
  const world = fakeContext();
  world.wait(seconds);
  expect(await renew(first, world.context)).toMatchObject({ kind: "done", code: "NUDGED" });
  return world;
}
const second = (part: Partial<RenewRequest> = {}) =>
  requestOf({ key: "bbbbbbbbbbbb", digest: digestOf("b"), pushedAt: at(1), receivedAt: at(1), ...part });
const confirmIn = (sent: { body: string }[]) =>
  sent.map(({ body }) => decode(body)).map((read) => (read.kind === "request" ? read.request : read));

describe("renew: what is not for us", () => {
  it.each([
    ["no override of this name", null, "NOT_OVERRIDDEN"],
    ["an override of another tag", overrideOf({ imageTag: "dev" }), "TAG_DIFFERS"],
    ["a v1alpha1 override of another source", overrideOf({ source: "other" }), "OTHER_SOURCE"],
  ])("skips %s", async (_, override, reason) => {
    const { context, cluster, sent } = fakeContext(fakeCluster(override));
    expect(await renew(requestOf(), context)).toMatchObject({ kind: "skipped", reason });
    expect([cluster.patches, sent]).toEqual([[], []]);
  });
});

describe("renew: an override that is stored in another form than its definition allows", () => {
  const odd = "spec.scanInterval: Invalid input: expected string, received number";
  it.each([
    ["that follows this tag", overrideOf({ scanInterval: null, odd })],
    ["whose tag cannot be read", overrideOf({ imageTag: "", odd })],
  ])("%s is no silent end: INVALID, which buries the push and names the override", async (_, override) => {
    const { context, cluster, sent } = fakeContext(fakeCluster(override));
    const error = await renew(requestOf(), context).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "INVALID",
      message: `the override echo is stored in another form than its definition allows: ${odd}`,
    });
    expect(TREATMENT.INVALID).toBe("bury");
    expect([cluster.patches, sent]).toEqual([[], []]);
  });

  it("that follows another tag has nothing to do with the push", async () => {
    const { context } = fakeContext(fakeCluster(overrideOf({ imageTag: "dev", odd })));
    expect(await renew(requestOf(), context)).toMatchObject({ kind: "skipped", reason: "TAG_DIFFERS" });
  });

  it("after its nudge: confirm does not call it superseded", async () => {
    const world = await nudged();
    const [record = expect.fail("no record")] = confirmIn(world.sent);
    world.cluster.set({ imageTag: "", odd });
    await expect(confirm("cluster" in record ? record : expect.fail(), world.context)).rejects.toMatchObject({ code: "INVALID" });
  });
});

describe("renew: a registry that knows tags in lower case alone", () => {
  const told = requestOf({ tag: "proj-1-fix", image: "git.example.com/deckhouse/modules/echo:proj-1-fix", digest: null, anyCase: true });

  it("nudges an override that spells the tag as it was pushed, and follows that spelling from then on", async () => {
    const world = fakeContext(fakeCluster(overrideOf({ imageTag: "PROJ-1-fix" })));
    expect(await renew(told, world.context)).toMatchObject({ code: "NUDGED" });
    const image = "git.example.com/deckhouse/modules/echo:PROJ-1-fix";
    const [record] = confirmIn(world.take());
    expect(record).toMatchObject({ kind: "confirm", tag: "PROJ-1-fix", image, key: told.key });
    expect(JSON.parse(world.cluster.get()?.annotations["mpo-relay/pushed"] ?? "")).toMatchObject({ tag: "PROJ-1-fix" });
    expect(await renew(told, world.context)).toMatchObject({ code: "REPEATED" });
  });

  it("is no reason to nudge one of another tag, nor where the registry tells them apart", async () => {
    const world = fakeContext(fakeCluster(overrideOf({ imageTag: "PROJ-1" })));
    expect(await renew(told, world.context)).toMatchObject({ reason: "TAG_DIFFERS" });
    const { anyCase: _, ...exact } = told;
    expect(await renew({ ...exact, tag: "proj-1" }, world.context)).toMatchObject({ reason: "TAG_DIFFERS", detail: { follows: "PROJ-1" } });
    expect(world.cluster.patches).toEqual([]);
  });
});

describe("renew: the patch", () => {
  it("writes annotations only, none of Deckhouse's own, and stores the confirm record after it", async () => {
    const world = await nudged();
    expect(world.cluster.patches).toEqual([
      {
        renew: "aaaaaaaaaaaa",
        "mpo-relay/key": "aaaaaaaaaaaa",
        "mpo-relay/digest": digestOf("a"),
        "mpo-relay/at": at(0),
        "mpo-relay/pushed": JSON.stringify({ webhook: "registry", tag: "main", source: "test", time: at(0), received: at(0) }),
        "mpo-relay/recent": null,
      },
    ]);
    const look = { step: 0, digest: digestOf("0"), message: "Ready", updatedAt: at(-3600), patchedAt: at(0) };
    expect(confirmIn(world.sent)).toEqual([requestOf({ kind: "confirm", look })]);
    expect(world.sent[0]?.delaySeconds).toBe(10);
  });

  it("keeps the last eight other keys, newest first", async () => {
    const world = await nudged();
    for (const letter of "bcdefghijkl") {
      world.wait(700);
      await renew(requestOf({ key: letter.repeat(12), webhook: letter }), world.context);
    }
    expect(world.cluster.get()?.annotations["mpo-relay/recent"]).toBe(
      "kjihgfed"
        .split("")
        .map((letter) => letter.repeat(12))
        .join(" "),
    );
  });

  it("reads and decides again when the override changed meanwhile, and gives up after three times", async () => {
    const conflict = new RelayError("CONFLICT", "changed");
    const world = fakeContext();
    const annotate = world.context.overrides.annotate;
    let conflicts = 2;
    world.context.overrides.annotate = async (...args) => {
      if (conflicts-- > 0) throw conflict;
      return annotate(...args);
    };
    expect(await renew(requestOf(), world.context)).toMatchObject({ code: "NUDGED" });
    conflicts = 3;
    world.wait(600);
    await expect(renew(second(), world.context)).rejects.toMatchObject({ code: "CONFLICT" });
  });

  it("is not called a nudge where the answer does not hold it: a mutating webhook took it out", async () => {
    const world = fakeContext();
    const { annotate } = world.context.overrides;
    world.context.overrides.annotate = async (override, annotations) => {
      const patched = await annotate(override, annotations);
      return patched && { ...patched, annotations: override.annotations };
    };
    await expect(renew(requestOf(), world.context)).rejects.toMatchObject({ code: "FORBIDDEN_BY_POLICY" });
    expect(world.sent).toEqual([]);
  });

  it("skips an override that goes away between the look and the patch", async () => {
    const world = fakeContext();
    world.context.overrides.annotate = async () => null;
    expect(await renew(requestOf(), world.context)).toMatchObject({ kind: "skipped", reason: "NOT_OVERRIDDEN" });
  });
});

describe("renew: patched before", () => {
  it("stores the confirm record again and does not patch: a crash may have swallowed it", async () => {
    const world = await nudged();
    world.take();
    world.wait(3);
    expect(await renew(requestOf(), world.context)).toMatchObject({ code: "REPEATED" });
    expect(confirmIn(world.sent)).toMatchObject([{ kind: "confirm", nudge: 0, look: { patchedAt: at(0) } }]);
    expect(world.cluster.patches).toHaveLength(1);
  });

  it("never patches back to a lower nudge", async () => {
    const world = await nudged(requestOf({ nudge: 2 }));
    expect(await renew(requestOf({ nudge: 1 }), world.context)).toMatchObject({ code: "REPEATED", detail: { nudge: 2 } });
    expect(world.cluster.get()?.annotations["renew"]).toBe("aaaaaaaaaaaa.2");
  });

  it("nudges again over a minute later when the digest is still not there: somebody pressed redeliver", async () => {
    const world = await nudged();
    world.wait(61);
    expect(await renew(requestOf(), world.context)).toMatchObject({ code: "NUDGED", detail: { nudge: 1 } });
    expect(world.cluster.get()?.annotations["renew"]).toBe("aaaaaaaaaaaa.1");
  });

  it("does not when the digest has arrived", async () => {
    const world = await nudged();
    world.cluster.set({ status: { message: "Ready", imageDigest: digestOf("a"), updatedAt: at(5) } });
    world.wait(61);
    expect(await renew(requestOf(), world.context)).toMatchObject({ code: "REPEATED" });
  });

  it("takes a redrive, which has a higher nudge, as a new patch", async () => {
    const world = await nudged();
    world.wait(6);
    expect(await renew(requestOf({ nudge: 1 }), world.context)).toMatchObject({ code: "NUDGED", detail: { nudge: 1 } });
  });
});

describe("renew: covered by another nudge", () => {
  const later = () => nudged(second(), 5);

  it("joins a nudge of the same webhook with a later sender's time", async () => {
    expect(await renew(requestOf(), (await later()).context)).toMatchObject({ code: "JOINED", detail: { coveredBy: "bbbbbbbbbbbb" } });
  });

  it("joins when its own key was patched before the newest nudge, a redrive too", async () => {
    const world = await nudged();
    world.wait(700);
    await renew(second({ webhook: "other" }), world.context);
    world.wait(700);
    expect(await renew(requestOf({ nudge: 3 }), world.context)).toMatchObject({ code: "JOINED" });
  });

  it("does not trust times of another webhook, equal times, or receive times closer than clocks are", async () => {
    for (const part of [{ webhook: "other" }, { pushedAt: at(1) }, { pushedAt: null }]) {
      const world = await later();
      world.wait(700);
      expect(await renew(requestOf(part), world.context)).toMatchObject({ code: "NUDGED" });
    }
    const world = await nudged(second({ pushedAt: null, receivedAt: at(1.9) }));
    world.wait(700);
    expect(await renew(requestOf({ pushedAt: null }), world.context)).toMatchObject({ code: "NUDGED" });
  });

  it("joins by receive time where the sender has no clock", async () => {
    const world = await nudged(second({ pushedAt: null, receivedAt: at(3) }), 4);
    expect(await renew(requestOf({ pushedAt: null }), world.context)).toMatchObject({ code: "JOINED" });
  });

  it("never joins on an equal digest: push A, push B, push A again", async () => {
    const world = await nudged();
    world.wait(700);
    await renew(second(), world.context);
    world.wait(700);
    expect(await renew(requestOf({ key: "cccccccccccc", pushedAt: at(2), receivedAt: at(2) }), world.context)).toMatchObject({
      code: "NUDGED",
    });
  });
});

describe("renew: older by the sender's clock, and received after the newest nudge went out", () => {
  it("nudges: clocks of a registry's replicas may differ by minutes; its confirm record knows the rival", async () => {
    const world = await nudged(second({ pushedAt: at(300), receivedAt: at(0) }));
    world.wait(700);
    world.take();
    const late = requestOf({ receivedAt: at(650) });
    expect(await renew(late, world.context)).toMatchObject({ code: "NUDGED" });
    expect(confirmIn(world.sent)).toMatchObject([{ digest: digestOf("a"), rival: digestOf("b") }]);
    // what the sender calls later stays the digest to wait for, and to be found by whoever looks for the last push
    expect(world.cluster.get()?.annotations["mpo-relay/digest"]).toBe(digestOf("b"));
  });
});

describe("renew: waiting for the nudge before it", () => {
  it("waits for the rest of the cool-down", async () => {
    const world = await nudged();
    world.wait(2);
    expect(await renew(second(), world.context)).toMatchObject({ kind: "deferred", seconds: 3 });
  });

  it("waits up to a minute while the newest nudge's digest is not there", async () => {
    const world = await nudged();
    world.wait(59);
    expect(await renew(second(), world.context)).toMatchObject({ kind: "deferred", seconds: 5 });
    world.wait(2);
    expect(await renew(second(), world.context)).toMatchObject({ code: "NUDGED" });
  });

  it("does not wait when it arrived, or when Deckhouse shows an error", async () => {
    for (const status of [
      { message: "Ready", imageDigest: digestOf("a"), updatedAt: at(5) },
      { message: "Download error: no route", imageDigest: digestOf("0"), updatedAt: at(5) },
    ]) {
      const world = await nudged();
      world.cluster.set({ status });
      world.wait(6);
      expect(await renew(second(), world.context)).toMatchObject({ code: "NUDGED" });
    }
  });

  it("does not where Deckhouse wrote that digest after the newest nudge: it skipped that one's", async () => {
    const world = await nudged();
    world.cluster.set({ status: { message: "Ready", imageDigest: digestOf("b"), updatedAt: at(3) } });
    world.wait(6);
    expect(await renew(second(), world.context)).toMatchObject({ code: "NUDGED" });
  });

  it("waits up to ten minutes while the status holds this push's digest and not the newest nudge's", async () => {
    const world = await nudged();
    world.wait(599);
    const again = second({ digest: digestOf("0") });
    expect(await renew(again, world.context)).toMatchObject({ kind: "deferred", seconds: 20 });
    world.wait(2);
    expect(await renew(again, world.context)).toMatchObject({ code: "NUDGED" });
  });
});

it("renew nudges when somebody edited the mark by hand: then nothing is known", async () => {
  const world = fakeContext(fakeCluster(overrideOf({ annotations: { "mpo-relay/key": "true", "mpo-relay/at": "yesterday" } })));
  expect(await renew(requestOf(), world.context)).toMatchObject({ code: "NUDGED" });
});
