import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decode, encode, imageOf, keyOf, type PushEvent, pushEvent, valueOf } from "../src/event.ts";
import { at, digestOf, requestOf } from "./support/relay.ts";

const push: PushEvent = {
  host: "registry.example.com",
  repository: "deckhouse/modules/echo",
  tag: "main",
  digest: digestOf("a"),
  mediaType: null,
  actor: null,
  time: at(0),
  id: "1",
};

describe("the wire form", () => {
  it("gives back what was put in, in ASCII, whatever an actor is called", () => {
    const actor = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 60 })
      .filter((text) => pushEvent.shape.actor.safeParse(text).success);
    fc.assert(
      fc.property(actor, fc.nat(), (name, nudge) => {
        const request = requestOf({ actor: name, nudge });
        const text = encode(request);
        expect(text).toMatch(/^[\x20-\x7e]*$/);
        expect(decode(text)).toEqual({ kind: "request", request });
      }),
    );
  });

  it("never throws, whatever stands in a queue", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(decode(text).kind).toMatch(/request|newer|malformed/);
      }),
    );
  });

  it("ignores unknown fields, and tells a newer version or kind from a malformed record", () => {
    const json = JSON.parse(encode(requestOf()));
    expect(decode(JSON.stringify({ ...json, later: 1 }))).toEqual({ kind: "request", request: requestOf() });
    expect(decode(JSON.stringify({ ...json, v: 2, module: 5 })).kind).toBe("newer");
    expect(decode(JSON.stringify({ ...json, kind: "unheard-of" })).kind).toBe("newer");
    expect(decode(JSON.stringify({ ...json, module: null })).kind).toBe("malformed");
    expect(decode("{").kind).toBe("malformed");
  });

  it("does not repeat the input in what it says of a malformed record", () => {
    const read = decode(JSON.stringify({ ...requestOf(), key: "s3cret s3cret" }));
    expect(read).toMatchObject({ kind: "malformed", why: expect.not.stringContaining("s3cret") });
  });
});

describe("keyOf", () => {
  it("is equal for a redelivery and differs for every push", () => {
    expect(keyOf("w", push, at(1))).toBe(keyOf("w", push, at(99)));
    const others = [{ id: "2" }, { tag: "dev" }, { digest: digestOf("b") }, { repository: "deckhouse/modules/other" }];
    const keys = new Set(others.map((part) => keyOf("w", { ...push, ...part }, at(1))));
    expect(keys.add(keyOf("w", push, at(1))).add(keyOf("w2", push, at(1))).size).toBe(others.length + 2);
  });

  it("falls back to the sender's time, and to our receive time where there is neither", () => {
    expect(keyOf("w", { ...push, id: null }, at(1))).toBe(keyOf("w", { ...push, id: null }, at(2)));
    expect(keyOf("w", { ...push, id: null, time: null }, at(1))).not.toBe(keyOf("w", { ...push, id: null, time: null }, at(2)));
  });

  it("can be a label's value, with a nudge too", () => {
    expect(valueOf(keyOf("w", push, at(0)), 12)).toMatch(/^[a-z0-9][-a-z0-9_.]{0,61}[a-z0-9]$/);
  });
});

it("imageOf names a push by tag, or by digest", () => {
  expect(imageOf(push)).toBe("registry.example.com/deckhouse/modules/echo:main");
  expect(imageOf({ ...push, tag: null })).toBe(`registry.example.com/deckhouse/modules/echo@${digestOf("a")}`);
});

it("pushEvent refuses names that no name can hold", () => {
  for (const bad of ["a\u0000b", "a\ufffeb", "a\ud800b", ""]) expect(pushEvent.safeParse({ ...push, tag: bad }).success).toBe(false);
});
