/** The texts that mean something in a configuration: durations, sizes, repositories, references, queues. Each is read to its value or a {@link Refusal}. */
import { resolve } from "node:path";
import type { JournalForm, OpenableQueue, QueueForm, SecretRef, SqsForm } from "../config.ts";
import { intervalMs } from "../interval.ts";
import { Refusal } from "./problem.ts";

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, kB: 1000, MB: 1000 ** 2 };

/** `500ms`, `5s`, `5m`, `1h` → milliseconds. */
export function readDuration(text: string): number | Refusal {
  return withUnit(text, MILLISECONDS) ?? new Refusal("not a duration", "write a number with its unit: 500ms, 5s, 5m or 1h");
}

/** The longest scan interval that the relay writes: after an error Deckhouse tries again by itself only after it, and a safety net must hold within a day. */
const LONGEST_INTERVAL_MS = 24 * 3_600_000;

/** A scan interval as Deckhouse reads it, up to a day: `12h`, `1h30m`. Never `0s`: some versions look no more by themselves then. */
export function readInterval(text: string): string | Refusal {
  const ms = text === "" ? null : intervalMs(text);
  if (ms === null) return new Refusal("not a scan interval", "write it as Deckhouse does: 12h, 90m or 1h30m");
  return ms > 0 && ms <= LONGEST_INTERVAL_MS ? text : new Refusal("out of bounds", "write more than 0s and at most 24h, for example 12h");
}

/** A duration of a second at least, or `off` → milliseconds, 0 for off. */
export function readSweep(text: string): number | Refusal {
  if (text === "off") return 0;
  const ms = readDuration(text);
  return typeof ms === "number" && ms < 1000 ? new Refusal("too often", "write 5m, or off") : ms;
}

/** `512KiB`, `1MiB` → bytes. */
export function readSize(text: string): number | Refusal {
  return withUnit(text, BYTES) ?? new Refusal("not a size", "write bytes as a number, or with a unit: 512KiB, 1MiB");
}

function withUnit(text: string, units: Readonly<Record<string, number>>): number | null {
  const [, number, unit] = /^(\d{1,9}(?:\.\d{1,3})?)([A-Za-z]{1,3})$/.exec(text) ?? [];
  const factor = unit !== undefined && Object.hasOwn(units, unit) ? units[unit] : undefined;
  return number === undefined || factor === undefined ? null : Math.round(Number(number) * factor);
}

