/** The configuration: its types, and how it is found and read. The schema is in config/. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type * as z from "zod";
import { type Problem, problemsOf, problemText, Refusal } from "./config/problem.ts";
import { readQueueUrl } from "./config/forms.ts";
import { rulesOf } from "./config/rules.ts";
import { relaySchema } from "./config/schema.ts";
import { parseText } from "./config/text.ts";
import { adoptWarnings } from "./config/adopt.ts";
import { tuningWarnings } from "./config/tuning.ts";

export type { Problem } from "./config/problem.ts";

/** Where records lie. Relative folders are resolved against the configuration file. */
export type QueueForm =
  | { kind: "embedded"; folder: string } // absolute path; one SQLite file, a queue per cluster inside
  | { kind: "sqs"; url: string; region: string | null; endpoint: string | null }
  | { kind: "hub"; url: string } // an origin: https, or http on loopback
  | { kind: "env"; name: string; region: string | null; endpoint: string | null }; // a variable that holds one of those URLs
/** A form that can be opened: {@link resolveQueue} makes it in the process that needs the queue, and in no other. */
export type OpenableQueue = Exclude<QueueForm, { kind: "env" }>;
/** Where a webhook's deliveries come from, if not by HTTP: others than the relay write there. */
export type SqsForm = Extract<QueueForm, { kind: "sqs" | "env" }>;

/** Where it is written down what became of each push. */
export type JournalForm =
  | { kind: "embedded"; folder: string } // beside a queue, or alone
  | { kind: "dynamodb"; table: string }
  | { kind: "env"; name: string } // a variable that holds the name of a DynamoDB table
  | { kind: "hub" }; // each cluster's entries lie at the hub that lends its queue

/** A secret by reference: read at run time, cached, read again on rotation. Never the secret itself. */
export type SecretRef = { kind: "env"; name: string } | { kind: "file"; path: string } | { kind: "ssm"; name: string }; // a parameter of AWS Systems Manager

/** Whose tokens a webhook takes. Of `email` and `subject` at least one is given, and whatever is given must hold. */
export interface OidcConfig {
  /** The `iss` claim, letter for letter; null: the provider's own. */
  readonly issuer: string | null;
  readonly audience: string;
  readonly email: string | null;
  /** Globs over the `sub` claim; empty: not asked for. */
  readonly subject: readonly string[];
  /** The issuer's public keys (JWKS); null: from where the provider, or the issuer's own discovery document, says. */
  readonly keys: SecretRef | { kind: "url"; url: string } | null;
}

export interface WebhookConfig {
  readonly provider: string;
  /** An AuthScheme kind where the provider knows several; null: its first. */
  readonly auth: string | null;
  readonly secret: SecretRef | null;
  readonly previousSecret: SecretRef | null;
  /** RFC 3339 instant from which on the previous secret no longer counts; null: until it is removed. A date in the file lasts to its end (UTC). */
  readonly previousSecretUntil: string | null;
  /** Basic authentication's user name; null: every name. */
  readonly username: string | null;
  /** For senders that name no host. Lower case, with port. */
  readonly host: string | null;
  /** Names (or repos) of the sources this webhook may nudge; null: all. */
  readonly sources: readonly string[] | null;
  /** Bytes; null: limits.body. */
  readonly maxBody: number | null;
  /** True only where the file says so in so many words: no secret at all. */
  readonly insecure: boolean;
  /** Given where the scheme is `oidc`, which has no secret. */
  readonly oidc: OidcConfig | null;
  /** Deliveries come from here and none by HTTP; whoever may send to it is let in, so there is neither a scheme nor a secret. */
  readonly queue: SqsForm | null;
}
export interface SourceConfig {
  /** `host[:port]/path`, host lower case, without scheme and trailing slash; a default port (443, 80) is dropped. */
  readonly repo: string;
  /** The ModuleSource's name, where narrowing or rescans need it. */
  readonly name: string | null;
  readonly noise: "drop" | "keep";
  readonly aliases: readonly string[];
  /** Globs over module names. */
  readonly modules: readonly string[];
  /** Cluster names; resolved: "all clusters" is written out. */
  readonly clusters: readonly string[];
  /** A push to a release channel, or of a module's registration, makes Deckhouse scan the ModuleSource, which `name` then names. */
  readonly rescan: boolean;
  /** How to ask its registry what a tag names; null: it is never asked. */
  readonly registry: RegistryAccess | null;
}
/** Read access to a registry. Neither a user nor a docker config: anonymously. */
export interface RegistryAccess {
  readonly username: string | null;
  readonly password: SecretRef | null;
  /** A docker config.json with `auths`, as in a Secret of type kubernetes.io/dockerconfigjson. */
  readonly dockerConfig: SecretRef | null;
  readonly ca: SecretRef | null;
  /** http in place of https. */
  readonly plainHttp: boolean;
}
export type KubernetesConfig =
  | { kind: "inCluster" }
  | { kind: "kubeconfig"; kubeconfig: SecretRef | { kind: "path"; path: string } | null; context: string | null } // null: KUBECONFIG, then ~/.kube/config
  | { kind: "server"; server: string; ca: SecretRef | null; token: SecretRef };
