import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PushEvent } from "../src/event.ts";
import { globMatches, isModule, isNoise, createMatcher } from "../src/match.ts";
import { digestOf, source } from "./support/relay.ts";

const push = (part: Partial<PushEvent> = {}): PushEvent => ({
  host: "registry.example.com",
  repository: "deckhouse/modules/echo",
  tag: "main",
  digest: digestOf("a"),
  mediaType: null,
  actor: null,
  time: null,
  id: null,
  ...part,
});
const reasonOf = (part: Partial<PushEvent>, sources = [source], allowed: string[] | null = null) => {
  const match = createMatcher(sources, allowed)(push(part));
  return match.kind === "match" ? `${match.module} in ${match.clusters.join(",")}` : match.reason;
};

describe("createMatcher", () => {
  it("takes one segment below the source as the module", () => {
    expect(reasonOf({})).toBe("echo in dev");
  });

  it.each([
    ["a push by digest alone", { tag: null }, "NO_TAG"],
    ["another repository", { repository: "library/nginx" }, "OTHER_REPOSITORY"],
    ["a registration, as long as rescans are off", { repository: "deckhouse/modules", tag: "echo" }, "RESCAN_OFF"],
    ["a release channel, likewise", { repository: "deckhouse/modules/echo/release", tag: "alpha" }, "RESCAN_OFF"],
    ["a release, which no channel names yet", { repository: "deckhouse/modules/echo/release", tag: "v1.2.3" }, "OTHER_REPOSITORY"],
    ["a repository that only begins like the source", { repository: "deckhouse/modules-old/echo" }, "OTHER_REPOSITORY"],
    ["a name no module can have", { repository: "deckhouse/modules/echo_x" }, "OTHER_REPOSITORY"],
    ["another host with the same path", { host: "mirror.example.com" }, "UNKNOWN_HOST"],
    ["a stage of werf", { tag: `${"0".repeat(56)}-1700000000000` }, "NOISE_TAG"],
    ["a signature of cosign", { tag: `sha256-${"0".repeat(64)}.sig` }, "NOISE_TAG"],
  ])("skips %s", (_, part, reason) => {
    expect(reasonOf(part)).toBe(reason);
  });

  describe("with rescans", () => {
    const rescanned = { ...source, rescan: true };
    const does = (part: Partial<PushEvent>, sources = [rescanned], allowed: string[] | null = null) => {
      const match = createMatcher(sources, allowed)(push(part));
      return match.kind === "match" ? `${match.does} ${match.source.name} for ${match.module}` : match.reason;
    };

    it.each(["alpha", "beta", "early-access", "stable", "rock-solid", "lts"])("takes %s as a channel", (tag) => {
      expect(does({ repository: "deckhouse/modules/echo/release", tag })).toBe("rescan test for echo");
    });

    it.each([
      ["a release by its version", { repository: "deckhouse/modules/echo/release", tag: "v1.2.3" }, "OTHER_REPOSITORY"],
      ["a channel of another spelling", { repository: "deckhouse/modules/echo/release", tag: "Alpha" }, "OTHER_REPOSITORY"],
      ["a channel without a module", { repository: "deckhouse/modules/release", tag: "alpha" }, "renew test for release"],
      ["what lies deeper", { repository: "deckhouse/modules/echo/extra/release", tag: "alpha" }, "OTHER_REPOSITORY"],
      ["a channel by digest alone", { repository: "deckhouse/modules/echo/release", tag: null }, "NO_TAG"],
      ["a registration", { repository: "deckhouse/modules", tag: "echo" }, "rescan test for echo"],
      ["a tag there that no module can have", { repository: "deckhouse/modules", tag: "Echo_1" }, "OTHER_REPOSITORY"],
      ["a module called like a channel", { repository: "deckhouse/modules", tag: "alpha" }, "rescan test for alpha"],
      ["the module's own image, as ever", { tag: "alpha" }, "renew test for echo"],
      [
        "a channel on another host",
        { host: "mirror.example.com", repository: "deckhouse/modules/echo/release", tag: "alpha" },
        "OTHER_REPOSITORY",
      ],
    ])("%s", (_, part, found) => {
      expect(does(part)).toBe(found);
    });

    it("keeps to the source's modules, to the webhook's sources and to aliases", () => {
      const channel = { repository: "deckhouse/modules/echo/release", tag: "alpha" };
      expect(does(channel, [{ ...rescanned, modules: ["other"] }])).toBe("OTHER_MODULE");
      expect(does(channel, [rescanned], ["another"])).toBe("OTHER_MODULE");
      const aliased = { ...rescanned, aliases: ["harbor.corp.example/d8"] };
      expect(does({ host: "harbor.corp.example", repository: "d8/echo/release", tag: "alpha" }, [aliased])).toBe("rescan test for echo");
    });

    it("renews a module of one source where another source's registrations could lie", () => {
      const inner = { ...rescanned, repo: "registry.example.com/deckhouse/modules/team", name: "team" };
      expect(does({ repository: "deckhouse/modules/team", tag: "main" }, [rescanned, inner])).toBe("renew test for team");
    });
  });

  it("treats a default port, letter case and Docker Hub's other names as the same host", () => {
    expect(reasonOf({ host: "registry.example.com:443" })).toBe("echo in dev");
    const hub = { ...source, repo: "docker.io/acme" };
    expect(reasonOf({ host: "index.docker.io", repository: "acme/echo" }, [hub])).toBe("echo in dev");
  });

  it("knows aliases, and names the source of an unknown host", () => {
    const aliased = { ...source, aliases: ["harbor.corp.example/d8/modules"] };
    expect(reasonOf({ host: "harbor.corp.example", repository: "d8/modules/echo" }, [aliased])).toBe("echo in dev");
    const match = createMatcher([aliased])(push({ host: "other.example" }));
    expect(match).toMatchObject({ kind: "skip", hint: expect.stringContaining("registry.example.com/deckhouse/modules") });
  });

  it("prefers the longest source when one sits inside another", () => {
    const inner = { ...source, repo: "registry.example.com/deckhouse/modules/team", name: "team", clusters: ["stage"] };
    expect(reasonOf({ repository: "deckhouse/modules/team/echo" }, [source, inner])).toBe("echo in stage");
    // the inner source's own name is a module of the outer one
    expect(reasonOf({ repository: "deckhouse/modules/team" }, [source, inner])).toBe("team in dev");
  });

  it("narrows by the webhook's sources, the source's modules and its clusters", () => {
    expect(reasonOf({}, [source], ["test"])).toBe("echo in dev");
    expect(reasonOf({}, [source], [source.repo])).toBe("echo in dev");
    expect(reasonOf({}, [source], ["other"])).toBe("OTHER_MODULE");
    expect(reasonOf({}, [{ ...source, modules: ["hello-*"] }])).toBe("OTHER_MODULE");
    expect(reasonOf({}, [{ ...source, clusters: [] }])).toBe("NO_CLUSTER");
  });

  it("lets noise through where the source says so", () => {
    expect(reasonOf({ tag: "0".repeat(64) }, [{ ...source, noise: "keep" }])).toBe("echo in dev");
  });

  it("matches every module name and tag below a source, and never under another host", () => {
    const name = fc.stringMatching(/^[a-z0-9](?:[-a-z0-9]{0,30}[a-z0-9])?$/).filter((text) => text !== "modules");
    const tag = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}$/).filter((text) => !isNoise(text));
    fc.assert(
      fc.property(name, tag, fc.domain(), (module, tagged, host) => {
        const repository = `deckhouse/modules/${module}`;
        expect(reasonOf({ repository, tag: tagged })).toBe(`${module} in dev`);
        if (host.toLowerCase() !== "registry.example.com") expect(reasonOf({ host, repository, tag: tagged })).toBe("UNKNOWN_HOST");
      }),
    );
  });
});

