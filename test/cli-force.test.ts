/** `mpo-relay force` on its own; what each Deckhouse makes of it is in eras.test.ts. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { FORCE, forcedOf } from "../src/cli/follow.ts";
import { forceCommand } from "../src/cli/force.ts";
import type { Terminal } from "../src/cli/terminal.ts";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import type { KubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { mpoRelay, runCommand, startApiFor } from "./support/cli.ts";
import { overrideOf } from "./support/relay.ts";

const MPO = "modulepulloverrides";
const DIGEST = `sha256:${"a".repeat(64)}`;

let folder: string;
let api: KubernetesApi;
let kubeconfig: string;
let close: () => Promise<void>;
beforeAll(async () => ({ folder, api, kubeconfig, close } = await startApiFor("developer")));
afterAll(() => close());
beforeEach(() => {
  api.faults.clear();
  api.setServed(["v1alpha2"]);
  if (api.store.get(MPO, "echo")) api.store.delete(MPO, "echo");
  api.store.create(MPO, { metadata: { name: "echo", annotations: { kept: "x" } }, spec: { imageTag: "main", source: "test" } });
  api.store.patchStatus(MPO, "echo", { message: "Ready", imageDigest: DIGEST, updatedAt: "2026-06-01T11:00:00Z" });
});
const annotations = () => api.store.get(MPO, "echo")?.metadata.annotations ?? {};

/** Plays Deckhouse: does this once it is forced. */
function deckhouse(act: () => void): void {
  const stop = api.store.watch(MPO, ({ object }) => {
    if (object.metadata.annotations?.[FORCE] !== "true") return;
    stop();
    act();
  });
}

/** With a real clock that looks often. */
const force = (...args: string[]) => forceAt({}, ...args);

async function forceAt(person: Pick<Terminal, "ask">, ...args: string[]) {
  const open: Parameters<typeof forceCommand>[1] = (options) => openKubernetes({ ...options, readSecret: async () => "" });
  return runCommand((terminal) => forceCommand(terminal, open, 10), ["echo", "--kubeconfig", kubeconfig, ...args], person);
}

