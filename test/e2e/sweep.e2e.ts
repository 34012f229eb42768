/** Notifications switched off, a push by crane, and the sweep heals it: with an open registry, and with one that wants a token. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { stringify } from "yaml";
import { kubernetesPort } from "../../src/sandbox/deckhouse-kubernetes.ts";
import { startDeckhouse } from "../../src/sandbox/deckhouse.ts";
import { createRegistry } from "../../src/registries.ts";
import type { SourceConfig } from "../../src/config.ts";
import { audit } from "./audit.ts";
import { SOURCE, startCluster, TAG } from "./cluster.ts";
import { say } from "./parts/cache.ts";
import { freePort, temporaryFolder } from "./parts/child.ts";
import { openCrane } from "./parts/crane.ts";
import { startRegistry } from "./parts/registry.ts";
import { startTokenIssuer } from "./parts/token-issuer.ts";
import { type Line, serveRelay, workRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

/** Twenty times as often as usual, with graces to match: what takes six minutes takes eighteen seconds. */
const TUNING = { cooldown: "500ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s"], sweep: "15s" };
const HEALED_WITHIN_MS = 18_000;

const found = (lines: readonly Line[], outcome: string) => lines.filter((line) => line.outcome === outcome);
const alarms = (lines: readonly Line[], code: string) => lines.filter((line) => line.alarm === code);

test("an open registry that notifies nobody", async () => {
  const modules = ["echo", "other"];
  const world = await startWorld({ modules, silent: true, seeded: true });
  onTestFinished(() => world.stop());
  const image = world.image("echo");
  const source = { repo: image.slice(0, image.lastIndexOf("/")), name: SOURCE, registry: { plainHttp: true } };
  const config = await world.writeConfig("relay.yaml", {
    queue: "embedded:./data",
    edge: true,
    consumer: true,
    more: { sources: [source], tuning: TUNING },
  });
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  onTestFinished(() => relay.stop());
  await eventually("the first sweep finds all of them current", async () =>
    found(await relay.lines(), "SWEPT").some((line) => line["polling"] === modules.length) ? true : null,
  );

  const digest = await world.crane.push(image);
  const pushed = Date.now();
  await eventually("the push is there", async () => ((await world.cluster.override("echo")).status.imageDigest === digest ? true : null));
  const healed = Date.now() - pushed;
  say(`a lost push healed after ${healed} ms at a sweep every 15 s: ${((healed / 15_000) * 5).toFixed(1)} min at the usual one`);
  expect(healed).toBeLessThan(2 * HEALED_WITHIN_MS); // of a machine that others use too
  const [alarm] = await eventually("the silent webhook is told", async () => {
    const told = alarms(await relay.lines(), "WEBHOOK_SILENT");
    return told.length > 0 ? told : null;
  });
  expect(alarm).toMatchObject({ source: SOURCE, cluster: "dev", modules: "echo" });
  expect((await world.cluster.override("other")).metadata.annotations).toEqual({});
  const surroundings = { overrides: () => world.cluster.overrides(), resolve: world.resolve };
  expect(await audit(surroundings, { open: [], buried: [] })).toMatchObject({ right: modules, wrong: [] });
});

test("a registry that wants a token, a worker, and the wrong password for a while", async () => {
  const robot = { username: "robot", password: "a-password-of-the-sweep-scenario" };
  const issuer = await startTokenIssuer(robot);
  onTestFinished(() => issuer.stop());
  const registry = await startRegistry({ hooks: [], port: await freePort(), token: issuer.auth });
  onTestFinished(() => registry.stop());
  const folder = await temporaryFolder("sweep");
  onTestFinished(() => folder.remove());
  const modules = ["echo", "other"];
  const repo = `${registry.host}/deckhouse/modules`;
  const crane = await openCrane();
  for (const module of modules) await crane.push(`${repo}/${module}:${TAG}`);
  const cluster = await startCluster({ repo, modules });
  onTestFinished(() => cluster.stop());

  const access = { ...robot, password: { kind: "env", name: "PASSWORD" } as const, dockerConfig: null, ca: null, plainHttp: true };
  const source: SourceConfig = {
    repo,
    name: SOURCE,
    noise: "drop",
    aliases: [],
    modules: ["*"],
    clusters: ["dev"],
    rescan: false,
    registry: access,
  };
  const asDeckhouse = createRegistry([source], async () => robot.password);
  const { server, ca, adminToken } = cluster.kube;
  const kube = kubernetesPort({ server, ca, token: adminToken });
  const deckhouse = startDeckhouse({
    era: "e3",
    kube,
    // Its own second look, behind its first write, may come after the push: it looks in vain until somebody nudges it.
    resolveDigest: async (image, tag) => {
      const module = image.slice(repo.length + 1);
      const { annotations } = (await cluster.override(module)).metadata;
      const named = annotations["mpo-relay/key"] && (await asDeckhouse.resolve({ image: `${image}:${tag}`, module, tag }));
      return named ? named.image : Promise.reject(new Error("MANIFEST_UNKNOWN"));
    },
    deployMs: 30,
    restartMs: 30,
    log: () => undefined,
  });
  onTestFinished(async () => {
    await deckhouse.stop();
    kube.close();
  });

  const write = (name: string, text: string) => writeFile(join(folder.path, name), text, { mode: 0o600 });
  await write("ca.crt", ca);
  await write("token", cluster.token);
  await write("password", "not the password");
  const kubernetes = { server, ca: "file:ca.crt", token: "file:token" };
  const sources = [{ repo, name: SOURCE, registry: { username: robot.username, password: "file:password", plainHttp: true } }];
  await write("worker.yaml", stringify({ sources, clusters: { dev: { queue: "embedded:./data", kubernetes } }, tuning: TUNING }));
  const worker = await workRelay({ config: join(folder.path, "worker.yaml"), log: join(folder.path, "worker.log"), cluster: "dev" });
  onTestFinished(() => worker.stop());

  await eventually("the refused password is told", async () =>
    alarms(await worker.lines(), "REGISTRY_UNAVAILABLE").length > 0 ? true : null,
  );
  expect(found(await worker.lines(), "SWEPT").at(-1)).toMatchObject({ unknown: 2, behind: 0 });
  // or Deckhouse's own first look finds the push, and nothing is left to heal
  await eventually("Deckhouse has looked in vain", async () => ((await cluster.override("echo")).status.message ? true : null));
  await write("password", robot.password);
  const digest = await crane.push(`${repo}/echo:${TAG}`);
  await eventually(
    "the push is there",
    async () => ((await cluster.override("echo")).status.imageDigest === digest ? true : null),
    120_000,
  );
  await eventually("the registry's answer is told", async () => found(await worker.lines(), "REGISTRY_ANSWERS")[0] ?? null);
  expect(alarms(await worker.lines(), "REGISTRY_UNAVAILABLE")).toHaveLength(1);
  await eventually("the silent webhook is told", async () => alarms(await worker.lines(), "WEBHOOK_SILENT")[0] ?? null);
  await eventually("tokens that are over are renewed together", async () => issuer.asked.find((scopes) => scopes.length === 2) ?? null);
  expect(JSON.stringify(await worker.lines())).not.toContain(robot.password);
});