/** The way to a lent queue: of an embedded queue what its borrowers must show, of a `hub:` queue what we show. */
export interface HubAccess {
  readonly token: SecretRef;
  readonly previousToken: SecretRef | null;
  /** As WebhookConfig.previousSecretUntil. */
  readonly previousTokenUntil: string | null;
  /** PEM of the authority that the hub's certificate must come from; null: one that Node knows. */
  readonly ca: SecretRef | null;
}
export interface ClusterConfig {
  readonly queue: QueueForm;
  readonly deadLetters: QueueForm | null;
  readonly kubernetes: KubernetesConfig | null;
  /** Whether outcomes are written as Kubernetes Events on the overrides. */
  readonly events: boolean;
  /** The scan interval that overrides get once a push was seen to reach them; null: theirs stays. */
  readonly adopt: string | null;
  /** null: the queue is neither lent nor borrowed. */
  readonly hub: HubAccess | null;
  /** UID of the cluster's namespace kube-system, which the API server must show; null: not compared. */
  readonly uid: string | null;
  /** Of its functions in AWS Lambda, for the template alone: how many consumers at once at most; from where they reach the API server, null: the internet. */
  readonly lambda: {
    readonly maximumConcurrency: number;
    readonly vpc: { readonly securityGroupIds: readonly string[]; readonly subnetIds: readonly string[] } | null;
  };
}
/** Where `serve` lends its embedded queues. Without certificate and key (PEM): plain HTTP, on loopback only. */
export interface HubConfig {
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: { readonly certificate: SecretRef; readonly key: SecretRef } | null;
}
export interface Tuning {
  readonly cooldownMs: number;
  /** When confirm looks, in ms after the patch, ascending. Default 10 s, 30 s, 90 s, 5 min, 15 min, 1 h. */
  readonly looksMs: readonly number[];
  readonly patchesPerSecond: number;
  /** Between two sweeps of a cluster; 0: none by itself. */
  readonly sweepMs: number;
}
export interface RelayConfig {
  readonly webhooks: Readonly<Record<string, WebhookConfig>>;
  readonly sources: readonly SourceConfig[];
  readonly clusters: Readonly<Record<string, ClusterConfig>>;
  readonly unparsed: QueueForm | null;
  /** null: nowhere. */
  readonly journal: JournalForm | null;
  readonly listen: { readonly host: string; readonly port: number };
  /** Where /metrics is served; null: nowhere. */
  readonly admin: { readonly host: string; readonly port: number } | null;
  readonly hub: HubConfig | null;
  readonly limits: { readonly body: number; readonly unparsed: number };
  readonly tuning: Tuning;
}

/** `file` names where it came from, `raw` is what stands there. `warnings` do not keep a process from starting. */
export type LoadResult =
  | { ok: true; config: RelayConfig; raw: unknown; file: string; warnings: Problem[] }
  | { ok: false; problems: Problem[]; file: string; warnings: Problem[] };

/**
 * Finds and reads the configuration: `file`, else MPO_RELAY_CONFIG (inline JSON where it starts with `{`, else a path), else ./relay.yaml.
 * Every problem at once; never throws for what stands in the file. No secret is read here, nor a queue's variable.
 */
export async function loadConfig(options: { file?: string | undefined; env?: NodeJS.ProcessEnv; now?: Date } = {}): Promise<LoadResult> {
  const { env = process.env, now = new Date() } = options;
  const given = options.file ?? (env["MPO_RELAY_CONFIG"]?.trim() || "relay.yaml");
  if (options.file === undefined && given.startsWith("{")) return readConfig(given, "MPO_RELAY_CONFIG", { folder: process.cwd(), now });
  const file = resolve(given);
  try {
    return await readConfig(await readFile(file, "utf8"), file, { folder: dirname(file), now });
  } catch (error) {
    return refused(file, unreadable(error));
  }
}

