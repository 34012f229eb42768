/**
 * Every end that a delivery or a record can come to, and the one table that says what follows from it:
 * an HTTP answer at the edge; acknowledge, defer or bury in the consumer. Nothing else decides that.
 */

import type { RenewRequest } from "./event.ts";

/** Why a delivery or a record is not for us. Not an error: answered 200, or acknowledged. */
export const SKIP_REASONS = [
  // at the edge
  "HANDSHAKE", // a sender's question before it sends anything, answered
  "NOT_A_PUSH", // pull, delete, mount, blob, ping, scan …
  "NO_TAG", // a push by digest alone moves no tag
  "NOISE_TAG", // werf's and cosign's bookkeeping
  "OTHER_REPOSITORY", // below no configured source
  "UNKNOWN_HOST", // the path would match under another host: looks like an alias
  "OTHER_MODULE", // the source's `modules` leave it out, or the webhook is narrowed to other sources
  "NO_CLUSTER", // the source names no cluster
  "RESCAN_OFF", // a release channel moved, and the source has no `rescan: true`
  // in the consumer
  "NOT_OVERRIDDEN", // no ModulePullOverride of this name
  "TAG_DIFFERS", // the override follows another tag
  "OTHER_SOURCE", // v1alpha1: spec.source names another ModuleSource
  "OVERRIDDEN", // a rescan: the module has an override, and Deckhouse leaves it out
  "NO_SOURCE", // a rescan: no ModuleSource of this name
  "RESCAN_UNSUPPORTED", // a rescan: before Deckhouse v1.75 nothing makes it scan without side effects
  "RESCAN_REFUSED", // a rescan: the API server does not let us
] as const;
export type SkipReason = (typeof SKIP_REASONS)[number];

/** How a record that was worked on ended well. */
export const DONE_CODES = [
  "QUEUED", // edge: stored in every queue that needs it
  "UNPARSED", // edge: authentic, not readable, stored raw as a dead letter
  "NUDGED", // patched; a confirm record follows
  "REPEATED", // patched before by this very push; its confirm record is stored again
  "JOINED", // another nudge covers this push
  "PICKED_UP", // Deckhouse runs the pushed digest
  "RUNNING", // the Module says that it is ready, after PICKED_UP
  "MODULE_ERROR", // the Module says that it is not, after PICKED_UP
  "UNWATCHED", // after PICKED_UP nothing more is known: another push followed, or the Module does not say
  "REFUSED", // Deckhouse will not take it: disabled, embedded, validation …
  "SUPERSEDED", // a newer push or another tag took over
  "UNVERIFIED", // no digest was known to compare with; nothing speaks against it
  "CURRENT", // what the sweep found behind is there by now
  "RENUDGED", // a download error: a repeated nudge is on its way
  "RESCANNED", // the source is scanned after this push; a look at the releases follows
  "RELEASE_DEPLOYED", // a ModuleRelease appeared, and Deckhouse runs it
  "RELEASE_PENDING", // a ModuleRelease appeared, and waits
  "NO_RELEASE", // none appeared
] as const;
export type DoneCode = (typeof DONE_CODES)[number];

/** What goes wrong, by a stable code. What follows from each is in {@link TREATMENT}. */
export type ErrorCode =
  // edge
  | "UNKNOWN_WEBHOOK"
  | "UNKNOWN_PUSH"
  | "METHOD"
  | "AUTH_FAILED"
  | "KEYS_UNAVAILABLE" // a token cannot be verified: its issuer's keys cannot be had
  | "TOO_MANY"
  | "TOO_LARGE"
  | "NO_MEMORY" // all bodies in hand together are too many
  | "CUT_OFF" // the connection, or our patience, ended before the body did
  | "QUEUE_UNAVAILABLE"
  | "JOURNAL_UNAVAILABLE" // holds up nothing: the push goes on, its story has a gap
  | "REGISTRY_UNAVAILABLE" // a look-up failed: decided without it
  | "QUEUE_REFUSED" // the queue's owner does not know our token
  | "INTERNAL"
  // consumer
  | "CLUSTER_UNREACHABLE" // refused, reset, timeout, TLS
  | "CLUSTER_BUSY" // 429
  | "CLUSTER_ERROR" // 5xx
  | "CLUSTER_UNAUTHORIZED" // 401
  | "OTHER_CLUSTER" // the API server is not that of the cluster that the configuration means
  | "CLUSTER_UNVERIFIED" // RBAC keeps us from looking whether it is
  | "API_VERSION_GONE" // a 404 that is no NotFound of this object: discover again
  | "CONFLICT" // the override changed under us, three times
  | "WORKER_TOO_OLD" // a record of a newer version or kind
  | "FORBIDDEN" // 403 by RBAC
  | "FORBIDDEN_BY_POLICY" // 403 by an admission policy, or a success that a mutating one has emptied
  | "INVALID" // 422
  | "MALFORMED"
  | "WRONG_CLUSTER"
  | "UNCONFIRMED" // nudged, and to the last look it did not take effect
  | "LAST_RECEIVE"; // received too often without being settled: something crashes on it

