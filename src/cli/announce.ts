/** `mpo-relay announce`: a pipeline tells of its own push, at a webhook of `provider: generic`. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import type { SecretRef } from "../config.ts";
import { createSecretReader } from "../secrets.ts";
import { sign } from "../sign.ts";
import { awaitPush, shortfall, type Sleep } from "./await-push.ts";
import { adviceOn, deliver, isQueued, readable, relayUrl, type Reply, replyText, warnIfOpen } from "./deliver.ts";
import { duration } from "./option-values.ts";
import { digestOption, tagOption } from "./image-options.ts";
import { Failure, messageOf, oneLine, type Terminal } from "./terminal.ts";

interface Options {
  image: string;
  tag: string;
  digest?: string;
  url: string;
  idTokenEnv?: string;
  tokenFile?: string;
  secretFile?: string;
  wait?: true;
  timeout: number;
  json?: true;
}

const PATIENCE_MS = 120_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

export function announceCommand(terminal: Terminal, pause: Sleep = sleep): Command {
  return new Command("announce")
    .summary("tell a relay of a push, from a pipeline")
    .description(
      "Tells a relay of an image that was just pushed, where the registry does not do so itself. The webhook there is of provider: generic.\n" +
        "Proves itself by one of: the job's own OIDC token (auth: oidc), a bearer token (auth: token), or a signature by Standard Webhooks\n" +
        "(its default). Without an option: the variable MPO_RELAY_TOKEN (a token of either kind) or MPO_RELAY_SECRET (it signs).\n" +
        "Where the relay is away or busy it is tried again for up to two minutes. With --wait it goes on until every cluster\n" +
        "has picked the image up, or Deckhouse says why not; it asks the relay with the same credential.",
    )
    .requiredOption(
      "--image <image>",
      "the repository that was pushed to, without its tag: registry.example.com/deckhouse/modules/echo",
      repository,
    )
    .addOption(tagOption().makeOptionMandatory())
    .addOption(digestOption())
    .requiredOption("-u, --url <url>", "the webhook: https://relay.example.com/hooks/NAME", relayUrl)
    .option("--id-token-env <name>", "the variable that holds the job's OIDC token")
    .option("--token-file <file>", "a file that holds a bearer token")
    .option("--secret-file <file>", "a file that holds the secret to sign with")
    .option("--wait", "until every cluster that overrides the module has picked the image up, or it is known why not")
    .addOption(new Option("--timeout <duration>", "how long to wait, for example 90s or 20m").default(600_000, "10m").argParser(duration))
    .option("--json", "print { image, digest, status, decision, reason, key, hint, attempts } on stdout; with --wait also clusters")
    .addHelpText(
      "after",
      "\nExit codes: 0 stored by the relay, and with --wait picked up (or not overridden) in every cluster; 1 not; 2 wrong call.\n\n" +
        "Example:\n  mpo-relay announce --url https://relay.example.com/hooks/ci --image registry.example.com/deckhouse/modules/echo --tag main \\\n" +
        "    --digest $(crane digest registry.example.com/deckhouse/modules/echo:main) --id-token-env RELAY_TOKEN\n\n" +
        "For pipelines without this program: infra/ci/gitlab.yml, infra/ci/github/action.yml; with curl and openssl: infra/registries/generic.md.",
    )
    .action((options: Options) => announce(options, terminal, pause));
}

function repository(text: string): string {
  if (!/^[^/\s@]+(?:\/[^/\s@:]+)+$/.test(text))
    throw new InvalidArgumentError("Write host/path; the tag goes into --tag, the digest into --digest.");
  return text;
}

async function announce(options: Options, terminal: Terminal, pause: Sleep): Promise<void> {
  const { image, tag, digest, url } = options;
  warnIfOpen(url, terminal);
  const { kind, ref } = credential(options, terminal.env);
  const secret = await readable(createSecretReader({ env: terminal.env })(ref));
  const id = randomUUID(); // the same on every try, so that none counts twice
  const body = JSON.stringify({ repository: image, tag, digest, time: terminal.now().toISOString(), id });
  const scheme =
    kind === "secret" ? ({ kind: "standard-webhooks" } as const) : ({ kind: "token", header: "authorization", scheme: "Bearer" } as const);
  const prove = (text: string) => sign(scheme, secret, { body: text, id, now: terminal.now(), username: null });
  const attempt = () => deliver({ url, headers: { "content-type": "application/json", ...prove(body).headers }, body });
  const { reply, attempts } = await persist(attempt, terminal, pause);
  const { retryAfterSeconds: _later, ...said } = reply;
  const result = { image: `${image}:${tag}`, digest: digest ?? null, ...said, attempts };
  const announced = oneLine(`${image}:${tag} announced: ${replyText(reply)}`);
  if (!options.wait || !isQueued(reply) || reply.key === null) {
    terminal.out(options.json ? JSON.stringify(result) : announced);
    if (!isQueued(reply)) throw new Failure(1, ...adviceOn(reply));
    return;
  }
  if (!options.json) terminal.out(announced);
  const clusters = await awaitPush({ hook: url, key: reply.key, prove, timeoutMs: options.timeout }, terminal, pause);
  const short = shortfall(clusters);
  if (options.json) terminal.out(JSON.stringify({ ...result, clusters }));
  else if (short === null) terminal.out("done in every cluster");
  if (short !== null) throw new Failure(1, short);
}

/** Exactly one. A token's file or variable is the bearer's; a secret signs. */
function credential(options: Options, env: NodeJS.ProcessEnv): { kind: "token" | "secret"; ref: SecretRef } {
  const { idTokenEnv, tokenFile, secretFile } = options;
  const given: { kind: "token" | "secret"; ref: SecretRef }[] = [];
  if (idTokenEnv !== undefined) given.push({ kind: "token", ref: { kind: "env", name: idTokenEnv } });
  if (tokenFile !== undefined) given.push({ kind: "token", ref: { kind: "file", path: tokenFile } });
  if (secretFile !== undefined) given.push({ kind: "secret", ref: { kind: "file", path: secretFile } });
  if (given.length === 0 && env["MPO_RELAY_TOKEN"]) given.push({ kind: "token", ref: { kind: "env", name: "MPO_RELAY_TOKEN" } });
  if (given.length === 0 && env["MPO_RELAY_SECRET"]) given.push({ kind: "secret", ref: { kind: "env", name: "MPO_RELAY_SECRET" } });
  const [only, ...more] = given;
  if (!only || more.length > 0)
    throw new Failure(
      2,
      only ? "more than one credential" : "no credential",
      "name one: --id-token-env, --token-file, --secret-file, or set MPO_RELAY_TOKEN or MPO_RELAY_SECRET",
    );
  return only;
}

/** Tries again after 429, 5xx and no answer, as long as the next try begins within two minutes. */
async function persist(attempt: () => Promise<Reply>, terminal: Terminal, pause: Sleep): Promise<{ reply: Reply; attempts: number }> {
  const started = terminal.now().getTime();
  for (let attempts = 1, wait = FIRST_PAUSE_MS; ; attempts++, wait = Math.min(wait * 2, LONGEST_PAUSE_MS)) {
    const result = await attempt().catch((error: unknown) => messageOf(error));
    const isAnswer = typeof result !== "string";
    if (isAnswer && result.status !== 429 && result.status < 500) return { reply: result, attempts };
    const asked = isAnswer ? (result.retryAfterSeconds ?? 0) * 1000 : 0;
    const ms = Math.max(wait, asked);
    if (terminal.now().getTime() - started + ms > PATIENCE_MS) {
      if (isAnswer) return { reply: result, attempts };
      throw new Failure(1, `${result} (${attempts} tries)`);
    }
    terminal.err(`${isAnswer ? replyText(result) : result}; again in ${Math.round(ms / 1000)} s`);
    await pause(ms);
  }
}