/** For processes that nobody watches start: an Error with every problem in its text. */
export async function configOrThrow(options: Parameters<typeof loadConfig>[0] = {}): Promise<RelayConfig> {
  const loaded = await loadConfig(options);
  if (loaded.ok) return loaded.config;
  throw new Error(`the configuration has problems: ${loaded.problems.map(problemText).join("; ")}`);
}

async function readConfig(text: string, file: string, { folder, now }: { folder: string; now: Date }): Promise<LoadResult> {
  const raw = await parseText(text, file);
  if (raw instanceof Refusal) return refused(file, raw);
  const read = relaySchema(folder).safeParse(raw);
  const { problems, warnings } = rulesOf(raw, now);
  const all = [...(read.success ? [] : problemsOf(read.error)), ...problems];
  if (!read.success || all.length > 0) return { ok: false, problems: all, file, warnings };
  const config = complete(read.data);
  return { ok: true, config, raw, file, warnings: [...warnings, ...tuningWarnings(config.tuning), ...adoptWarnings(config)] };
}

/** Writes out what the file leaves to defaults that depend on its other parts. */
function complete(file: z.output<ReturnType<typeof relaySchema>>): RelayConfig {
  const names = Object.keys(file.clusters);
  const embedded = Object.values(file.clusters).find((cluster) => cluster.queue.kind === "embedded");
  return {
    ...file,
    sources: file.sources.map((source) => ({ ...source, clusters: source.clusters ?? names })),
    unparsed: file.unparsed ?? embedded?.queue ?? null,
    journal: file.journal === "off" ? null : (file.journal ?? usualJournal(Object.values(file.clusters))),
  };
}

/** Beside an embedded queue; at the hub where all queues are. */
function usualJournal(clusters: readonly Pick<ClusterConfig, "queue">[]): JournalForm | null {
  const queues = clusters.map(({ queue }) => queue);
  return queues.find((queue) => queue.kind === "embedded") ?? (queues.every(({ kind }) => kind === "hub") ? { kind: "hub" } : null);
}

/** Makes a queue's form openable: reads the variable that it names. Throws an Error that names the variable, never its value. */
export function resolveQueue(form: QueueForm, env: NodeJS.ProcessEnv = process.env): OpenableQueue {
  if (form.kind !== "env") return form;
  const value = env[form.name]?.trim();
  if (!value) throw new Error(`the queue's variable ${form.name} is not set in this process; it must hold the queue's URL`);
  const read = readQueueUrl(value);
  if (read instanceof Refusal) throw new Error(`the variable ${form.name}: ${read.message}${read.hint ? `; ${read.hint}` : ""}`);
  return read.kind === "sqs" ? { ...read, region: form.region, endpoint: form.endpoint } : read;
}

/** The name of the journal's table. Throws an Error that names the variable where it is not set. */
export function resolveTable(form: Extract<JournalForm, { kind: "dynamodb" | "env" }>, env: NodeJS.ProcessEnv = process.env): string {
  if (form.kind === "dynamodb") return form.table;
  const value = env[form.name]?.trim();
  if (!value) throw new Error(`the journal's variable ${form.name} is not set in this process; it must hold the name of a DynamoDB table`);
  return value;
}

/** The same for a webhook's queue. */
export function resolveSqs(form: SqsForm, env: NodeJS.ProcessEnv = process.env): Extract<OpenableQueue, { kind: "sqs" }> {
  const queue = resolveQueue(form, env);
  if (queue.kind === "sqs") return queue;
  throw new Error(`${form.kind === "env" ? `the variable ${form.name}` : "it"} must hold the URL of an SQS queue`);
}

function refused(file: string, { message, hint }: Refusal): LoadResult {
  return { ok: false, problems: [{ path: "", message, hint }], file, warnings: [] };
}

function unreadable(error: unknown): Refusal {
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  return new Refusal(
    code === "ENOENT" ? "is not there" : `cannot be read (${code})`,
    "name it with --config FILE or MPO_RELAY_CONFIG. `mpo-relay init` makes one from a cluster; the sandbox's is .sandbox/relay.yaml",
  );
}
