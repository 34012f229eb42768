/** The configuration: one schema, read once. */

/** Where records lie. Relative folders are resolved against the configuration file. */
export type QueueForm =
  | { kind: "embedded"; folder: string } // absolute path; one SQLite file, a queue per cluster inside
  | { kind: "sqs"; url: string; region: string | null; endpoint: string | null }
  | { kind: "hub"; url: string };

/** A secret by reference: read at run time, cached, read again on rotation. Never the secret itself. */
export type SecretRef = { kind: "env"; name: string } | { kind: "file"; path: string };

export interface WebhookConfig {
  readonly provider: string;
  /** An AuthScheme kind where the provider knows several; null: its first. */
  readonly auth: string | null;
  readonly secret: SecretRef | null;
  readonly previousSecret: SecretRef | null;
  /** RFC 3339 date or instant after which the previous secret no longer counts; null: until it is removed. */
  readonly previousSecretUntil: string | null;
  /** Basic authentication's user name; null: any. */
  readonly username: string | null;
  /** For senders that name no host. Lower case, with port. */
  readonly host: string | null;
  /** Names (or repos) of the sources this webhook may nudge; null: all. */
  readonly sources: readonly string[] | null;
  /** Bytes; null: limits.body. */
  readonly maxBody: number | null;
  /** True only where the file says so in so many words: no secret at all. */
  readonly insecure: boolean;
}
export interface SourceConfig {
  /** `host[:port]/path`, host lower case, without scheme and trailing slash; a default port (443, 80) is dropped. */
  readonly repo: string;
  /** The ModuleSource's name, where narrowing needs it. */
  readonly name: string | null;
  readonly noise: "drop" | "keep";
  readonly aliases: readonly string[];
  /** Globs over module names. */
  readonly modules: readonly string[];
  /** Cluster names; resolved: "all clusters" is written out. */
  readonly clusters: readonly string[];
}
export type KubernetesConfig =
  | { kind: "inCluster" }
  | { kind: "kubeconfig"; kubeconfig: SecretRef | { kind: "path"; path: string } | null; context: string | null } // null: KUBECONFIG, then ~/.kube/config
  | { kind: "server"; server: string; ca: SecretRef | null; token: SecretRef };
export interface ClusterConfig {
  readonly queue: QueueForm;
  readonly deadLetters: QueueForm | null;
  readonly kubernetes: KubernetesConfig | null;
}
export interface Tuning {
  readonly cooldownMs: number;
  /** When confirm looks, in ms after the patch, ascending. Default 10 s, 30 s, 90 s, 5 min, 15 min, 1 h. */
  readonly looksMs: readonly number[];
  readonly patchesPerSecond: number;
}
export interface RelayConfig {
  readonly webhooks: Readonly<Record<string, WebhookConfig>>;
  readonly sources: readonly SourceConfig[];
  readonly clusters: Readonly<Record<string, ClusterConfig>>;
  readonly unparsed: QueueForm | null;
  readonly listen: { readonly host: string; readonly port: number };
  readonly limits: { readonly body: number; readonly unparsed: number };
  readonly tuning: Tuning;
}
