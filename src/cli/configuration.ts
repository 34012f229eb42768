/** How every command gets its configuration, and tells what is wrong with it. */
import { relative } from "node:path";
import { Option } from "commander";
import { type ClusterConfig, type KubernetesConfig, loadConfig, type Problem, type RelayConfig } from "../config.ts";
import { counted, Failure, type Terminal } from "./terminal.ts";

export const configOption = () =>
  new Option("-c, --config <file>", "configuration, YAML or JSON by its extension (default: MPO_RELAY_CONFIG, then ./relay.yaml)");

/** The configuration, or a Failure with exit code 2 that names every problem. Warnings go to stderr. */
export async function configured(file: string | undefined, terminal: Terminal): Promise<RelayConfig> {
  const result = await loadConfig({ file, env: terminal.env, now: terminal.now() });
  if (!result.ok) throw new Failure(2, ...problemLines(result));
  for (const warning of result.warnings) terminal.err(`warning: ${lineOf(warning)}`);
  return result.config;
}

export function problemLines({ file, problems }: { file: string; problems: readonly Problem[] }): string[] {
  return [
    `the configuration ${shortPath(file)} has ${counted(problems.length, "problem")}:`,
    ...problems.map((problem) => `  ${lineOf(problem)}`),
  ];
}

/** `path: message` and the hint beneath it. */
export function lineOf({ path, message, hint }: Problem): string {
  return `${path === "" ? "" : `${path}: `}${message}${hint === null ? "" : `\n      ${hint}`}`;
}

/** `--config F` as it must stand in the next command, or nothing. */
export const sameConfig = (file: string | undefined) => (file === undefined ? "" : ` --config ${file}`);

export const shortPath = (path: string) => {
  const short = relative(process.cwd(), path);
  return short === "" || short.startsWith("..") ? path : short;
};

/** Throws Failure for a cluster that the configuration does not know. */
export function clusterOf(config: RelayConfig, name: string): ClusterConfig {
  const cluster = Object.hasOwn(config.clusters, name) ? config.clusters[name] : undefined;
  if (!cluster) throw new Failure(2, `no cluster "${name}" in the configuration; known: ${Object.keys(config.clusters).join(", ")}`);
  return cluster;
}

/** The way to a cluster. Throws Failure for one that the configuration does not know, or knows no way to. */
export function kubernetesOf(config: RelayConfig, name: string): KubernetesConfig {
  const cluster = clusterOf(config, name);
  if (cluster.kubernetes) return cluster.kubernetes;
  const how = "write kubernetes: { inCluster: true }, kubeconfig: PATH, or server, ca and token";
  throw new Failure(2, `clusters.${name} has no kubernetes: this process could not reach it`, how);
}
