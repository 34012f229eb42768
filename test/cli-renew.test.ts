import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { progressOf, unchanged } from "../src/cli/follow.ts";
import { renewCommand } from "../src/cli/renew.ts";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import type { Override, OverrideStatus } from "../src/cluster/overrides.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import type { KubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { pushImage } from "../src/sandbox/registry-client.ts";
import { type Registry, startRegistry } from "../src/sandbox/registry.ts";
import { mpoRelay, runCommand, startApiFor } from "./support/cli.ts";

const OLD = `sha256:${"a".repeat(64)}`;
const NEW = `sha256:${"b".repeat(64)}`;
const READY = { message: "Ready", imageDigest: OLD, updatedAt: "2026-06-01T11:00:00Z" };
const MPO = "modulepulloverrides";

describe("one look after a nudge", () => {
  const override = (status: Partial<OverrideStatus> = {}, imageTag = "main"): Override => ({
    name: "echo",
    apiVersion: "v1alpha2",
    resourceVersion: "1",
    imageTag,
    source: null,
    scanInterval: null,
    annotations: {},
    keeper: null,
    taggedAt: null,
    odd: null,
    status: { ...READY, ...status },
  });
  const error = { message: "Download error: no such manifest" };
  const later = "2026-06-01T12:00:00Z";
  const seconds = (count: number) => count * 1000;

  it.each<[string, Override, Override | null, number, ReturnType<typeof progressOf>]>([
    ["nothing moved", override(), override(), 90, { kind: "waiting" }],
    ["another digest", override(), override({ imageDigest: NEW }), 1, { kind: "picked-up", digest: NEW }],
    ["another digest and an empty message", override(), override({ imageDigest: NEW, message: "" }), 1, { kind: "picked-up", digest: NEW }],
    ["the same digest, deployed again", override(), override({ updatedAt: later }), 1, { kind: "picked-up", digest: OLD }],
    ["well again after an error", override(error), override(), 1, { kind: "picked-up", digest: OLD }],
    ["ready without an image", override({ imageDigest: null, message: "" }), override({ imageDigest: null }), 1, { kind: "waiting" }],
    [
      "a new error",
      override(),
      override(error),
      1,
      { kind: "refused", message: error.message, advice: "see the override's status and Deckhouse's log" },
    ],
    [
      "the same error at a later time",
      override(error),
      override({ ...error, updatedAt: later }),
      1,
      expect.objectContaining({ kind: "refused" }),
    ],
    ["the old error, at first", override(error), override(error), 29, { kind: "waiting" }],
    ["the old error, for long", override(error), override(error), 30, expect.objectContaining({ kind: "refused" })],
    [
      "a final refusal",
      override(),
      override({ message: "The module disabled" }),
      1,
      expect.objectContaining({ kind: "refused", advice: expect.stringContaining("ModuleConfig") }),
    ],
    ["gone", override(), null, 1, { kind: "moved", message: "the override is gone" }],
    ["another tag", override(), override({}, "next"), 1, { kind: "moved", message: "the override follows the tag next now" }],
  ])("%s", (_, before, seen, elapsed, expected) => expect(progressOf(before, seen, seconds(elapsed))).toEqual(expected));

  it("claims no proof where nothing moved", () => {
    expect(unchanged(override(), 60)).toEqual({
      isFine: true,
      text: expect.stringMatching(/^unchanged after 60 s: it runs sha256:a+\. Most likely/),
    });
    expect(unchanged(override({ imageDigest: null }), 60)).toMatchObject({ isFine: false });
  });
});

