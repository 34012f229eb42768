/** Which cluster a command works on: the one of one's own kubeconfig, or one that the relay's configuration names. */
import { type Command, Option } from "commander";
import type { Overrides } from "../cluster/overrides.ts";
import type { KubernetesConfig, RelayConfig } from "../config.ts";
import { RelayError } from "../outcome.ts";
import { createSecretReader } from "../secrets.ts";
import { configOption, configured, kubernetesOf } from "./configuration.ts";
import { Failure, messageOf, type Terminal } from "./terminal.ts";

export interface ClusterOptions {
  readonly context?: string;
  readonly kubeconfig?: string;
  readonly cluster?: string;
  readonly config?: string;
}
export type OpenCluster = (options: { cluster: string; kubernetes: KubernetesConfig }) => Promise<Overrides>;

export const openCluster: OpenCluster = async (options) => {
  const { openKubernetes } = await import("../cluster/kubernetes.ts");
  return openKubernetes({ ...options, readSecret: createSecretReader() });
};

export function withClusterOptions(command: Command): Command {
  const byRelay = new Option("--cluster <name>", "a cluster of the relay's configuration, by the relay's own way in");
  return command
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("--kubeconfig <file>", "kubeconfig (default: KUBECONFIG, then ~/.kube/config)")
    .addOption(byRelay.conflicts(["context", "kubeconfig"]))
    .addOption(configOption());
}

/** Throws Failure for a cluster that the configuration does not know, or to which it knows no way. `open` is for kubeconfigs; without the relay's configuration `config` is null. */
export async function atCluster(
  options: ClusterOptions,
  terminal: Terminal,
  open: OpenCluster,
  work: (overrides: Overrides, config: RelayConfig | null) => Promise<void>,
): Promise<void> {
  const config = options.cluster === undefined ? null : await configured(options.config, terminal);
  const overrides = await (config === null || options.cluster === undefined
    ? openOwn(options, open)
    : relaysCluster(config, options.cluster));
  try {
    await work(overrides, config);
  } finally {
    overrides.close();
  }
}

/** A kubeconfig that is not to be had is mended by an option, which the error then names. */
async function openOwn(options: ClusterOptions, open: OpenCluster): Promise<Overrides> {
  try {
    return await open(ownCluster(options));
  } catch (error) {
    if (!(error instanceof RelayError) || error.code !== "CLUSTER_UNAUTHORIZED") throw error;
    throw new Failure(
      1,
      messageOf(error),
      "name another by --kubeconfig FILE, or a cluster of the relay's configuration by --cluster NAME",
    );
  }
}

const ownCluster = (options: ClusterOptions): Parameters<OpenCluster>[0] => ({
  cluster: options.context ?? "the current context",
  kubernetes: ownKubeconfig(options),
});

/** As `--kubeconfig` and `--context` say, else as kubectl finds it. */
export function ownKubeconfig({ kubeconfig, context }: Pick<ClusterOptions, "kubeconfig" | "context">): KubernetesConfig {
  return { kind: "kubeconfig", kubeconfig: kubeconfig === undefined ? null : { kind: "path", path: kubeconfig }, context: context ?? null };
}

/** As the relay itself opens it: with `uid` in the configuration, no other cluster is touched. */
async function relaysCluster(config: RelayConfig, name: string): Promise<Overrides> {
  kubernetesOf(config, name);
  const { openCluster: openConfigured } = await import("../consumer.ts");
  return openConfigured(config, name);
}
