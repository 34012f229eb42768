/** Scan intervals against a real kube-apiserver: by the relay itself after a push, by commands that are killed, beside a person and a GitOps tool. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startCluster } from "./cluster.ts";
import { adminOf } from "./intervals.ts";
import { temporaryFolder } from "./parts/child.ts";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

const CLI = join(import.meta.dirname, "../../dist/cli.js");

/** `mpo-relay` as an operator calls it. `until`: it is killed once it says so. */
async function call(args: readonly string[], until?: RegExp): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [CLI, ...args], { env: { PATH: process.env["PATH"] } });
  let [out, err] = ["", ""];
  child.stdout.on("data", (text) => {
    out += String(text);
    if (until?.test(out)) child.kill("SIGKILL");
  });
  child.stderr.on("data", (text) => (err += String(text)));
  await once(child, "close");
  return { code: child.exitCode, out, err };
}

test("the relay adopts an override after its push, and restore puts it back while the relay runs", async () => {
  const world = await startWorld({ modules: ["echo", "other"] });
  onTestFinished(() => world.stop());
  const admin = adminOf(world.cluster);
  for (const name of ["echo", "other"]) await admin.patch(name, { spec: { scanInterval: "10m" } });
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true, cluster: { adopt: "12h" } });
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  onTestFinished(() => relay.stop());

  const digest = await world.crane.push(world.image("echo"));
  const line = await eventually("it is adopted", async () => (await relay.lines()).find(({ outcome }) => outcome === "ADOPTED") ?? null);
  expect(line).toMatchObject({ event: "adoption", module: "echo", why: "scanInterval 10m → 12h: pushes reach it" });
  expect(await admin.read("echo")).toEqual({ interval: "12h", mark: { was: "10m", set: "12h", paused: null } });
  expect(await admin.read("other")).toEqual({ interval: "10m", mark: null });
  expect((await world.cluster.override("echo")).status).toMatchObject({ imageDigest: digest, message: "Ready" });

  const next = await world.crane.push(world.image("echo"));
  await eventually("the next push is picked up at 12h too", async () =>
    (await relay.lines()).some(({ outcome, digest: pushed }) => outcome === "PICKED_UP" && pushed === next) ? true : null,
  );
  expect((await relay.lines()).filter(({ outcome }) => outcome === "ADOPTED")).toHaveLength(1);

  const restored = await call(["restore", "echo", "--yes", "--config", config, "--cluster", "dev", "--by", "ann"]);
  expect(restored).toMatchObject({ code: 0, err: expect.stringContaining("clusters.dev.adopt is set") });
  expect(await admin.read("echo")).toEqual({ interval: "10m", mark: null });
  const history = await call(["history", "echo", "--json", "--config", config]);
  expect(history.out).toContain(`"RESTORED"`);
  expect(history.out).toContain(`"ADOPTED"`);
});

test("commands that are killed in the middle, run again, beside a person and a GitOps tool", async () => {
  const modules = Array.from({ length: 30 }, (_, n) => `module-${String(n).padStart(2, "0")}`);
  const cluster = await startCluster({ repo: "registry.example.com/deckhouse/modules", modules });
  onTestFinished(() => cluster.stop());
  const folder = await temporaryFolder("adopt");
  onTestFinished(() => folder.remove());
  const admin = adminOf(cluster);
  for (const name of modules) await admin.pushed(name);
  const { server, ca } = cluster.kube;
  const files = { "ca.crt": ca, token: cluster.token };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder.path, name), text);
  const config = join(folder.path, "relay.yaml");
  await writeFile(
    config,
    `clusters: { dev: { queue: "embedded:./data", kubernetes: { server: "${server}", ca: file:ca.crt, token: file:token } } }\njournal: off\n`,
  );
  const command = (name: string, until?: RegExp) => call([name, ...modules, "--yes", "--config", config, "--cluster", "dev"], until);
  const before = { interval: "15s", mark: null };
  const adopted = { interval: "12h", mark: { was: "15s", set: "12h", paused: null } };
  const all = () => Promise.all(modules.map((name) => admin.read(name)));
  const count = async (wanted: object) => (await all()).filter((each) => JSON.stringify(each) === JSON.stringify(wanted)).length;

  const killed = await command("adopt", /^adopted module-0[2-9]/m);
  expect(killed.code).toBeNull();
  const [done, untouched] = [await count(adopted), await count(before)];
  expect(done).toBeGreaterThanOrEqual(3);
  expect(untouched).toBeGreaterThan(0);
  expect(done + untouched).toBe(modules.length);
  expect(await command("adopt")).toMatchObject({ code: 0, err: "" });
  expect(await count(adopted)).toBe(modules.length);
  expect(await command("adopt")).toMatchObject({ code: 0, out: expect.stringContaining("nothing to do") });

  await admin.patch("module-05", { spec: { scanInterval: "30s" } });
  await admin.apply("module-06", { imageTag: "main", scanInterval: "12h" }, "argocd-controller");
  expect((await command("restore", /^restored module-0[2-4]/m)).code).toBeNull();
  expect(await command("restore")).toMatchObject({ code: 0, err: "" });
  expect(await admin.read("module-05")).toEqual({ interval: "30s", mark: null }); // a person's
  expect(await admin.read("module-06")).toEqual({ interval: "12h", mark: null }); // committed as the table said
  expect(await count(before)).toBe(modules.length - 2);

  await admin.apply("module-07", { imageTag: "main", scanInterval: "15s" }, "argocd-controller");
  const refused = await call(["adopt", "module-07", "--yes", "--config", config, "--cluster", "dev"]);
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining("Argo CD keeps it") });
  expect(refused.out).toContain("commit where module-07 is kept: spec.scanInterval: 12h");
  expect(await admin.read("module-07")).toEqual(before);
});