/** `host[:port]` in lower case, a default port dropped. */
export function readHost(text: string): string | Refusal {
  const host = text.toLowerCase().replace(/:(?:443|80)$/, "");
  const shape = /^(?:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(?::\d{1,5})?$/;
  return shape.test(host) ? host : new Refusal("not a host", "write it as registry.example.com or registry.example.com:5000");
}

/** `host[:port]/path` in lower case, without scheme, default port and trailing slash. */
export function readRepo(text: string): string | Refusal {
  const [first = "", ...path] = text
    .replace(/^(?:https?|docker|oci):\/\//i, "")
    .toLowerCase()
    .replace(/\/+$/, "")
    .split("/");
  const host = readHost(first);
  const isHost = /[.:]/.test(first) || first === "localhost"; // the rule by which docker tells a host from a path
  const isPath = path.every((segment) => /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*$/.test(segment));
  return host instanceof Refusal || !isHost || !isPath
    ? new Refusal(
        "not a repository",
        "write host/path as in the ModuleSource's spec.registry.repo, without tag: registry.example.com/deckhouse/modules",
      )
    : [host, ...path].join("/");
}

/** `env:NAME`, `file:PATH` or `ssm:NAME`. A refusal never shows the text: it could be the secret itself. */
export function readSecretRef(text: string, folder: string): SecretRef | Refusal {
  const [, scheme, rest = ""] = /^([a-z]+):(.+)$/s.exec(text) ?? [];
  if (scheme === "env" && isVariable(rest)) return { kind: "env", name: rest };
  if (scheme === "env") return NO_VARIABLE;
  if (scheme === "file") return { kind: "file", path: resolve(folder, rest) };
  if (scheme === "ssm") return PARAMETER.test(rest) ? { kind: "ssm", name: rest } : NO_PARAMETER;
  return new Refusal("a secret stands here only by reference", "write env:NAME, file:PATH or ssm:NAME, and put the value there");
}
/** https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html */
const PARAMETER = /^(?:\/?[A-Za-z0-9_.-]+){1,15}$/;
const NO_PARAMETER = new Refusal(
  "not a parameter's name",
  "write ssm:/path/name, a parameter of AWS Systems Manager; a secret of Secrets Manager is ssm:/aws/reference/secretsmanager/NAME",
);
const NO_VARIABLE = new Refusal("env: needs the name of a variable", "write env:NAME");
const isVariable = (text: string) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(text);

/** Public keys: `file:PATH`, `env:NAME`, or the URL of a JWKS. */
export function readKeys(text: string, folder: string): SecretRef | { kind: "url"; url: string } | Refusal {
  if (/^(?:env|file|ssm):/.test(text)) return readSecretRef(text, folder);
  const url = readUrl(text);
  if (url instanceof Refusal)
    return new Refusal("not a place of keys", "write file:PATH, env:NAME, ssm:NAME or https://…, a JSON Web Key Set");
  return isEncrypted(url)
    ? { kind: "url", url }
    : new Refusal("keys over plain http can be exchanged on the way", "use https or file:PATH");
}

/** https, or no network at all. */
export function isEncrypted(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || isLoopback(hostname);
}

/** A host's name or address, as it stands in a URL or without the brackets. */
export function isLoopback(host: string): boolean {
  return ["localhost", "127.0.0.1", "::1", "[::1]"].includes(host);
}

/** A kubeconfig: a path (with or without `file:`), or `env:NAME` or `ssm:NAME` that holds its text. */
export function readKubeconfig(text: string, folder: string): SecretRef | { kind: "path"; path: string } | Refusal {
  if (/^(?:env|file|ssm):/.test(text)) return readSecretRef(text, folder);
  if (/[\n{]/.test(text))
    return new Refusal("a kubeconfig stands here only by reference", "write its path, file:PATH, env:NAME or ssm:NAME");
  return { kind: "path", path: resolve(folder, text) };
}

/** `embedded:[folder]`, a queue's URL, `hub:https://…`, or `env:NAME` that holds one of the URLs. */
export function readQueue(text: string, folder: string): QueueForm | Refusal {
  if (text.startsWith("embedded:")) return { kind: "embedded", folder: resolve(folder, text.slice("embedded:".length) || "data") };
  if (!text.startsWith("env:")) return readQueueUrl(text);
  const name = text.slice("env:".length);
  return isVariable(name) ? { kind: "env", name, region: null, endpoint: null } : NO_VARIABLE;
}

/** Where a registry's events come from: the URL of an SQS queue, or `env:NAME` that holds it. */
export function readSqsQueue(text: string, folder: string): SqsForm | Refusal {
  const form = readQueue(text, folder);
  if (form instanceof Refusal) return form === NO_QUEUE ? NO_SQS_QUEUE : form;
  return form.kind === "sqs" || form.kind === "env" ? form : NO_SQS_QUEUE;
}
const NO_SQS_QUEUE = new Refusal("not an SQS queue", "deliveries come from SQS alone: write the queue's URL, or env:NAME that holds it");

/** `https://sqs.…/queue` or `hub:https://…`. */
export function readQueueUrl(text: string): OpenableQueue | Refusal {
  const isHub = text.startsWith("hub:");
  const url = readUrl(isHub ? text.slice("hub:".length) : text);
  if (url instanceof Refusal) return isHub || /^https?:/.test(text) ? url : NO_QUEUE;
  if (isHub) return readHub(url);
  const { pathname } = new URL(url);
  if (pathname.endsWith(".fifo")) return FIFO;
  return pathname === "/" ? NO_QUEUE : { kind: "sqs", url, region: null, endpoint: null };
}
/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html (DelaySeconds, MessageGroupId) */
const FIFO = new Refusal(
  "a FIFO queue delays no single record, and one that waits would hold up all behind it",
  "write the URL of a standard queue",
);
const NO_QUEUE = new Refusal(
  "not a queue",
  "write embedded: (or embedded:./folder), the URL of an SQS queue, env:NAME that holds one, or hub:https://…",
);

/** `embedded:[folder]`, `dynamodb:TABLE`, `env:NAME` that holds a table's name, or `off`. */
export function readJournal(text: string, folder: string): JournalForm | "off" | Refusal {
  if (text === "off") return "off";
  if (text.startsWith("embedded:")) return { kind: "embedded", folder: resolve(folder, text.slice("embedded:".length) || "data") };
  const [, scheme, rest = ""] = /^(dynamodb|env):(.*)$/s.exec(text) ?? [];
  if (scheme === "env") return isVariable(rest) ? { kind: "env", name: rest } : NO_VARIABLE;
  if (scheme === "dynamodb") return TABLE.test(rest) ? { kind: "dynamodb", table: rest } : NO_TABLE;
  return new Refusal(
    "not a journal",
    "write embedded: (or embedded:./folder), dynamodb:TABLE, env:NAME that holds a table's name, or off; leave it out where all queues are at a hub",
  );
}

/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html */
const TABLE = /^[A-Za-z0-9_.-]{3,255}$/;
const NO_TABLE = new Refusal(
  "not a table's name",
  "write dynamodb:NAME, the DynamoDB table's name without its ARN; AWS_REGION says where it is",
);

function readHub(url: string): OpenableQueue | Refusal {
  const { origin, href } = new URL(url);
  if (href !== `${origin}/`) return new Refusal("a hub's address ends with its port", "write hub:https://host:port");
  return isEncrypted(url)
    ? { kind: "hub", url: origin }
    : new Refusal("over plain http anybody on the way reads the token", "write hub:https://…; http only for 127.0.0.1");
}

/** An API server's address, to which a token goes. */
export function readServer(text: string): string | Refusal {
  const url = readUrl(text);
  if (url instanceof Refusal || isEncrypted(url)) return url;
  return new Refusal("over plain http anybody on the way reads the token", "write https://…; http only for 127.0.0.1");
}

/** The UID of a Kubernetes object, in lower case. */
export function readUid(text: string): string | Refusal {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
    ? text.toLowerCase()
    : new Refusal("not a UID", "write what this prints: kubectl get namespace kube-system -o jsonpath={.metadata.uid}");
}

/** An https URL without a credential in it (http too: ElasticMQ and the sandbox have no TLS). */
export function readUrl(text: string): string | Refusal {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !/^https?:$/.test(url.protocol)) return new Refusal("not a URL", "write it in full: https://…");
  if (url.username || url.password) return new Refusal("a URL here holds no credential", "take user and password out of it");
  return text;
}

/** A date or an instant → the RFC 3339 instant at which it ends; a date lasts to its end, UTC. */
export function readUntil(text: string): string | Refusal {
  const isDate = /^\d{4}-\d{2}-\d{2}$/.test(text);
  const isInstant = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/.test(text);
  const at = isDate ? Date.parse(`${text}T24:00:00Z`) : Date.parse(text);
  if (!(isDate || isInstant) || Number.isNaN(at)) return new Refusal("not a date", "write 2026-12-31 or 2026-12-31T12:00:00Z");
  return new Date(at).toISOString();
}