describe("isNoise", () => {
  it.each([
    "a1".repeat(28),
    `${"a1".repeat(28)}-1700000000000-rejected`,
    `meta-backend_${"a".repeat(40)}_${"b".repeat(56)}-1700000000000`,
    `import-metadata-${"c".repeat(64)}`,
    "client-id-0ff1ce00-0000-4000-8000-000000000000-1700000000000",
    `sha256-${"d".repeat(64)}`,
    `sha256-${"d".repeat(64)}.att`,
    "e".repeat(64),
  ])("drops %s", (tag) => {
    expect(isNoise(tag)).toBe(true);
  });
  it.each([
    "main",
    "meta-labels",
    "managed-image-rework",
    "client-id-fix",
    "import-metadata-v2",
    "v1.2.3",
    "pr42",
    "custom-tag-meta-x",
    "deadbeef",
  ])("keeps the branch %s", (tag) => {
    expect(isNoise(tag)).toBe(false);
  });
});

it("isModule takes names of objects up to 64 characters", () => {
  expect(["echo", "hello-world", "a.b", "x".repeat(64)].every(isModule)).toBe(true);
  expect(["", "-a", "a-", "A", "a_b", "a/b", "modules", "x".repeat(65)].some(isModule)).toBe(false);
});

it("globMatches takes everything but * and ? literally", () => {
  expect(globMatches("hello-*", "hello-world")).toBe(true);
  expect(globMatches("ech?", "echo")).toBe(true);
  expect(globMatches("a.c", "abc")).toBe(false);
  expect(globMatches("echo", "echo-2")).toBe(false);
});
