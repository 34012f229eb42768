/** What a person does to pushes by a command stands in the journal: who, what, why. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FORCE } from "../src/cli/follow.ts";
import { forceCommand } from "../src/cli/force.ts";
import { encode } from "../src/event.ts";
import { entryOf } from "../src/journal/journal.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import { openEmbedded } from "../src/queue/embedded.ts";
import { startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { mpoRelay } from "./support/cli.ts";
import { requestOf } from "./support/relay.ts";

let folder: string;
let config: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "acts-"));
  config = join(folder, "relay.json");
});
afterEach(() => rm(folder, { recursive: true }));

/** A journal forgets what is older than 14 days by the real clock. */
const NOW = new Date();
const KEY = "0123456789abcdef";
const before = (minutes: number) => new Date(NOW.getTime() - minutes * 60_000).toISOString();
const request = requestOf({ key: KEY, receivedAt: before(60) });

async function withJournal(path = join(folder, "data")): Promise<void> {
  const journal = openSqliteJournal(path, { create: true });
  await journal.append([
    entryOf(request, "QUEUED", before(60)),
    entryOf(request, "UNCONFIRMED", before(30), { why: "not seen", buried: true }),
  ]);
  await journal.close();
}
async function withLetter(body = encode(request)): Promise<void> {
  await writeFile(config, JSON.stringify({ clusters: { dev: { queue: "embedded:" } } }));
  const store = openEmbedded(join(folder, "data"));
  const times = { attempts: 5, firstAt: before(60), lastAt: before(30) };
  await store.queue("dev").deadLetters.put({ body, code: "UNCONFIRMED", text: "not seen", ...times });
  await store.close();
}
async function latest() {
  const journal = openSqliteJournal(join(folder, "data"), { create: false });
  const [entry] = await journal.read({ limit: 1 });
  await journal.close();
  return entry;
}
const relay = (...args: string[]) => mpoRelay([...args, "--config", config], {}, NOW);

describe("history --failed", () => {
  /** A refusal, and what came after it. */
  async function failed(...later: Parameters<typeof entryOf>[]): Promise<string> {
    await writeFile(config, JSON.stringify({ clusters: { dev: { queue: "embedded:" } }, journal: "embedded:" }));
    await openEmbedded(join(folder, "data")).close();
    const journal = openSqliteJournal(join(folder, "data"), { create: true });
    const refused = entryOf(request, "REFUSED", before(50), { message: "The module disabled" });
    await journal.append([entryOf(request, "QUEUED", before(60)), refused, ...later.map((each) => entryOf(...each))]);
    await journal.close();
    return (await relay("history", "--failed")).out;
  }
  const renewed = requestOf({ key: "fedcba9876543210", receivedAt: before(40), image: "echo:main" });

  it("names a push that Deckhouse refused, and no dead letters where there is none", async () => {
    const out = await failed();
    expect(out).toMatch(new RegExp(`REFUSED .*${KEY} +The module disabled`));
    expect(out).toContain(`next: mpo-relay history --key ${KEY}`);
    expect(out).not.toContain("dlq list");
  });

  it("names the dead letters of one that is among them", async () => {
    expect(await failed([{ ...request, key: "1111111111111111" }, "UNCONFIRMED", before(30), { why: "not seen", buried: true }])).toContain(
      "\n      mpo-relay dlq list",
    );
  });

  it.each<[string, Parameters<typeof entryOf>[1], Partial<typeof renewed>, boolean]>([
    ["a later pick-up of the same tag", "PICKED_UP", {}, true],
    ["one that found it running", "CURRENT", {}, true],
    ["one in another cluster", "PICKED_UP", { cluster: "stage" }, false],
    ["one of another tag", "PICKED_UP", { tag: "next", image: "echo:next" }, false],
    ["one of another module", "PICKED_UP", { module: "other", image: "other:main" }, false],
    ["one that is on its way", "NUDGED", {}, false],
  ])("is it mended by %s?", async (_what, stage, part, isMended) => {
    const out = await failed([{ ...renewed, ...part }, stage, before(20)]);
    expect(out.includes("REFUSED")).toBe(!isMended);
    if (isMended) expect(out).toContain("no push that failed");
  });

  it("a dead letter stays one, whatever came later, and so does what failed after it", async () => {
    const buried = { ...request, key: "1111111111111111" };
    expect(await failed([buried, "UNCONFIRMED", before(30), { buried: true }], [renewed, "PICKED_UP", before(20)])).toContain(
      "UNCONFIRMED",
    );
    await rm(join(folder, "data"), { recursive: true });
    expect(await failed([renewed, "PICKED_UP", before(55)])).toContain("REFUSED");
  });
});

