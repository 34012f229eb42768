/** `mpo-relay send NAME`: a delivery as the registry would send it, to a relay that runs. The test button of registries that have none. */
import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, Option } from "commander";
import { imageOf } from "../event.ts";
import { globMatches } from "../match.ts";
import { createSecretReader } from "../secrets.ts";
import { type Proof, sign } from "../sign.ts";
import { awaitPush, type ClusterEnd, endText, type Sleep } from "./await-push.ts";
import { configOption, configured } from "./configuration.ts";
import { adviceOn, deliver, hookUrl, isQueued, readable, relayUrl, type Reply, replyText, warnIfOpen } from "./deliver.ts";
import { duration } from "./option-values.ts";
import { hookOf, type KnownHook, sampleOf } from "./hook.ts";
import { digestOption, tagOption } from "./image-options.ts";
import { sendToQueue } from "./send-queue.ts";
import type { SamplePush } from "./setup/setup.ts";
import { Failure, messageOf, oneLine, type Terminal } from "./terminal.ts";

interface Options {
  config?: string;
  url?: string;
  source?: string;
  module?: string;
  tag?: string;
  digest?: string;
  idTokenEnv?: string;
  timeout: number;
  json?: true;
}

/** No override follows it, so a relay and its cluster are tried without anything being nudged. */
const NOBODY = "mpo-relay-test";

export function sendCommand(terminal: Terminal, pause: Sleep = sleep): Command {
  return new Command("send")
    .summary("a delivery to a relay that runs, as the registry would send it")
    .description(
      "Tells a relay of a push as this webhook's registry would, with the same body and proof; says what it answers, and what became of it.\n" +
        "For a webhook with a queue: puts the body into that queue, from where the relay takes it.\n" +
        `Without --module and --tag it is a push of ${NOBODY}, which no override follows: nothing is nudged.`,
    )
    .argument("<name>", "the webhook, as in POST /hooks/<name>")
    .addOption(configOption())
    .option("-u, --url <url>", "the relay, for example https://relay.example.com; not for a webhook with a queue", relayUrl)
    .option("--source <source>", "where the module lies: a source's name, repo or alias (default: the first that fits the webhook)")
    .option("--module <module>", "the module that was pushed; with --tag a real one is nudged")
    .addOption(tagOption())
    .addOption(digestOption())
    .addOption(
      new Option("--id-token-env <name>", "the variable that holds the token, where the webhook takes tokens of an issuer (auth: oidc)"),
    )
    .addOption(new Option("--timeout <duration>", "how long to follow it; 0s: not at all").default(60_000, "1m").argParser(duration))
    .option("--json", "print { webhook, image, digest, status, decision, reason, key, hint, clusters } on stdout")
    .addHelpText(
      "after",
      "\nExit codes: 0 stored by the relay (or in the webhook's queue), and no cluster says that it failed; 1 not (refused, skipped, no answer); 2 wrong call or configuration.\n\n" +
        "Example:\n  mpo-relay send harbor --config relay.yaml --url https://relay.example.com\n" +
        "  mpo-relay send harbor --url https://relay.example.com --module echo --tag main --digest $(crane digest harbor.example.com/modules/echo:main)",
    )
    .action((name: string, options: Options) => send(name, options, terminal, pause));
}

async function send(name: string, options: Options, terminal: Terminal, pause: Sleep): Promise<void> {
  const config = await configured(options.config, terminal);
  const hook = hookOf(name, config, options.source);
  const push = pushOf(hook, options, terminal.now());
  if (hook.webhook.queue) return sendToQueue(hook, hook.webhook.queue, push, config, options, terminal);
  const url = hookUrl(options.url, name);
  warnIfOpen(url, terminal);
  const { headers, body: json } = sampleOf(hook, push);
  const body = JSON.stringify(json);
  const prove = (text: string) => proofOf(hook, text, push, options, terminal.env);
  const proof = await prove(body);
  const request = {
    url: `${url}${proof.path}`,
    headers: { "content-type": "application/json", ...headers, ...proof.headers },
    body,
  };
  const reply = await deliver(request).catch((error: unknown) => {
    throw new Failure(1, messageOf(error));
  });
  tellAnswer(hook, push, reply, options, terminal);
  const clusters =
    isQueued(reply) && reply.key !== null && options.timeout > 0
      ? await awaitPush({ hook: url, key: reply.key, prove, timeoutMs: options.timeout }, terminal, pause).catch((error: unknown) => {
          terminal.err(`${messageOf(error)}; look for this key in the relay's log`); // stored it is
          return null;
        })
      : null;
  tellEnds(hook, push, reply, clusters, options, terminal);
}