describe("mpo-relay force", () => {
  it("says what it would do and writes nothing without --yes: 2", async () => {
    const { exitCode, err } = await mpoRelay(["force", "echo", "--kubeconfig", kubeconfig]);
    expect(exitCode).toBe(2);
    expect(err).toMatch(/nothing was done: echo:main .* would be deployed again, and Deckhouse restarted\nsay --yes/);
    expect(annotations()).toEqual({ kept: "x" });
  });

  it.each([
    ["echo", 1],
    ["yes", 2],
  ])("asks the person in front of it, who types the module's name: %j ends with %s", async (answer, expected) => {
    const questions: string[] = [];
    const person = { ask: async (question: string) => (questions.push(question), answer) };
    const { exitCode } = await forceAt(person, "--timeout", "50ms");
    expect(exitCode).toBe(expected);
    expect(questions).toEqual([expect.stringMatching(/Deckhouse restarted\. Type echo to do it: $/)]);
    expect("mpo-relay/key" in annotations()).toBe(expected === 1);
    expect((await forceAt(person, "--json")).exitCode).toBe(2); // a program cannot be asked
    expect(questions).toHaveLength(1);
  });

  it("takes it back by Ctrl-C", async () => {
    deckhouse(() => void process.emit("SIGINT"));
    const { exitCode, err } = await force("--yes");
    expect(exitCode).toBe(1);
    expect(err).toContain("taken back");
    expect(annotations()).not.toHaveProperty([FORCE]);
  });

  it("ends with 0 once Deckhouse has removed the annotation, and leaves the relay's marks", async () => {
    deckhouse(() => {
      api.store.patchStatus(MPO, "echo", { updatedAt: "2026-06-01T12:00:00Z" });
      api.store.patch(MPO, "echo", { metadata: { annotations: { [FORCE]: null } } });
    });
    const { exitCode, out } = await force("--yes", "--json");
    expect(exitCode).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ module: "echo", tag: "main", outcome: "FORCED", before: DIGEST, digest: DIGEST });
    expect(annotations()).toMatchObject({ kept: "x", "mpo-relay/key": Object(JSON.parse(out))["key"] });
  });

  it("is not done by a status that moved alone: another push may have", () => {
    const before = overrideOf();
    const status = { ...before.status, updatedAt: "2026-12-01T00:00:00Z" };
    expect(forcedOf(before, overrideOf({ status, annotations: { [FORCE]: "true" } }), 1)).toEqual({ kind: "waiting" });
    expect(forcedOf(before, overrideOf({ status }), 1)).toMatchObject({ kind: "picked-up" });
  });

  it("takes it back where nothing came of it, and says who can: 1", async () => {
    const { exitCode, out, err } = await force("--yes", "--timeout", "50ms");
    expect(exitCode).toBe(1);
    expect(out).toContain("waiting up to 0.05 s, Ctrl-C takes it back");
    expect(err).toMatch(/not deployed again after \d+ s, and taken back: .*\nDeckhouse can from autumn 2026 on .*\ninstead: /);
    expect(annotations()).not.toHaveProperty([FORCE]);
    expect(annotations()).toMatchObject({ kept: "x" });
  });

  it("takes it back where Deckhouse refuses, with Deckhouse's reason: 1", async () => {
    deckhouse(() => void api.store.patchStatus(MPO, "echo", { message: "Validation error: no openapi" }));
    expect(await force("--yes")).toMatchObject({ exitCode: 1, err: expect.stringContaining("Validation error: no openapi") });
    expect(annotations()).not.toHaveProperty([FORCE]);
  });

  it("says how to take it back by hand where it cannot", async () => {
    deckhouse(() => api.faults.next(Infinity, "403-rbac", { method: "PATCH" }));
    const { err } = await force("--yes", "--timeout", "50ms");
    expect(err).toContain(`kubectl annotate mpo echo ${FORCE}-`);
    expect(annotations()).toHaveProperty([FORCE], "true");
  });

  it("asks nothing of a Deckhouse that is too old for it: 1", async () => {
    api.setServed(["v1alpha1"]);
    const { exitCode, err } = await force("--yes");
    expect(exitCode).toBe(1);
    expect(err).toContain("older than v1.67");
    expect(annotations()).toEqual({ kept: "x" });
  });

  it.each(["force", "renew"])("%s goes to a cluster of the relay's configuration by the relay's own way in", async (command) => {
    const config = join(folder, "relay.yaml");
    await writeFile(
      config,
      "clusters: { dev: { queue: 'embedded:./data', kubernetes: { kubeconfig: kubeconfig } }, far: { queue: 'embedded:./data' } }",
    );
    const known = await mpoRelay([command, "echo", "--cluster", "dev", "--config", config]);
    expect(known.exitCode).toBe(command === "force" ? 2 : 0);
    if (command === "force") expect(known.err).toContain("echo:main of dev would be");
    for (const [name, why] of [
      ["far", "clusters.far has no kubernetes"],
      ["nope", 'no cluster "nope" in the configuration; known: dev, far'],
    ] as const) {
      expect(await mpoRelay([command, "echo", "--cluster", name, "--config", config])).toMatchObject({
        exitCode: 2,
        err: expect.stringContaining(why),
      });
    }
    expect((await mpoRelay([command, "echo", "--cluster", "dev", "--context", "x"])).exitCode).toBe(2);
    const uid = "00000000-0000-4000-8000-000000000000";
    await writeFile(config, `clusters: { dev: { queue: 'embedded:./data', kubernetes: { kubeconfig: kubeconfig }, uid: ${uid} } }`);
    const other = await mpoRelay(
      [command, "echo", "--yes", "--cluster", "dev", "--config", config].filter((arg) => command === "force" || arg !== "--yes"),
    );
    expect(other).toMatchObject({ exitCode: 1, err: expect.stringContaining(`the configuration says ${uid}`) });
  });
});
