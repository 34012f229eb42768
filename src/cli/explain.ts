/** `mpo-relay explain`: what the relay would answer and store for a saved delivery. Opens no queue and no network. */
import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import { admit, providerOf, queuedDelivery, type QueuedDelivery } from "../admit.ts";
import { type Answer, answerOf } from "../app.ts";
import { readSecretRef } from "../config/forms.ts";
import { Refusal } from "../config/problem.ts";
import type { RelayConfig, WebhookConfig } from "../config.ts";
import { imageOf } from "../event.ts";
import { RelayError } from "../outcome.ts";
import { type AuthScheme, schemeOf } from "../providers/provider.ts";
import { type Delivery, outcomeOf, type Received, understand } from "../receive.ts";
import { createSecretReader } from "../secrets.ts";
import { configOption, configured } from "./configuration.ts";
import { Failure, messageOf, oneLine, type Terminal } from "./terminal.ts";

interface Options {
  config?: string;
  webhook: string;
  body: string;
  header: string[];
  pathSecret?: string;
  method: string;
  auth: boolean;
  json?: true;
}

export function explainCommand(terminal: Terminal): Command {
  return new Command("explain")
    .summary("what a saved delivery would lead to")
    .description(
      "Runs a saved delivery through authentication, parsing and matching, and says what would happen. Stores nothing.\n" +
        "Of a webhook with a queue the body is all: its messages have no headers, and need no proof.",
    )
    .addOption(configOption())
    .requiredOption("-w, --webhook <name>", "the webhook that it came to, as in POST /hooks/<name>")
    .requiredOption("-b, --body <file>", "the request's body, byte for byte")
    .addOption(
      new Option("-H, --header <header>", "one of its headers, as 'Name: value'; may be repeated")
        .default([], "none")
        .argParser((header: string, before: string[]) => [...before, header]),
    )
    .option(
      "--path-secret <reference>",
      "env:NAME or file:PATH of what stood behind the webhook's name, for senders that can send no header",
    )
    .option("--method <method>", "its method", "POST")
    .option("--no-auth", "take it as authenticated")
    .option("--json", "print { answer, events, requests, skipped } on stdout")
    .addHelpText(
      "after",
      "\nExit codes: 0 whenever there is an answer (also 401), 1 for an unreadable file, 2 for the configuration.\n\n" +
        "Example:\n  mpo-relay explain --webhook harbor-prod --body delivery.json --header 'Authorization: Bearer …'\n" +
        "  mpo-relay explain --webhook harbor-prod --body delivery.json --no-auth --json",
    )
    .action((options: Options) => explain(options, terminal));
}

async function explain(options: Options, terminal: Terminal): Promise<void> {
  const config = await configured(options.config, terminal);
  const delivery = await deliveryOf(options, config, terminal);
  const received = await answered(delivery, options, config, terminal);
  const answer = answerOf(received);
  for (const why of received.understood?.unreadable ?? []) terminal.err(`could not be read: ${oneLine(why)}`);
  terminal.out(options.json ? JSON.stringify(contractOf(answer, received)) : prose(whatCame(delivery, options), answer, received));
}

async function deliveryOf(options: Options, config: RelayConfig, terminal: Terminal): Promise<Delivery | QueuedDelivery> {
  const { webhook, header, pathSecret } = options;
  if (Object.hasOwn(config.webhooks, webhook) && config.webhooks[webhook]?.queue) {
    if (header.length > 0 || pathSecret !== undefined || options.method !== "POST")
      throw new Failure(
        2,
        `webhooks.${webhook} has a queue: its messages are bodies alone`,
        "leave --header, --path-secret and --method out",
      );
    return queuedDelivery(webhook, { id: "explained", body: Buffer.from(await readBody(options.body)).toString() });
  }
  const headers = headersOf(header);
  const method = options.method.toUpperCase() === "OPTIONS" ? "OPTIONS" : "POST";
  const secret = pathSecret === undefined ? null : await pathSecretOf(pathSecret, terminal);
  return { webhook, method, pathSecret: secret, headers, body: await readBody(options.body) };
}

/** The edge's own order: webhook and method, size, authentication, then the pure half. */
async function answered(delivery: Delivery | QueuedDelivery, options: Options, config: RelayConfig, terminal: Terminal): Promise<Received> {
  const webhook = Object.hasOwn(config.webhooks, delivery.webhook) ? config.webhooks[delivery.webhook] : undefined;
  const now = terminal.now();
  try {
    if (!["POST", "OPTIONS"].includes(options.method.toUpperCase())) throw new RelayError("METHOD", "only POST");
    if (!webhook) throw new RelayError("UNKNOWN_WEBHOOK", "no such webhook");
    if (!webhook.queue && delivery.body.byteLength > (webhook.maxBody ?? config.limits.body))
      throw new RelayError("TOO_LARGE", "body too large");
    if (options.auth) {
      const observer = { outcome() {}, alarm: (code: string, line: { what: string }) => terminal.err(`${code}: ${line.what}`) };
      await admit(delivery, { config, readSecret: createSecretReader({ env: terminal.env }), observer }, now);
    }
    const understood = understand(delivery, webhook, config, now);
    return { outcome: outcomeOf(understood), understood };
  } catch (error) {
    if (!(error instanceof RelayError)) throw error;
    if (error.code === "INTERNAL")
      throw new Failure(2, `webhooks.${delivery.webhook}: ${error.message}`, "make it readable here, or use --no-auth");
    if (error.code === "AUTH_FAILED" && webhook) terminal.err(`not authenticated: ${whyRefused(webhook, delivery)}`);
    if (error.code === "UNKNOWN_WEBHOOK") terminal.err(`no such webhook; known: ${Object.keys(config.webhooks).join(", ")}`);
    return { outcome: { kind: "failed", error }, understood: null };
  }
}