/** An expected failure with its stable code. `retryAfterSeconds` is what the other side asked for. */
export class RelayError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterSeconds: number | null;

  constructor(code: ErrorCode, message: string, options: { retryAfterSeconds?: number | null; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "RelayError";
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }
}

/** Anything that was thrown, as a RelayError: what we did not foresee is INTERNAL at the edge and retried in the consumer. */
export function toRelayError(thrown: unknown, otherwise: ErrorCode = "INTERNAL"): RelayError {
  if (thrown instanceof RelayError) return thrown;
  const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new RelayError(otherwise, text.slice(0, 500), { cause: thrown });
}

/** `code` and `detail` go into the log line and into the answer; `detail` holds no secret. */
export type Outcome =
  | { kind: "done"; code: DoneCode; detail?: Detail }
  | { kind: "skipped"; reason: SkipReason; detail?: Detail }
  /** `next` is the record to store instead (a later look of confirm); without it the same record comes again, with `attempt` + 1. */
  | { kind: "deferred"; seconds: number; why: string; next?: RenewRequest; detail?: Detail }
  | { kind: "failed"; error: RelayError; detail?: Detail };
export type Detail = Readonly<Record<string, string | number | boolean | null>>;

/** The HTTP status of an outcome at the edge. Never a 3xx, and 4xx only for what is not ours to answer. */
export function httpStatus(outcome: Outcome): number {
  if (outcome.kind === "done") return 202;
  if (outcome.kind === "skipped") return 200;
  if (outcome.kind === "deferred") return 503;
  return failureStatus(outcome.error.code);
}
export const failureStatus = (code: ErrorCode): number => HTTP[code] ?? 503;
const HTTP: Partial<Record<ErrorCode, number>> = {
  UNKNOWN_WEBHOOK: 404,
  UNKNOWN_PUSH: 404,
  METHOD: 405,
  AUTH_FAILED: 401,
  TOO_MANY: 429,
  TOO_LARGE: 413,
  CUT_OFF: 408, // nobody is there to read it
};

/**
 * What the consumer does with a record whose run failed.
 * `circuit`: defer, and stop taking records of this cluster until a probe succeeds; without end.
 * `defer`: this record alone comes again; without end. `forbidden`: likewise, buried after 24 h. `bury`: at once.
 */
export type Treatment = "circuit" | "defer" | "forbidden" | "bury";
export const TREATMENT: Readonly<Record<ErrorCode, Treatment>> = {
  CLUSTER_UNREACHABLE: "circuit",
  CLUSTER_BUSY: "circuit",
  CLUSTER_ERROR: "circuit",
  CLUSTER_UNAUTHORIZED: "circuit",
  OTHER_CLUSTER: "circuit",
  CLUSTER_UNVERIFIED: "circuit",
  API_VERSION_GONE: "defer",
  CONFLICT: "defer",
  WORKER_TOO_OLD: "defer",
  QUEUE_UNAVAILABLE: "defer",
  JOURNAL_UNAVAILABLE: "defer",
  REGISTRY_UNAVAILABLE: "defer",
  QUEUE_REFUSED: "defer",
  INTERNAL: "defer",
  FORBIDDEN: "forbidden",
  FORBIDDEN_BY_POLICY: "bury",
  INVALID: "bury",
  MALFORMED: "bury",
  WRONG_CLUSTER: "bury",
  UNCONFIRMED: "bury",
  LAST_RECEIVE: "bury",
  // these do not reach a consumer
  UNKNOWN_WEBHOOK: "bury",
  UNKNOWN_PUSH: "bury",
  METHOD: "bury",
  AUTH_FAILED: "bury",
  KEYS_UNAVAILABLE: "bury",
  TOO_MANY: "bury",
  TOO_LARGE: "bury",
  NO_MEMORY: "bury",
  CUT_OFF: "bury",
};

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(TREATMENT, code);