describe("against an API server", () => {
  let folder: string;
  let api: KubernetesApi;
  let kubeconfig: string;
  let close: () => Promise<void>;
  beforeAll(async () => ({ folder, api, kubeconfig, close } = await startApiFor("developer")));
  afterAll(() => close());
  beforeEach(() => {
    if (api.store.get(MPO, "echo")) api.store.delete(MPO, "echo");
    api.store.create(MPO, { metadata: { name: "echo" }, spec: { imageTag: "main", scanInterval: "24h" } });
    api.store.patchStatus(MPO, "echo", READY);
  });
  const annotations = () => api.store.get(MPO, "echo")?.metadata.annotations ?? {};

  /** Plays Deckhouse: answers the next nudge of `echo` by this status. */
  function deckhouse(status: Partial<OverrideStatus>): void {
    const stop = api.store.watch(MPO, ({ type, object, previous }) => {
      if (type !== "MODIFIED" || object.metadata.annotations?.["renew"] === previous?.metadata.annotations?.["renew"]) return;
      stop();
      api.store.patchStatus(MPO, "echo", status);
    });
  }
  const renew = (...args: string[]) => mpoRelay(["renew", "echo", "--kubeconfig", kubeconfig, ...args]);

  /** The same with a real clock that looks often. */
  async function follow(...args: string[]) {
    const open: Parameters<typeof renewCommand>[1] = (options) =>
      openKubernetes({ ...options, readSecret: () => Promise.reject(new Error("no secret")) });
    return runCommand((terminal) => renewCommand(terminal, open, 10), ["echo", "--kubeconfig", kubeconfig, "--wait", ...args]);
  }

  it("leaves the relay's own marks with get and patch alone, and tells what to do next", async () => {
    const { exitCode, out } = await renew();
    expect(exitCode).toBe(0);
    expect(out).toContain(`echo:main ran ${OLD} (Ready)`);
    const key = annotations()["mpo-relay/key"];
    expect(key).toMatch(/^[0-9a-f]{32}$/);
    expect(annotations()).toMatchObject({ renew: key, "mpo-relay/pushed": expect.stringContaining("(mpo-relay renew)") });
    expect(out).toContain(`nudged, key ${key}`);
  });

  it("keeps the keys of nudges before it, so that a relay knows what was covered", async () => {
    await renew();
    const first = annotations()["mpo-relay/key"];
    await renew();
    expect(annotations()["mpo-relay/recent"]).toBe(first);
    expect(annotations()["mpo-relay/key"]).not.toBe(first);
  });

  it("follows it until the new image is picked up", async () => {
    deckhouse({ imageDigest: NEW });
    expect(await follow()).toMatchObject({ exitCode: 0, out: expect.stringContaining(`picked up ${NEW}`) });
  });

  it("ends with 1 and Deckhouse's reason", async () => {
    deckhouse({ message: "The module disabled", imageDigest: null });
    expect(await follow()).toMatchObject({
      exitCode: 1,
      err: expect.stringMatching(/Deckhouse says: The module disabled\nenable the module/),
    });
  });

  it("says what is known when nothing moves", async () => {
    expect(await follow("--timeout", "50ms")).toMatchObject({ exitCode: 0, out: expect.stringContaining(`it runs ${OLD}. Most likely`) });
  });

  it("says before it waits that nothing may move, and that this is well", async () => {
    const { out } = await follow("--timeout", "50ms");
    expect(out).toMatch(
      /\nnudged, key .*\nfollowing it for up to 0.05 s: where its tag still names what it runs nothing moves, .*\nunchanged/,
    );
  });

  describe("by the relay's configuration, with `registry:` at the source", () => {
    let registry: Registry;
    let digest: string;
    beforeAll(async () => {
      registry = await startRegistry({ port: 0, notify: null, log: () => {} });
      digest = await pushImage(registry.url, "modules/echo", "main");
    });
    afterAll(() => registry.close());
    async function renewDev(...args: string[]) {
      const config = join(folder, "relay.json");
      const sources = [{ repo: `localhost:${registry.port}/modules`, name: "test", registry: { plainHttp: true } }];
      await writeFile(config, JSON.stringify({ sources, clusters: { dev: { queue: "embedded:./data", kubernetes: { kubeconfig } } } }));
      return mpoRelay(["renew", "echo", "--cluster", "dev", "--config", config, "--wait", ...args], {}, new Date()); // a journal forgets by the real clock
    }

    it("ends at once where it runs what its tag names", async () => {
      api.store.patchStatus(MPO, "echo", { imageDigest: digest });
      const { exitCode, out } = await renewDev(); // two minutes, if it waited
      expect(exitCode).toBe(0);
      expect(out).toContain(`unchanged: it runs ${digest}, which is what its tag names`);
      expect(annotations()["mpo-relay/key"]).toMatch(/^[0-9a-f]{32}$/); // nudged all the same
      expect(JSON.parse((await renewDev("--json")).out)).toMatchObject({ outcome: "UNCHANGED", digest });
    });

    it("waits where it runs something else, and leaves the end in the journal", async () => {
      await openSqliteJournal(join(folder, "data"), { create: true }).close();
      deckhouse({ imageDigest: digest });
      expect(await renewDev()).toMatchObject({ exitCode: 0, out: expect.stringContaining(`picked up ${digest}`) });
      deckhouse({ imageDigest: null, message: "The module disabled" });
      api.store.patchStatus(MPO, "echo", { imageDigest: OLD });
      expect(await renewDev()).toMatchObject({ exitCode: 1 });
      const journal = openSqliteJournal(join(folder, "data"), { create: false });
      const entries = await journal.read({ limit: 9 });
      await journal.close();
      const told = { cluster: "dev", module: "echo", tag: "main", webhook: "(mpo-relay renew)" };
      expect(entries.toSorted((a, b) => a.stage.localeCompare(b.stage))).toMatchObject([
        { ...told, stage: "PICKED_UP", detail: { digest } },
        { ...told, stage: "REFUSED", detail: { message: "The module disabled" } },
      ]);
    });
  });

  it("goes on after a look that failed", async () => {
    const stop = api.store.watch(MPO, ({ type, object }) => {
      if (type !== "MODIFIED" || !object.metadata.annotations?.["renew"]) return;
      stop();
      api.faults.next(1, "503", { method: "GET" });
      api.store.patchStatus(MPO, "echo", { imageDigest: NEW });
    });
    const { exitCode, err } = await follow();
    expect(exitCode).toBe(0);
    expect(err).toContain("cannot look now: ");
  });

  it("gives one JSON object to programs", async () => {
    deckhouse({ imageDigest: NEW });
    const { out } = await follow("--json");
    expect(JSON.parse(out)).toEqual({
      module: "echo",
      tag: "main",
      key: annotations()["mpo-relay/key"],
      outcome: "PICKED_UP",
      before: OLD,
      digest: NEW,
      message: "Ready",
      ms: expect.any(Number),
    });
  });

  it("names the overrides that there are, where it may list them", async () => {
    await expect(mpoRelay(["renew", "ehco", "--kubeconfig", kubeconfig])).resolves.toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("kubectl get mpo"),
    });
    const lister = join(folder, "lister");
    await writeFile(lister, api.kubeconfig(api.grant("lister", ["get", "patch", "list"])));
    await expect(mpoRelay(["renew", "ehco", "--kubeconfig", lister])).resolves.toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("there are: echo"),
    });
  });

  it("names the options by which another cluster is found", async () => {
    const { exitCode, err } = await mpoRelay(["renew", "echo", "--kubeconfig", join(folder, "nowhere")]);
    expect(exitCode).toBe(1);
    expect(err).toContain("name another by --kubeconfig FILE, or a cluster of the relay's configuration by --cluster NAME");
  });

  it.each([
    ["a kubeconfig that is not there", ["--kubeconfig", "/nowhere/kubeconfig"]],
    ["a context that is not there", ["--context", "nope"]],
  ])("names %s: 1", async (_, args) => {
    const { exitCode, err } = await renew(...args);
    expect(exitCode).toBe(1);
    expect(err).toContain(args[1]);
  });
});