/** Told here alone, since whoever runs this owns the configuration; never what would have been right. */
function whyRefused(webhook: WebhookConfig, { headers, pathSecret }: Delivery | QueuedDelivery): string {
  const scheme = schemeOf(providerOf(webhook), webhook.auth);
  if (!scheme) return "the provider knows no such scheme";
  if (scheme.kind === "url") {
    return pathSecret === null
      ? "the secret stands behind the webhook's name in the path: name it by --path-secret"
      : "--path-secret is not the webhook's secret";
  }
  const missing = proofHeaders(scheme).filter((name) => (headers[name] ?? "") === "");
  if (missing.length > 0) return `without the header ${missing.join(" and ")}: add what came with the delivery by --header`;
  return `${proofHeaders(scheme).at(-1)} ${MISMATCH[scheme.kind]}`;
}

/** The last one holds the proof. */
function proofHeaders(scheme: Exclude<AuthScheme, { kind: "url" }>): readonly string[] {
  if (scheme.kind === "hmac" || scheme.kind === "token") return [scheme.header];
  return scheme.kind === "standard-webhooks" ? ["webhook-id", "webhook-timestamp", "webhook-signature"] : ["authorization"];
}

const MISMATCH: Readonly<Record<Exclude<AuthScheme["kind"], "url">, string>> = {
  hmac: "is not the signature of this body with the webhook's secret: another secret, another form, or a body that was changed",
  token: "does not hold the webhook's secret in the form that its provider sends",
  basic: "does not hold the webhook's user name and secret",
  oidc: "holds no token that the webhook's `oidc:` takes: another issuer, audience, subject or key, or it has expired",
  "standard-webhooks":
    "is not the signature of this body with the webhook's secret, or webhook-timestamp is over 5 minutes away from now: then use --no-auth",
};

async function readBody(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new Failure(1, `cannot read the body: ${messageOf(error)}`);
  }
}

async function pathSecretOf(reference: string, { env }: Terminal): Promise<string> {
  const ref = readSecretRef(reference, process.cwd());
  if (ref instanceof Refusal) throw new Failure(2, `--path-secret: ${ref.message}`, ref.hint ?? "");
  try {
    return await createSecretReader({ env })(ref);
  } catch (error) {
    throw new Failure(2, `--path-secret: ${messageOf(error)}`);
  }
}

/** As a server sees them: lower-case names, repeated ones joined. */
function headersOf(lines: readonly string[]): Record<string, string> {
  const headers = new Headers();
  for (const line of lines) {
    const colon = line.indexOf(":");
    try {
      headers.append(line.slice(0, Math.max(0, colon)).trim(), line.slice(colon + 1).trim());
    } catch {
      throw new Failure(2, "a --header is not of the form 'Name: value'"); // not shown: it may be the one that holds the secret
    }
  }
  return Object.fromEntries(headers);
}

/** The public contract of `--json`. */
function contractOf({ status, decision, reason, headers, body }: Answer, { understood }: Received) {
  return {
    answer: { status, decision, reason, headers, ...(body !== null && { body }) },
    events: understood?.events ?? [],
    requests: (understood?.requests ?? []).map(({ kind, cluster, module, tag, digest, key }) => ({
      kind,
      cluster,
      module,
      tag,
      digest,
      key,
    })),
    skipped: (understood?.skipped ?? []).map(({ repository, tag, reason: why }) => ({ repository, tag, reason: why })),
  };
}

const whatCame = ({ webhook, messageId }: Delivery | QueuedDelivery, { method }: Options) =>
  messageId === undefined ? `${method.toUpperCase()} /hooks/${webhook}` : `a message of the queue of ${webhook}`;

function prose(what: string, { status, decision, reason }: Answer, { understood }: Received): string {
  const head = `${what} → ${status} ${decision}${reason === null ? "" : `, ${reason}`}`;
  const events = (understood?.events ?? []).map(
    (event) => `  push     ${imageOf(event)}${event.tag !== null && event.digest !== null ? ` ${event.digest}` : ""}`,
  );
  const requests = (understood?.requests ?? []).map(
    ({ kind, source, module, tag, cluster, key }) =>
      `  ${kind === "rescan" ? `rescan   source ${source}, for` : "renew   "} module ${module}, tag ${tag}, in cluster ${cluster} (key ${key})`,
  );
  const skipped = (understood?.skipped ?? []).map((each) => {
    const what = each.repository === null ? "the delivery" : `${each.repository}${each.tag === null ? "" : `:${each.tag}`}`;
    return `  skipped  ${what}: ${each.reason}${each.hint === null ? "" : ` (${each.hint})`}`;
  });
  return [head, ...events, ...requests, ...skipped].map(oneLineKeepingIndent).join("\n");
}
const oneLineKeepingIndent = (line: string) => `${line.startsWith("  ") ? "  " : ""}${oneLine(line)}`;
