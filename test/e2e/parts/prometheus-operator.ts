/** The Prometheus operator, and its resource definitions: https://prometheus-operator.dev/docs/getting-started/introduction/ */
import { loadAllYaml, type KubernetesObject } from "@kubernetes/client-node";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { install } from "./cache.ts";
import { freePort, run, serve, temporaryFolder } from "./child.ts";
import { pinnedGoPart } from "./go.ts";
import type { KubeApiserver } from "./kube-apiserver.ts";

const MODULE = "github.com/prometheus-operator/prometheus-operator";

export const prometheusOperator = pinnedGoPart(
  "prometheus-operator",
  `${MODULE}/cmd/operator`,
  "about 2 CPU minutes",
  async (folder, source) => {
    const at = await run("go", ["list", "-m", "-f", "{{.Dir}}", MODULE], { cwd: source });
    await cp(join(at.trim(), "example/prometheus-operator-crd"), join(folder, "crds"), { recursive: true });
  },
);

/** All kinds of monitoring.coreos.com, as the operator's own release defines them. */
export async function operatorCrds(): Promise<KubernetesObject[]> {
  const folder = join(await install(prometheusOperator), "crds");
  const texts = (await readdir(folder)).map((file) => readFile(join(folder, file), "utf8"));
  return (await Promise.all(texts)).flatMap((text) => loadAllYaml(text));
}

/** Makes a Secret with the configuration and ConfigMaps with the rules of each Prometheus; nobody is here who would start their pods. */
export async function startOperator(kube: KubeApiserver): Promise<{ stop(): Promise<void> }> {
  const program = join(await install(prometheusOperator), prometheusOperator.name);
  const folder = await temporaryFolder("prometheus-operator");
  const config = join(folder.path, "config");
  await writeFile(config, kube.config(kube.adminToken).exportConfig(), { mode: 0o600 });
  const port = await freePort();
  const service = await serve({
    name: "prometheus-operator",
    command: program,
    args: [`--web.listen-address=127.0.0.1:${port}`],
    env: { PATH: process.env["PATH"], KUBECONFIG: config },
    log: join(folder.path, "log"),
    ready: async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok,
  });
  return {
    stop: async () => {
      await service.stop();
      await folder.remove();
    },
  };
}