function pushOf({ places: [place] }: KnownHook, options: Options, time: Date): SamplePush {
  const module = options.module ?? moduleOf(place.modules);
  const tag = options.tag ?? NOBODY;
  const id = randomUUID();
  // made up only for a tag that nobody follows: a relay would look for it in vain
  const madeUp = options.tag === undefined ? `sha256:${createHash("sha256").update(id).digest("hex")}` : undefined;
  const repository = place.path === "" ? module : `${place.path}/${module}`;
  return { host: place.host, repository, tag, digest: options.digest ?? madeUp, time, id };
}

/** One that the source does not leave out. */
function moduleOf(globs: readonly string[]): string {
  return globs.some((glob) => globMatches(glob, NOBODY)) ? NOBODY : (globs[0] ?? NOBODY).replaceAll(/[*?]/g, "x");
}

async function proofOf(
  { name, webhook, scheme }: KnownHook,
  body: string,
  push: SamplePush,
  options: Options,
  env: NodeJS.ProcessEnv,
): Promise<Proof> {
  const read = createSecretReader({ env });
  if (scheme.kind === "oidc") {
    const advice = [
      `webhooks.${name} takes tokens for ${webhook.oidc?.audience}; infra/registries/${webhook.provider}.md says how to get one`,
    ];
    if (options.idTokenEnv === undefined) throw new Failure(2, "whose token? Name its variable: --id-token-env", ...advice);
    const token = await readable(read({ kind: "env", name: options.idTokenEnv }), ...advice);
    return { headers: { authorization: `Bearer ${token}` }, path: "" };
  }
  if (!webhook.secret) return { headers: {}, path: "" }; // insecure: true
  const secret = await readable(read(webhook.secret), `the relay has it: send from where webhooks.${name}.secret can be read`);
  return sign(scheme, secret, { body, id: push.id, now: push.time, username: webhook.username });
}

function tellAnswer({ name, title }: KnownHook, push: SamplePush, reply: Reply, { url, json }: Options, terminal: Terminal): void {
  if (json) return;
  const digest = push.digest === undefined ? "" : ` ${push.digest}`;
  terminal.out(`POST ${url}/hooks/${name}, as ${title} tells it\n  push  ${imageText(push)}${digest}`);
  terminal.out(oneLine(replyText(reply)));
}

const imageText = (push: SamplePush) => imageOf({ ...push, digest: push.digest ?? null });

/** `clusters`: where the push ended, or stands; null where nobody says. */
function tellEnds(
  { name }: KnownHook,
  push: SamplePush,
  reply: Reply,
  clusters: readonly ClusterEnd[] | null,
  { json, tag }: Options,
  terminal: Terminal,
): void {
  if (json) {
    const { retryAfterSeconds: _later, ...said } = reply;
    terminal.out(JSON.stringify({ webhook: name, image: imageText(push), digest: push.digest ?? null, ...said, clusters }));
  }
  if (!isQueued(reply)) throw new Failure(1, ...adviceOn(reply));
  const failed = (clusters ?? []).filter(({ state }) => state === "failed");
  if (failed.length > 0) throw new Failure(1, ...failed.map(endText));
  if (json) return;
  if (clusters === null) return terminal.out(`next: mpo-relay history --key ${reply.key}, where the relay runs`);
  for (const each of clusters) terminal.out(endText(each));
  if (tag === undefined && clusters.every(({ state }) => state === "done"))
    terminal.out("all of it works, as far as the cluster's overrides");
}
