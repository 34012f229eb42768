/** From the configuration to the client's KubeConfig, and when to read it again. */
import type { KubeConfig } from "@kubernetes/client-node";
import type { KubernetesConfig, SecretRef } from "../config.ts";
import { RelayError } from "../outcome.ts";
import { refText } from "../secrets.ts";

export type ReadSecret = (ref: SecretRef) => Promise<string>;

/** A token or kubeconfig is read again at most this often, so that its end is seen to come; a pod's is read again by the client itself, as often. */
const FRESH_MS = 60_000;

/** Keeps one KubeConfig. Every failure to get one is RelayError CLUSTER_UNAUTHORIZED, whose text quotes nothing of a file. */
export class Credentials {
  readonly #make: () => KubeConfig;
  readonly #kubernetes: KubernetesConfig;
  readonly #readSecret: ReadSecret;
  readonly #onToken: (token: string) => Promise<void>;
  #kept: { config: Promise<KubeConfig>; until: number } | null = null;

  /** `onToken` hears each bearer token that was read; not the one of a pod or of a plugin, which others keep fresh. */
  constructor(
    make: () => KubeConfig,
    kubernetes: KubernetesConfig,
    readSecret: ReadSecret,
    onToken: (token: string) => Promise<void> = async () => {},
  ) {
    this.#make = make;
    this.#kubernetes = kubernetes;
    this.#readSecret = readSecret;
    this.#onToken = onToken;
  }

  current(): Promise<KubeConfig> {
    if (this.#kept === null || Date.now() >= this.#kept.until) {
      const config = this.#load();
      config.catch(() => this.forget());
      this.#kept = { config, until: this.#kubernetes.kind === "inCluster" ? Infinity : Date.now() + FRESH_MS };
    }
    return this.#kept.config;
  }

  async #load(): Promise<KubeConfig> {
    const config = await load(this.#make(), this.#kubernetes, this.#readSecret);
    const token = config.getCurrentUser()?.token;
    if (token) await this.#onToken(token);
    return config;
  }

  /** The next {@link current} reads anew. */
  forget(): void {
    this.#kept = null;
  }
}

async function load(config: KubeConfig, kubernetes: KubernetesConfig, readSecret: ReadSecret): Promise<KubeConfig> {
  try {
    await fill(config, kubernetes, readSecret);
  } catch (thrown) {
    // A YAML parser's message quotes the lines around the mistake: tokens, maybe.
    throw new RelayError("CLUSTER_UNAUTHORIZED", `${describe(kubernetes)}: ${whyOf(thrown)}`);
  }
  if (kubernetes.kind === "kubeconfig" && kubernetes.context !== null) choose(config, kubernetes.context);
  const problem = problemOf(config);
  if (problem !== null) throw new RelayError("CLUSTER_UNAUTHORIZED", `${describe(kubernetes)}: ${problem}`);
  return config;
}

function whyOf(thrown: unknown): string {
  if (thrown instanceof RelayError) return thrown.message; // the secret reader's own: it names which reference, and never a value
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : "not readable";
}

async function fill(config: KubeConfig, kubernetes: KubernetesConfig, readSecret: ReadSecret): Promise<void> {
  if (kubernetes.kind === "inCluster") return config.loadFromCluster();
  if (kubernetes.kind === "kubeconfig") {
    const ref = kubernetes.kubeconfig;
    if (ref === null) return config.loadFromDefault();
    return ref.kind === "path" ? config.loadFromFile(ref.path) : config.loadFromString(await readSecret(ref));
  }
  const [token, ca] = await Promise.all([readSecret(kubernetes.token), kubernetes.ca === null ? null : readSecret(kubernetes.ca)]);
  const caData = ca === null ? {} : { caData: Buffer.from(ca).toString("base64") };
  config.loadFromClusterAndUser(
    { name: "cluster", server: kubernetes.server, skipTLSVerify: false, ...caData },
    { name: "relay", token: token.trim() },
  );
}

function choose(config: KubeConfig, context: string): void {
  if (config.getContextObject(context) === null) {
    throw new RelayError("CLUSTER_UNAUTHORIZED", `no context "${context}" in the kubeconfig; it has: ${contexts(config)}`);
  }
  config.setCurrentContext(context);
}

// What the client falls back to where it finds nothing at all: http://localhost:8080 as "loaded-context".
const FALLBACK = "http://localhost:8080";

function problemOf(config: KubeConfig): string | null {
  const cluster = config.getCurrentCluster();
  if (cluster === null) return `no current context; name one of: ${contexts(config)}`;
  if (cluster.server === FALLBACK && !cluster.skipTLSVerify) return "none in KUBECONFIG nor in ~/.kube/config";
  return URL.canParse(cluster.server) ? null : "no address of an API server";
}

const contexts = (config: KubeConfig): string =>
  config
    .getContexts()
    .map(({ name }) => name)
    .join(", ") || "none";

function describe(kubernetes: KubernetesConfig): string {
  if (kubernetes.kind === "inCluster") return "the service account of this pod";
  const ref = kubernetes.kind === "server" ? kubernetes.token : kubernetes.kubeconfig;
  const what = kubernetes.kind === "server" ? "the cluster's token or CA" : "the kubeconfig";
  if (ref === null) return what;
  return `${what} (${ref.kind === "env" || ref.kind === "ssm" ? refText(ref) : ref.path})`;
}
