/** `dlq redrive --wait` and `dlq show` beside a running relay and an API server; Deckhouse is played by hand. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { endingOf, followRedriven, type Following, type Sent } from "../src/cli/dlq/follow.ts";
import { run } from "../src/cli/program.ts";
import { configOrThrow } from "../src/config.ts";
import { encode } from "../src/event.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import type { DeadLetter } from "../src/queue/queue.ts";
import { startRelay, type Relay } from "../src/relay.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { at, digestOf, fakeObserver, overrideOf, requestOf, start } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

const request = requestOf({ nudge: 1 });
const sent: Sent = { id: "dev/1", request, before: overrideOf() };
const ready = (digest: string, updatedAt = at(5)) => ({ message: "Ready", imageDigest: digestOf(digest), updatedAt });
const marked = (nudge = 1, part: Parameters<typeof overrideOf>[0] = {}, of = request) =>
  overrideOf({ annotations: nonNull(nudgeAnnotations(of, nudge, null, start)), ...part });
const nonNull = (annotations: Record<string, string | null>) =>
  Object.fromEntries(Object.entries(annotations).filter((entry): entry is [string, string] => entry[1] !== null));
const later = requestOf({ key: "bbbbbbbbbbbb", pushedAt: at(60), receivedAt: at(60) });

describe("one look at what was sent again", () => {
  const looks: [string, Parameters<typeof endingOf>[1], object, Partial<Sent>?][] = [
    ["not yet nudged", overrideOf(), { waitsFor: expect.stringContaining("not nudged yet") }],
    ["nudged by an earlier nudge only", marked(0, { status: ready("a") }), { waitsFor: expect.stringContaining("not nudged yet") }],
    ["nudged, and nothing more", marked(), { waitsFor: expect.stringContaining(digestOf("0")) }],
    ["the pushed digest is there", marked(1, { status: ready("a") }), { outcome: "PICKED_UP", isWell: true }],
    ["by a repeated nudge", marked(3, { status: ready("a") }), { outcome: "PICKED_UP", isWell: true }],
    ["another digest is there", marked(1, { status: ready("c") }), { waitsFor: expect.stringContaining(digestOf("c")) }],
    [
      "another digest, and none is known",
      marked(1, { status: ready("c") }),
      { outcome: "PICKED_UP", text: `runs ${digestOf("c")}` },
      { request: { ...request, digest: null } },
    ],
    [
      "a refusal",
      marked(1, { status: { ...ready("0"), message: "The module disabled" } }),
      { outcome: "REFUSED", isWell: false, text: expect.stringContaining("enable the module") },
    ],
    ["gone", null, { outcome: "NOT_OVERRIDDEN", isWell: true }],
    ["another tag", overrideOf({ imageTag: "next" }), { outcome: "TAG_DIFFERS", isWell: true }],
    [
      "a later push's nudge",
      overrideOf({ annotations: nonNull(nudgeAnnotations(later, 0, null, new Date(at(60)))) }),
      { outcome: "JOINED", isWell: true },
    ],
  ];
  it.each(looks)("%s", (_, seen, expected, part = {}) =>
    expect(endingOf({ ...sent, ...part }, seen, 1000, new Date(at(120)))).toMatchObject(expected),
  );
});

describe("following", () => {
  const back: DeadLetter = {
    id: "9",
    body: encode(requestOf({ nudge: 2 })),
    code: "UNCONFIRMED",
    text: "why",
    attempts: 1,
    firstAt: at(0),
    lastAt: at(0),
    expiresAt: null,
  };
  const follow = (part: Partial<Following>, letters: readonly DeadLetter[] = []) =>
    followRedriven([sent, { ...sent, id: "dev/2", request: requestOf({ key: "cccccccccccc" }) }], {
      looker: { get: async () => overrideOf() },
      desk: {
        lettersOf: async () => ({
          put: async () => {},
          list: async () => ({ letters: [], more: false }),
          count: async () => 0,
          async sweep(decide) {
            for (const letter of letters) await decide(letter);
            return { removed: 0, kept: 0 };
          },
        }),
      },
      tell: () => {},
      now: () => start,
      timeoutMs: 0,
      lookEveryMs: 1,
      signal: new AbortController().signal,
      ...part,
    });

  it("names what came back as a dead letter, by a repeated nudge too, and of the rest what it waits for", async () => {
    expect(await follow({}, [back])).toMatchObject([
      { id: "dev/1", outcome: "CAME_BACK", text: "a dead letter again, dev/9: UNCONFIRMED: why", isWell: false },
      { id: "dev/2", outcome: "UNKNOWN", text: expect.stringContaining("not nudged yet"), isWell: false },
    ]);
  });

  it("ends when it is interrupted, and says why it could not look", async () => {
    const looker = { get: () => Promise.reject(new Error("no way in")) };
    const endings = await follow({ looker, timeoutMs: 1_000_000, signal: AbortSignal.abort() });
    expect(endings.map(({ outcome, text }) => `${outcome} ${text}`)).toEqual(["UNKNOWN no way in", "UNKNOWN no way in"]);
  });
});

describe("beside a relay", () => {
  let folder: string;
  let api: KubernetesApi;
  let relay: Relay;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "dlq-follow-"));
    api = await startKubernetesApi({ token: "token-of-the-administrator" });
    await writeFile(join(folder, "kubeconfig"), api.kubeconfig(api.grant("relay", ["get", "patch"])));
    file = join(folder, "relay.json");
    const kubernetes = { kubeconfig: join(folder, "kubeconfig") };
    await writeFile(
      file,
      JSON.stringify({
        clusters: { dev: { queue: "embedded:", kubernetes }, far: { queue: "embedded:" } },
        tuning: { cooldown: "100ms", looks: ["100ms", "200ms", "300ms", "400ms", "500ms", "600ms"] },
      }),
    );
    for (const name of ["echo", "stuck"]) {
      api.store.create("modulepulloverrides", { metadata: { name }, spec: { imageTag: "main", scanInterval: "24h" } });
      api.store.patchStatus("modulepulloverrides", name, { message: "Ready", imageDigest: digestOf("0"), updatedAt: at(-3600) });
    }
    const store = openEmbedded(join(folder, "data"));
    for (const module of ["echo", "stuck"]) {
      const body = encode(requestOf({ module, key: `${module}aaaaaaaa` }));
      await store.queue("dev").deadLetters.put({ body, code: "INVALID", text: "why", attempts: 1, firstAt: at(0), lastAt: at(0) });
    }
    await store.close();
    relay = await startRelay({ config: await configOrThrow({ file }), observer: fakeObserver().observer, roles: ["consumer"] });
  });
  afterEach(async () => {
    await relay.stop();
    await api.close();
    await rm(folder, { recursive: true });
  });
  const dlq = async (...args: string[]) => {
    const [out, err]: [string[], string[]] = [[], []];
    const said = { out: (text: string) => void out.push(text), err: (text: string) => void err.push(text) };
    const exitCode = await run(["dlq", ...args, "--config", file], { ...said, env: {}, now: () => new Date() });
    return { exitCode, out: out.join("\n"), err: err.join("\n") };
  };

  it("follows each to its outcome: picked up, or a dead letter again", async () => {
    const stop = api.store.watch("modulepulloverrides", ({ type, object }) => {
      if (type !== "MODIFIED" || object.metadata.name !== "echo" || !object.metadata.annotations?.["renew"]) return;
      stop();
      api.store.patchStatus("modulepulloverrides", "echo", { imageDigest: digestOf("a"), updatedAt: at(0) });
    });
    const { exitCode, out, err } = await dlq("redrive", "--all", "--wait", "--cluster", "dev");
    expect(err).toContain("following 2 records for up to 2 min");
    expect(out).toMatch(new RegExp(`^dev/1 {2}PICKED_UP after \\d+ s: runs ${digestOf("a")}$`, "m"));
    expect(out).toMatch(/^dev\/2 {2}CAME_BACK after \d+ s: a dead letter again, dev\/\d+: UNCONFIRMED: /m);
    expect(out).toContain("1 PICKED_UP, 1 CAME_BACK");
    expect(exitCode).toBe(1);
    expect(err).toContain("1 of 2 records did not take effect");
  });

  it("Ctrl-C ends the looking, and says what is known by then", async () => {
    const running = dlq("redrive", "dev/2", "--wait", "--json");
    await vi.waitFor(() => expect(api.store.get("modulepulloverrides", "stuck")?.metadata.annotations?.["renew"]).toBeDefined(), waited);
    process.emit("SIGINT");
    const { exitCode, out } = await running;
    expect(exitCode).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ letters: [{ id: "dev/2", done: true }], outcomes: [{ id: "dev/2", outcome: "UNKNOWN" }] });
  });

  it("shows what the override looks like now, or why it cannot", async () => {
    const { exitCode, out } = await dlq("show", "dev/1");
    expect(exitCode).toBe(0);
    expect(out).toContain("override  follows tag main\n");
    expect(out).toContain(`override  runs ${digestOf("0")}; pushed was ${digestOf("a")}`);
    expect(out).toContain("override  never nudged by a relay");
    api.faults.next(1000, "503");
    const down = await dlq("show", "dev/1", "--json");
    expect(down.exitCode).toBe(0);
    expect(JSON.parse(down.out)).toMatchObject({ override: null, overrideProblem: expect.stringContaining("cannot be looked at: ") });
  });
});
