import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestOf, instantOf, orNull, repositoryOf, splitReference, tagAndDigest } from "../src/providers/normalise.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

describe("instantOf", () => {
  it.each([
    ["2026-11-20T12:04:05Z", "2026-11-20T12:04:05.000Z"],
    ["2026-11-20t12:04:05.1z", "2026-11-20T12:04:05.100Z"],
    ["2026-11-20T12:04:05.123999999Z", "2026-11-20T12:04:05.123Z"],
    ["2026-11-20T15:04:05.9999+03:00", "2026-11-20T12:04:05.999Z"],
    ["2026-11-20T15:04:05+0300", "2026-11-20T12:04:05.000Z"],
    ["2026-11-20 00:04:05-12:00", "2026-11-20T12:04:05.000Z"],
    [1795176245, "2026-11-20T12:04:05.000Z"],
    [1795176245.123, "2026-11-20T12:04:05.123Z"],
    [1.417566161e9, "2014-12-03T00:22:41.000Z"],
    [1585846234.9996, "2020-04-02T16:50:34.999Z"],
  ])("reads %j", (time, instant) => expect(instantOf(time)).toBe(instant));

  it.each([
    undefined,
    "",
    0,
    -1,
    NaN,
    Infinity,
    1e300,
    253402300800,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-01:00",
    "yesterday",
    "2026-11-20",
    "2026-11-20T12:04:05",
    "2026-13-01T00:00:00Z",
    "1795176245",
  ])("finds no instant in %j", (time) => expect(instantOf(time)).toBeNull());

  it("gives its own results back, and any date to the millisecond", () => {
    const dates = fc.date({ min: new Date(1), max: new Date("9999-12-31T23:59:59.999Z"), noInvalidDate: true });
    fc.assert(
      fc.property(dates, (date) => {
        expect(instantOf(date.toISOString())).toBe(date.toISOString());
        expect(instantOf(date.getTime() / 1000)).toBe(date.toISOString());
      }),
    );
  });
});

describe("splitReference", () => {
  it.each([
    ["harbor.example.com/a/b:1", "harbor.example.com", "a/b:1"],
    ["HTTPS://Harbor.Example.com:8443/A/b", "harbor.example.com:8443", "A/b"],
    ["localhost", "localhost", ""],
    ["my_registry:5000/a", "my_registry:5000", "a"],
    ["[::1]:5000/a", "[::1]:5000", "a"],
    ["registry.example.com:443/a", "registry.example.com:443", "a"],
  ])("splits %j", (text, host, path) => expect(splitReference(text)).toEqual({ host, path }));

  it.each(["", "/a/b", "not a host/a", "user@host/a", "https:///a", "-a/b", "a:port/b", "хост/a", "a?b/c"])("finds no host in %j", (text) =>
    expect(splitReference(text).host).toBeNull(),
  );
});

describe("tag and digest", () => {
  it("takes a digest in the tag's place for what it is", () => {
    expect(tagAndDigest("main", DIGEST)).toEqual({ tag: "main", digest: DIGEST });
    expect(tagAndDigest(DIGEST, DIGEST)).toEqual({ tag: null, digest: DIGEST });
    expect(tagAndDigest(DIGEST)).toEqual({ tag: null, digest: DIGEST });
    expect(tagAndDigest("sha256:12ab***", "")).toEqual({ tag: null, digest: null });
    expect(tagAndDigest("sha256-is-a-tag", "sha256:short")).toEqual({ tag: "sha256-is-a-tag", digest: null });
    expect(tagAndDigest()).toEqual({ tag: null, digest: null });
  });

  it("takes whole digests only", () => {
    expect(digestOf(`sha512:${"0".repeat(128)}`)).not.toBeNull();
    for (const text of ["", DIGEST.slice(0, -4), `${DIGEST}0`, DIGEST.toUpperCase(), `sha512:${"0".repeat(64)}`, `md5:${"0".repeat(32)}`]) {
      expect(digestOf(text)).toBeNull();
    }
  });
});

describe("the rest", () => {
  it("writes a repository in lower case, without outer slashes", () => {
    expect(repositoryOf("//Deckhouse/Modules/Echo/")).toBe("deckhouse/modules/echo");
    expect(repositoryOf("/")).toBe("");
  });

  it("takes an empty text for none", () => expect([orNull(), orNull(""), orNull(" ")]).toEqual([null, null, " "]));
});
