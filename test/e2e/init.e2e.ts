/** `mpo-relay init` at a real kube-apiserver: by an administrator's rights, and by fewer. */
import { type KubernetesObject, loadAllYaml } from "@kubernetes/client-node";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import * as z from "zod";
import { SOURCE, startCluster } from "./cluster.ts";
import { run, temporaryFolder } from "./parts/child.ts";
import { rights } from "./parts/crds.ts";

const CLI = join(import.meta.dirname, "../../dist/cli.js");
const HUSH = "aHVzaC1odXNo";
const REPO = "registry.example.com/deckhouse/modules";
const said = z.looseObject({ rights: z.string(), deckhouse: z.string().nullable() });

const configMap: KubernetesObject & { data: Record<string, string> } = {
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name: "d8-deckhouse-version-info", namespace: "d8-system" },
  data: { "data.json": '{"channel":"Stable","version":"v1.76.0","edition":"EE"}' },
};
const hushed: KubernetesObject & { spec: object } = {
  apiVersion: "deckhouse.io/v1alpha1",
  kind: "ModuleSource",
  metadata: { name: "hushed" },
  spec: { registry: { repo: "other.example.com/modules", dockerCfg: HUSH } },
};

test("a configuration comes of what is there, and no credential with it", async () => {
  const cluster = await startCluster({ repo: REPO, modules: ["echo", "other"] });
  onTestFinished(() => cluster.stop());
  const { kube } = cluster;
  await kube.apply([{ apiVersion: "v1", kind: "Namespace", metadata: { name: "d8-system" } }, configMap, hushed]);
  const folder = await temporaryFolder("init");
  onTestFinished(() => folder.remove());
  const init = async (token: string, out: string, ...more: readonly string[]) => {
    const kubeconfig = join(folder.path, "kubeconfig");
    await writeFile(kubeconfig, kube.config(token).exportConfig(), { mode: 0o600 });
    return run(process.execPath, [CLI, "init", "--kubeconfig", kubeconfig, "--out", join(folder.path, out), "--json", ...more]);
  };

  const printed = await init(kube.adminToken, "relay.yaml");
  const { rights: yaml, ...rest } = said.parse(JSON.parse(printed));
  expect(rest).toMatchObject({
    deckhouse: "v1.76.0",
    missing: [],
    sources: [
      { repo: "other.example.com/modules", name: "hushed" },
      { repo: REPO, name: SOURCE, plainHttp: true },
    ],
    overrides: [
      { module: "echo", served: true, why: `pushes below ${REPO}` },
      { module: "other", served: true },
    ],
  });
  const text = await readFile(join(folder.path, "relay.yaml"), "utf8");
  expect(printed + text).not.toContain(HUSH);
  expect(printed + text).not.toContain(kube.adminToken);
  expect(await run(process.execPath, [CLI, "check", "--config", join(folder.path, "relay.yaml")])).toContain("is in order");
  // What it prints is what infra/cluster holds, and an API server takes it.
  expect(loadAllYaml(yaml)).toEqual((await rights()).objects);
  await kube.apply(loadAllYaml(yaml));

  // The relay's own rights list overrides alone: the repository comes from the person then.
  const poor = said.parse(JSON.parse(await init(cluster.token, "poor.yaml", "--repo", REPO)));
  expect(poor).toMatchObject({
    deckhouse: null,
    missing: ["list on modulesources.deckhouse.io", "list on modules.deckhouse.io"],
    sources: [{ repo: REPO, name: null }],
    overrides: [
      { module: "echo", served: true },
      { module: "other", served: true },
    ],
  });
  await expect(init(cluster.token, "none.yaml")).rejects.toThrow("no module source is known");
});
