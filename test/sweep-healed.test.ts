/** Stand-ins all around a real relay: a registry that tells nobody, a Kubernetes API, a Deckhouse. A push is made, and the sweep finds it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as z from "zod";
import { sweepCommand } from "../src/cli/sweep.ts";
import { loadConfig } from "../src/config.ts";
import { nudgeAnnotations } from "../src/nudge.ts";
import { startRelay } from "../src/relay.ts";
import { kubernetesPort } from "../src/sandbox/deckhouse-kubernetes.ts";
import { startDeckhouse } from "../src/sandbox/deckhouse.ts";
import { type KubernetesApi, startKubernetesApi } from "../src/sandbox/kubernetes-api.ts";
import { pushImage, resolveDigest } from "../src/sandbox/registry-client.ts";
import { type Registry, startRegistry } from "../src/sandbox/registry.ts";
import { runCommand } from "./support/cli.ts";
import { fakeObserver, requestOf } from "./support/relay.ts";
import { waited } from "./support/wait.ts";

const MPO = "modulepulloverrides";
const PATH = "deckhouse/modules";
const stops: (() => Promise<unknown> | void)[] = [];
let registry: Registry;
let api: KubernetesApi;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "mpo-relay-sweep-"));
  stops.push(() => rm(folder, { recursive: true, force: true }));
  registry = await startRegistry({ port: 0, notify: null, log: () => {} });
  stops.push(() => registry.close());
  api = await startKubernetesApi({ token: "admin-token-of-the-test" });
  stops.push(() => api.close());
  const repo = `localhost:${registry.port}/${PATH}`;
  api.store.create("modulesources", { metadata: { name: "test" }, spec: { registry: { repo, scheme: "HTTP" } } });
  for (const name of ["echo", "other"]) {
    await pushImage(registry.url, `${PATH}/${name}`, "main");
    api.store.create("modules", { metadata: { name }, properties: { source: "test", availableSources: ["test"] } });
    api.store.create(MPO, { metadata: { name }, spec: { imageTag: "main", scanInterval: "24h" } });
  }
  const kube = kubernetesPort({ server: api.url, ca: api.ca, token: api.systemToken });
  stops.push(() => kube.close());
  const deckhouse = startDeckhouse({ era: "e3", kube, resolveDigest, deployMs: 20, restartMs: 20, log: () => {} });
  stops.push(() => deckhouse.stop());
  await vi.waitFor(() => expect(["echo", "other"].map(held)).toEqual(["echo", "other"].map(named)), waited);
  await writeFile(join(folder, "ca"), api.ca);
});
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

const held = (module: string) => api.store.get(MPO, module)?.status?.["imageDigest"];
const named = (module: string) => registry.resolve(`${PATH}/${module}`, "main");

type Verbs = Parameters<KubernetesApi["grant"]>[1];
async function configured(sweep: string, verbs: Verbs = ["get", "list", "patch"]): Promise<string> {
  await writeFile(join(folder, "token"), api.grant(`relay-${verbs.join("-")}`, verbs));
  const path = join(folder, "relay.json");
  const file = {
    sources: [{ repo: `localhost:${registry.port}/${PATH}`, name: "test", registry: { plainHttp: true } }],
    clusters: { dev: { queue: "embedded:./queue", events: false, kubernetes: { server: api.url, ca: "file:ca", token: "file:token" } } },
    listen: "127.0.0.1:0",
    tuning: { cooldown: "100ms", looks: ["200ms", "400ms", "800ms", "1600ms"], sweep },
  };
  await writeFile(path, JSON.stringify(file));
  return path;
}

async function start(sweep: string, verbs?: Verbs) {
  const file = await configured(sweep, verbs);
  const loaded = await loadConfig({ file });
  const observed = fakeObserver();
  const relay = await startRelay({
    config: loaded.ok ? loaded.config : expect.fail(JSON.stringify(loaded.problems)),
    observer: observed.observer,
  });
  stops.push(() => relay.stop());
  return { file, ...observed };
}
const swept = z.object({
  clusters: z.array(
    z.object({ queued: z.number(), silent: z.array(z.string()), overrides: z.array(z.object({ module: z.string(), state: z.string() })) }),
  ),
});

describe("a push that nobody tells of", () => {
  it("is healed by the sweep, which names the source; and nothing else is nudged", async () => {
    const { lines, alarms, outcomes } = await start("1s");
    await vi.waitFor(() => expect(outcomes()).toContain("SWEPT"), waited);
    const adopted = { "mpo-relay/scan-interval": JSON.stringify({ was: "15s", set: "24h" }) };
    api.store.patch(MPO, "other", { metadata: { annotations: adopted } });
    const digest = await pushImage(registry.url, `${PATH}/echo`, "main");
    await vi.waitFor(() => expect(held("echo")).toBe(digest), waited);
    await vi.waitFor(() => expect(alarms.map(({ code }) => code)).toEqual(["WEBHOOK_SILENT"]), waited);
    expect(alarms).toMatchObject([{ source: "test", cluster: "dev", modules: "echo" }]);
    await vi.waitFor(() => expect(outcomes()).toContain("PICKED_UP"), waited);
    await vi.waitFor(
      () => expect(lines.findLast(({ outcome }) => outcome === "SWEPT")).toMatchObject({ polling: 2, behind: 0, queued: 0 }),
      waited,
    );
    expect(api.store.get(MPO, "other")?.metadata.annotations?.["mpo-relay/key"]).toBeUndefined();
    // whoever polled rarely, trusting in pushes, polls as before while they do not come
    await vi.waitFor(() => expect(api.store.get(MPO, "other")?.spec?.["scanInterval"]).toBe("15s"), waited);
  });

  it("without the right to list stays lost, and an alarm says what to apply", async () => {
    const { alarms } = await start("1s", ["get", "patch"]);
    await vi.waitFor(
      () => expect(alarms).toMatchObject([{ code: "FORBIDDEN", what: expect.stringContaining("infra/cluster/base") }]),
      waited,
    );
  });

  it("with the sweep switched off stays lost, which is said once", async () => {
    const { lines } = await start("off");
    expect(lines.filter(({ outcome }) => outcome === "SWEEP_OFF")).toMatchObject([{ hint: "tuning.sweep is off" }]);
  });

  it("is found by hand: --dry-run changes nothing and ends with 3; without it a running relay heals it", async () => {
    const { file } = await start("off");
    const sweep = (...args: string[]) => runCommand((terminal) => sweepCommand(terminal), ["--config", file, ...args]);
    expect(await sweep()).toMatchObject({ exitCode: 0, out: expect.stringMatching(/dev +echo:main +polling +test +sha256:/) });
    const digest = await pushImage(registry.url, `${PATH}/echo`, "main");
    const dry = await sweep("--dry-run");
    expect(dry).toMatchObject({ exitCode: 3, out: expect.stringContaining("dev: 1 would be queued") });
    expect(dry.out).toContain("dev: 2 overrides: push 0, polling 1, behind 1, unserved 0, unknown 0");
    const real = await sweep("--json");
    expect(real.exitCode).toBe(3);
    expect(swept.parse(JSON.parse(real.out)).clusters).toMatchObject([
      {
        queued: 1,
        overrides: [
          { module: "echo", state: "behind" },
          { module: "other", state: "polling" },
        ],
      },
    ]);
    expect(held("echo")).not.toBe(digest);
    await configured("20s");
    expect(await sweep()).toMatchObject({ exitCode: 3, out: expect.stringContaining("dev: 1 queued, and nudged in 3 s unless") });
  });

  it("counts by hand as behind, since it would be queued, also where its last delivery is young: a mirror could be late", async () => {
    const { file } = await start("off");
    const delivered = requestOf({ digest: String(held("echo")), receivedAt: new Date().toISOString() });
    const { renew: _, ...marks } = nudgeAnnotations(delivered, 0, null, new Date()); // as after Deckhouse has looked
    api.store.patch(MPO, "echo", { metadata: { annotations: marks } });
    await pushImage(registry.url, `${PATH}/echo`, "main");
    const { exitCode, out } = await runCommand((terminal) => sweepCommand(terminal), ["--config", file, "--dry-run"]);
    expect(exitCode).toBe(3);
    expect(out).toMatch(/echo:main +behind .* that of a later push, or of a mirror that is late/);
    expect(out).toMatch(/polling 1, behind 1, unserved 0, unknown 0\ndev: 1 would be queued$/m);
  });

  it("cannot be told where the registry does not answer: 1, and where no cluster can be reached: 2", async () => {
    const file = await configured("off");
    const sweep = (...args: string[]) => runCommand((terminal) => sweepCommand(terminal), ["--config", file, ...args]);
    await registry.close();
    expect(await sweep()).toMatchObject({ exitCode: 1, err: expect.stringContaining("ECONNREFUSED") });
    expect(await sweep("--cluster", "nope")).toMatchObject({ exitCode: 2 });
    await api.stop();
    expect(await sweep()).toMatchObject({ exitCode: 1, err: expect.stringContaining("could not sweep dev") });
  });
});