/** Errors that an operator must hear of at once; each is one log line with `alarm: <CODE>`, the key and what to do. */
export const ADVICE: Readonly<Partial<Record<ErrorCode | "RESCAN_REFUSED" | "TOKEN_ENDS" | "WEBHOOK_SILENT", string>>> = {
  CLUSTER_UNREACHABLE:
    "the API server does not answer; records wait and nothing is lost. Check network, certificate and address of the cluster",
  CLUSTER_BUSY: "the API server answers 429; records wait. Look at its priority levels (flow control)",
  CLUSTER_ERROR: "the API server answers 5xx; records wait. Look at the API server and its etcd",
  CLUSTER_UNAUTHORIZED: "the API server does not accept our credential; records wait. Renew the token or kubeconfig of this cluster",
  OTHER_CLUSTER:
    "the API server is that of another cluster than `uid` says, so nothing is consumed and records wait. Compare `kubernetes` and `uid` with what this prints there: kubectl get namespace kube-system -o jsonpath={.metadata.uid}",
  CLUSTER_UNVERIFIED:
    'RBAC keeps us from looking which cluster this is, so nothing is consumed and records wait. Apply infra/cluster/base anew, or add to the ClusterRole: { apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get] }',
  API_VERSION_GONE:
    "the API version in use is no longer served; it is looked up anew. If this stays, the ModulePullOverride CRD is missing",
  WORKER_TOO_OLD: "the queue holds records of a newer relay; update this worker",
  FORBIDDEN:
    "the API server refuses us (RBAC); restore the binding of infra/cluster. Records wait, each is tried again soon and later every 15 min; buried after 24 h, then `mpo-relay dlq redrive`",
  FORBIDDEN_BY_POLICY:
    "an admission policy refuses the patch, or takes the nudge out of it; see its text. After the cause is gone: `mpo-relay dlq redrive`",
  INVALID:
    "the API server calls the patch invalid, or holds the override in a form that its definition does not allow; see its text. Mend the override (`kubectl edit mpo`) or the definition, then `mpo-relay dlq redrive`",
  MALFORMED: "a record that no relay wrote; see `mpo-relay dlq show`, find who writes into this queue, then `mpo-relay dlq purge`",
  WRONG_CLUSTER:
    "a record for another cluster lies in this queue; compare the queues in the configuration of edge and worker. `mpo-relay dlq redrive` sends it to its own",
  UNCONFIRMED:
    "nudged, but Deckhouse does not show the pushed digest; look at the override's status (`mpo-relay dlq show`) and at Deckhouse's log. Where two pushes overtook each other this tells them apart by itself once the source has `registry`. After the cause is gone: `mpo-relay dlq redrive`",
  LAST_RECEIVE:
    "taken again and again without being settled: something crashes on it. Look at the worker's log and memory, then `mpo-relay dlq redrive`",
  INTERNAL: "an error that we did not foresee; see its text",
  TOO_LARGE:
    "a delivery is larger than is taken (`maxBody` of its webhook), or cannot be read and is too large to be kept; its sender was answered 413. Look at who sends it, or raise `maxBody`",
  NO_MEMORY:
    "so many deliveries are in hand at once that there is no room for one more; their senders were answered 503 and are to try again. Look at who sends them, and at what keeps the queue from taking them",
  KEYS_UNAVAILABLE:
    "an issuer's keys cannot be had, so its tokens cannot be verified; senders get 503 and try again. Look at the way from here to the issuer, or give the keys as a file (`oidc.keys`)",
  QUEUE_REFUSED:
    "the hub does not accept our token: records wait there. Compare hubToken here with hubToken (or previousHubToken) of this cluster in the hub's configuration",
  RESCAN_REFUSED:
    "the API server does not let us make a ModuleSource scan; Deckhouse scans it by itself in some minutes. By RBAC: apply infra/cluster/rescan. By a policy: this Deckhouse does not let anybody but itself change its own source, so take `rescan` out for it. See infra/release-channels.md",
  QUEUE_UNAVAILABLE: "the queue does not take or give records; senders are told to try again, and what lies in a queue waits there",
  REGISTRY_UNAVAILABLE:
    "the sweep cannot ask this source's registry, so nobody notices there if its webhook is silent; nothing of it counts as behind meanwhile. Look at `registry` of this source in the configuration, and at the registry",
  TOKEN_ENDS:
    "the token of this cluster ends soon and nobody has renewed it; from then on records wait, and nothing is lost. Look at the job that renews it (infra/cluster/token), or write a fresh one where `kubernetes` reads it: it is read again without a restart",
  WEBHOOK_SILENT:
    "a push came to the registry and no webhook told of it; the sweep found it and Deckhouse runs it now. Look at this source's webhook in the registry (its address, its secret, whether it was switched off): `mpo-relay send` shows whether the relay takes a delivery. It ends with the next delivery",
  JOURNAL_UNAVAILABLE:
    "what becomes of pushes is not written down, so `mpo-relay history` has a gap; pushes themselves go on. Look at the journal's place: disk, permissions, table",
};

/** Alarms that are no {@link ErrorCode}: nothing failed with them. */
export const OTHER_ALARMS = [
  "WEBHOOK_SILENT", // a push came, and no webhook told of it
  "RESCAN_REFUSED", // the API server does not let us make a ModuleSource scan
  "UNPARSED", // an authentic delivery could not be read
  "UNPARSED_FULL", // and there is no room for more of them
  "DEAD_LETTERS_EXPIRE", // the queue service is about to delete some
  "EVENTS_UNAVAILABLE", // Events on the overrides cannot be written
  "SCAN_INTERVAL", // an override's scan interval cannot be written
  "OLD_SECRET", // a sender, or a worker, still uses the previous secret
  "OLD_SECRET_MISSING", // the previous secret cannot be read
  "SECRET_MISSING", // a secret cannot be read
  "TOKEN_ENDS", // the token for a cluster ends soon
  "HUB_CERTIFICATE", // the hub's certificate cannot be renewed
] as const;
export type AlarmCode = ErrorCode | (typeof OTHER_ALARMS)[number];

/** What a sweep finds an override to be; src/sweep.ts says when it is which. */
export const SWEEP_STATES = ["push", "polling", "behind", "unserved", "unknown"] as const;
export type SweepState = (typeof SWEEP_STATES)[number];
