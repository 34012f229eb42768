/** The relay's rights in a cluster, from infra/cluster/base: the files that people apply with kustomize, and no second copy of them. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const BASE = "infra/cluster/base";
const FILES = [
  "namespace.yaml",
  "service-account.yaml",
  "cluster-role.yaml",
  "cluster-role-binding.yaml",
  "events.yaml",
  "network-policy.yaml",
];

/** Kubernetes objects as YAML; null where this program was taken out of its project. */
export function rightsText(): string | null {
  const root = rootFrom(import.meta.dirname);
  return root && FILES.map((file) => withoutComments(readFileSync(join(root, BASE, file), "utf8"))).join("\n---\n");
}

function rootFrom(folder: string): string | null {
  if (existsSync(join(folder, BASE))) return folder;
  return dirname(folder) === folder ? null : rootFrom(dirname(folder));
}

const withoutComments = (text: string) =>
  text
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .trim();
