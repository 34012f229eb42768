/** `mpo-relay adopt` and `restore`, against the sandbox's API. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { MARK } from "../src/adoption.ts";
import { loadConfig } from "../src/config.ts";
import { entryOf } from "../src/journal/journal.ts";
import { openJournal } from "../src/journals.ts";
import { openSqliteJournal } from "../src/journal/sqlite.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import type { KubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { mpoRelay, NOW, startApiFor } from "./support/cli.ts";
import { requestOf } from "./support/relay.ts";

const MPO = "modulepulloverrides";
const DIGEST = `sha256:${"a".repeat(64)}`;

let folder: string;
let api: KubernetesApi;
let kubeconfig: string;
let close: () => Promise<void>;
beforeAll(async () => ({ folder, api, kubeconfig, close } = await startApiFor("operator")));
afterAll(() => close());

function create(name: string, options: { scanInterval?: string; webhook?: string; manager?: string } = {}): void {
  const { scanInterval = "15s", webhook = "registry", manager = "kubectl" } = options;
  const receivedAt = new Date(NOW.getTime() - 3_600_000);
  const mark = nudgeAnnotations({ ...requestOf(), digest: DIGEST, webhook, receivedAt: receivedAt.toISOString() }, 0, null, receivedAt);
  const annotations = Object.fromEntries(Object.entries(mark).filter((each): each is [string, string] => each[1] !== null));
  api.store.create(MPO, { metadata: { name, annotations }, spec: { imageTag: "main", scanInterval } }, undefined, manager);
  api.store.patchStatus(MPO, name, { message: "Ready", imageDigest: DIGEST, updatedAt: "2026-06-01T11:00:00Z" });
}
beforeEach(() => {
  for (const { metadata } of api.store.list(MPO)) api.store.delete(MPO, metadata.name);
  api.setServed(["v1alpha2"]);
  api.grant("operator", ["get", "list", "patch"]);
  create("echo");
  create("other");
  create("unheard", { webhook: "(mpo-relay renew)" });
  create("kept", { manager: "argocd-controller" });
});
const spec = (name: string) => api.store.get(MPO, name)?.spec?.["scanInterval"];
const mark = (name: string) => api.store.get(MPO, name)?.metadata.annotations?.[MARK];
const call = (...args: string[]) => mpoRelay([...args, "--kubeconfig", kubeconfig]);

describe("adopt", () => {
  it("shows a table of all, and writes nothing, with --dry-run", async () => {
    const said = await call("adopt", "--dry-run");
    expect(said).toMatchObject({ exitCode: 0, err: "" });
    expect(said.out.split("\n").map((line) => line.trim())).toEqual([
      "MODULE   TAG   NOW  THEN  WHY",
      "echo     main  15s  12h   pushes reach it",
      "kept     main  15s  -     Argo CD keeps it: change it there",
      "other    main  15s  12h   pushes reach it",
      "unheard  main  15s  -     no push has been seen to arrive by a webhook and take effect",
      "commit where kept is kept: spec.scanInterval: 12h",
    ]);
    expect(["echo", "other"].map(spec)).toEqual(["15s", "15s"]);
  });

  it("asks, and does nothing without a yes", async () => {
    const refused = await call("adopt");
    expect(refused).toMatchObject({ exitCode: 2 });
    expect(refused.err).toContain("nothing was done; it would lengthen the scan interval of 2 overrides");
    const no = await mpoRelay(["adopt", "--kubeconfig", kubeconfig], {}, NOW, async () => "no");
    expect(no.exitCode).toBe(2);
    expect(spec("echo")).toBe("15s");
    const yes = await mpoRelay(["adopt", "--kubeconfig", kubeconfig], {}, NOW, async () => "yes");
    expect(yes).toMatchObject({ exitCode: 0, err: "" });
    expect(["echo", "other", "unheard", "kept"].map(spec)).toEqual(["12h", "12h", "15s", "15s"]);
  });

  it("may be called again, longer too, and restore leaves nothing behind", async () => {
    await call("adopt", "echo", "--yes");
    expect(await call("adopt", "echo", "--yes")).toMatchObject({ exitCode: 0, err: "", out: expect.stringContaining("nothing to do") });
    expect((await call("adopt", "echo", "--yes", "--interval", "24h")).exitCode).toBe(0);
    expect(spec("echo")).toBe("24h");
    expect((await call("restore", "--yes")).exitCode).toBe(0);
    expect([spec("echo"), mark("echo")]).toEqual(["15s", undefined]);
    expect(await call("restore", "--yes")).toMatchObject({ exitCode: 0, out: expect.stringContaining("nothing to do") });
  });

  it("ends with 1 for a module that is named and cannot be, in JSON too", async () => {
    const said = await call("adopt", "echo", "unheard", "--yes", "--json");
    expect(said.exitCode).toBe(1);
    expect(JSON.parse(said.out)).toMatchObject({
      overrides: [
        { module: "echo", now: "15s", next: "12h", outcome: "ADOPTED" },
        { module: "unheard", now: "15s", next: "15s", outcome: "LEFT", commit: null },
      ],
    });
    expect(spec("echo")).toBe("12h");
    expect((await call("adopt", "nobody", "--yes")).err).toContain("there is no ModulePullOverride");
    expect((await call("adopt", "--json")).exitCode).toBe(2);
  });

  it.each(["0s", "25h", "12", "soon", ""])("takes no interval of %j", async (interval) => {
    expect(await call("adopt", "--yes", "--interval", interval)).toMatchObject({ exitCode: 2 });
    expect(spec("echo")).toBe("15s");
  });

  it("says what is missing where overrides cannot be listed, and works for those that are named", async () => {
    api.grant("operator", ["get", "patch"]);
    const said = await call("adopt", "--yes");
    expect(said).toMatchObject({ exitCode: 1, err: expect.stringContaining("grant the verb list") });
    expect((await call("adopt", "echo", "--yes")).exitCode).toBe(0);
    expect(spec("echo")).toBe("12h");
  });

  it("goes on after one that cannot be patched, and tells it", async () => {
    api.faults.next(1, "403-rbac", { method: "PATCH" });
    const said = await call("adopt", "--yes");
    expect(said).toMatchObject({ exitCode: 1, err: expect.stringMatching(/not done: echo \(.*cannot patch/) });
    expect(["echo", "other"].map(spec)).toEqual(["15s", "12h"]);
  });

  it("decides anew on what somebody wrote while the question stood", async () => {
    const said = await mpoRelay(["adopt", "echo", "--kubeconfig", kubeconfig], {}, NOW, async () => {
      api.store.patch(MPO, "echo", { spec: { scanInterval: "24h" } });
      return "yes";
    });
    expect(said).toMatchObject({ exitCode: 1, out: expect.stringContaining("echo: left, as long already") });
    expect([spec("echo"), mark("echo")]).toEqual(["24h", undefined]);
  });

  it("works where v1alpha1 alone is served, without the label of a nudge", async () => {
    api.setServed(["v1alpha1"]);
    api.store.patch(MPO, "echo", { spec: { source: "test" } });
    expect(await call("adopt", "echo", "--yes")).toMatchObject({ exitCode: 0 });
    expect(spec("echo")).toBe("12h");
    expect(api.store.get(MPO, "echo")?.metadata.labels).toBeUndefined();
  });
});

describe("restore", () => {
  it("leaves a person's value and removes the mark alone", async () => {
    await call("adopt", "--yes");
    api.store.patch(MPO, "echo", { spec: { scanInterval: "30s" } });
    const said = await call("restore", "--yes");
    expect(said).toMatchObject({ exitCode: 0, out: expect.stringContaining("somebody changed the scan interval since, so it stays") });
    expect([spec("echo"), mark("echo"), spec("other"), mark("other")]).toEqual(["30s", undefined, "15s", undefined]);
  });
});

describe("with the relay's configuration", () => {
  const config = () => join(folder, "relay.yaml");
  beforeEach(async () => {
    await writeFile(
      config(),
      `clusters: { dev: { queue: "embedded:./q", adopt: 6h, kubernetes: { kubeconfig: ${kubeconfig} } } }\njournal: embedded:./journal\n`,
    );
  });

  it("takes what the journal saw for a proof, and writes down who did it and why", async () => {
    const journal = openSqliteJournal(join(folder, "journal"), { create: true });
    const push = { ...requestOf({ module: "unheard", digest: null, image: "r.example.com/m/unheard:main" }), cluster: "dev" };
    const at = new Date(Date.now() - 60_000).toISOString();
    await journal.append([
      entryOf(push, "RUNNING", at, { digest: DIGEST }),
      entryOf({ ...push, key: "bbbbbbbbbbbb", module: "echo" }, "PICKED_UP", at, { digest: `sha256:${"b".repeat(64)}` }),
    ]);
    await journal.close();
    api.store.patch(MPO, "echo", { metadata: { annotations: { "mpo-relay/digest": null } } });
    const said = await mpoRelay(
      ["adopt", "unheard", "echo", "--yes", "--config", config(), "--cluster", "dev", "--by", "ann", "--why", "INC-1"],
      {},
      new Date(),
    );
    expect(said).toMatchObject({ exitCode: 1, err: expect.stringContaining("not done: echo (no push") });
    expect([spec("unheard"), spec("echo")]).toEqual(["6h", "15s"]);
    const restored = await mpoRelay(["restore", "--yes", "--config", config(), "--cluster", "dev", "--by", "ann"], {}, new Date());
    expect(restored).toMatchObject({ exitCode: 0, err: expect.stringContaining("clusters.dev.adopt is set") });

    const loaded = await loadConfig({ file: config() });
    if (!loaded.ok) expect.fail("the configuration");
    const read = await openJournal(loaded.config, {});
    const acts = (await read.read({ limit: 10 })).filter(({ detail }) => detail["by"] === "ann");
    await read.close();
    expect(
      acts
        .map(({ stage, module, detail }) => [stage, module, detail["why"], detail["change"]])
        .toSorted(([a], [b]) => String(a).localeCompare(String(b))),
    ).toEqual([
      ["ADOPTED", "unheard", "INC-1", "scanInterval 15s → 6h: pushes reach it"],
      ["RESTORED", "unheard", null, "scanInterval 6h → 15s: as it was before"],
    ]);
  });
});
