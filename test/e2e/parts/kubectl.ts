/** The real kubectl, of the API server's version: Debian's is too old for the Kustomize that infra/cluster is written in. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Part } from "./cache.ts";
import { hashOf, install } from "./cache.ts";
import { run, temporaryFolder } from "./child.ts";
import type { KubeApiserver } from "./kube-apiserver.ts";

const SOURCE = join(import.meta.dirname, "kubectl");
const [, minor = ""] = /\sk8s\.io\/kubectl v0(\.\d+\.\d+)\n/.exec(readFileSync(join(SOURCE, "go.mod"), "utf8")) ?? [];
const version = `v1${minor}`;
const FLAGS = [
  "-mod=readonly",
  "-buildvcs=false",
  "-trimpath",
  "-gcflags=all=-dwarf=false",
  `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${version}`,
];

export const kubectl: Part = {
  name: "kubectl",
  version: `${version}-${hashOf(...["go.mod", "go.sum", "main.go"].map((file) => readFileSync(join(SOURCE, file))), ...FLAGS)}`,
  cost: "about 2 CPU minutes after kube-apiserver",
  build: async (folder) => {
    const env = { ...process.env, GOFLAGS: "-buildvcs=false", CGO_ENABLED: "0" };
    await run("go", ["build", ...FLAGS, "-o", join(folder, "kubectl"), "."], { cwd: SOURCE, env });
  },
};

/** Runs kubectl as an administrator of that API server; resolves with what it prints, throws with its error. */
export type Kubectl = (...args: readonly string[]) => Promise<string>;

export async function openKubectl(kube: KubeApiserver): Promise<{ kubectl: Kubectl; close(): Promise<void> }> {
  const program = join(await install(kubectl), "kubectl");
  const folder = await temporaryFolder("kubectl");
  const config = join(folder.path, "config");
  await writeFile(config, kube.config(kube.adminToken).exportConfig(), { mode: 0o600 });
  const env = { PATH: process.env["PATH"], HOME: folder.path, KUBECONFIG: config };
  return { kubectl: (...args) => run(program, args, { env }), close: () => folder.remove() };
}