describe("dlq", () => {
  it("redrive writes who sent it again and why; the push waits again", async () => {
    await withLetter();
    await withJournal();
    expect(await relay("dlq", "redrive", "--all", "--why", "the disk is larger now")).toMatchObject({ exitCode: 0, err: "" });
    expect(await latest()).toMatchObject({
      key: KEY,
      stage: "REDRIVEN",
      last: NOW.toISOString(),
      detail: { by: `${userInfo().username}@${hostname()}`, why: "the disk is larger now", nudge: 1, code: "UNCONFIRMED" },
    });
    const { out } = await relay("history", "--key", KEY);
    expect(out).toMatch(/dev +\S+Z +REDRIVEN +by .*, why the disk is larger now, nudge 1, code UNCONFIRMED/);
    expect(JSON.parse((await relay("history", "--key", KEY, "--json")).out)).toMatchObject({ state: "waiting" });
  });

  it.each([
    [["--why", "the module is gone", "--by", "ann"], { by: "ann", why: "the module is gone" }, "the module is gone"],
    [["--by", "ann"], { by: "ann", why: null }, "UNCONFIRMED"],
  ])("purge %j is the push's end, with the reason", async (options, detail, why) => {
    await withLetter();
    await withJournal();
    expect(await relay("dlq", "purge", "--all", "--yes", ...options)).toMatchObject({ exitCode: 0, err: "" });
    expect(await latest()).toMatchObject({ stage: "PURGED", detail: { ...detail, nudge: 0, code: "UNCONFIRMED" } });
    expect(JSON.parse((await relay("history", "--key", KEY, "--json")).out)).toMatchObject({
      state: "failed",
      clusters: [{ outcome: "PURGED", why }],
    });
  });

  it("that only says what would happen writes nothing", async () => {
    await withLetter();
    await withJournal();
    await relay("dlq", "redrive", "--all", "--dry-run");
    await relay("dlq", "purge", "--all", "--dry-run");
    expect(await latest()).toMatchObject({ stage: "UNCONFIRMED" });
  });

  it("purges what is no push too, of which there is nothing to tell", async () => {
    await withLetter("no record");
    await withJournal();
    expect(await relay("dlq", "purge", "--all", "--yes")).toMatchObject({ exitCode: 0, err: "" });
    expect(await latest()).toMatchObject({ stage: "UNCONFIRMED" });
  });

  it("is done without a journal too, and says once that nobody will know who did it", async () => {
    await withLetter();
    await withLetter();
    const { exitCode, err, out } = await relay("dlq", "redrive", "--all");
    expect([exitCode, out]).toEqual([0, expect.stringContaining("2 dead letters sent again")]);
    expect(err).toMatch(/^warning: who did this and why is not in the journal: .*the first push that a relay takes makes it$/);
    expect(await readdir(join(folder, "data"))).not.toContain("journal.db");
  });
});

it("force writes who asked for it and what came of it, where the relay's configuration says which journal", async () => {
  const api = await startKubernetesApi({ token: "token-of-the-administrator" });
  try {
    api.store.create("modulepulloverrides", { metadata: { name: "echo" }, spec: { imageTag: "main", source: "test" } });
    await writeFile(join(folder, "kubeconfig"), api.kubeconfig(api.grant("developer", ["get", "patch"])));
    const kubernetes = { kubeconfig: "kubeconfig" };
    await writeFile(config, JSON.stringify({ clusters: { dev: { queue: "embedded:", kubernetes } } }));
    await withJournal();
    await writeFile(join(folder, "away.json"), JSON.stringify({ clusters: { dev: { queue: "embedded:none", kubernetes } } }));
    const err: string[] = [];
    const terminal = { out: () => {}, err: (text: string) => void err.push(text), env: {}, now: () => new Date() };
    const force = (...args: string[]) =>
      expect(
        forceCommand(terminal).parseAsync(["echo", "--yes", "--timeout", "1ms", "--cluster", "dev", ...args], { from: "user" }),
      ).rejects.toThrow("not deployed again"); // nobody plays Deckhouse
    await force("--config", config, "--why", "files were edited by hand", "--by", "ann");
    expect(await latest()).toMatchObject({
      cluster: "dev",
      module: "echo",
      tag: "main",
      stage: "NOT_FORCED",
      detail: { by: "ann", why: "Deckhouse did not do it in time", takenBack: true },
    });
    expect(err).toEqual([]);
    const { out } = await relay("history", "echo");
    expect(out).toMatch(/echo:main +dev +NOT_FORCED .* Deckhouse did not do it in time/);
    const { key = "" } = (await latest()) ?? {};
    expect((await relay("history", "--key", key)).out).toMatch(/FORCED +by ann, why files were edited by hand\n.* NOT_FORCED /);

    const stop = api.store.watch("modulepulloverrides", ({ object }) => {
      if (object.metadata.annotations?.[FORCE] !== "true") return;
      stop();
      api.store.patchStatus("modulepulloverrides", "echo", { message: "Validation error: no openapi" });
    });
    await expect(
      forceCommand(terminal).parseAsync(["echo", "--yes", "--cluster", "dev", "--config", config, "--by", "ann"], { from: "user" }),
    ).rejects.toThrow("Validation error");
    expect(await latest()).toMatchObject({ stage: "REFUSED", detail: { why: "Validation error: no openapi", takenBack: true } });
    await force("--config", join(folder, "away.json"));
    expect(err.join()).toContain("who did this and why is not in the journal");
  } finally {
    await api.close();
  }
});
