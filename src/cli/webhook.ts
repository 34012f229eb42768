/** `mpo-relay webhook NAME`: what to paste at the registry, so that its pushes reach this webhook. */
import { randomBytes } from "node:crypto";
import { rename, rm, writeFile } from "node:fs/promises";
import { Command } from "commander";
import type { SecretRef, SqsForm } from "../config.ts";
import type { AuthScheme } from "../providers/provider.ts";
import { createSecretReader } from "../secrets.ts";
import { configOption, configured, sameConfig, shortPath } from "./configuration.ts";
import { hookUrl, queueUrl, readable, relayUrl, warnIfOpen } from "./deliver.ts";
import { hookOf, type KnownHook } from "./hook.ts";
import { anyQueue, type Paste, SECRET } from "./setup/setup.ts";
import { Failure, messageOf, type Terminal } from "./terminal.ts";

interface Options {
  config?: string;
  url?: string;
  newSecret?: true;
  force?: true;
  showSecret?: true;
  source?: string;
}

export function webhookCommand(terminal: Terminal): Command {
  return new Command("webhook")
    .summary("what to paste at the registry")
    .description(
      "Prints what has to be pasted at the registry, so that it tells this webhook of its pushes: a block of its configuration, calls of its API\n" +
        "for every project of the sources, or the fields of its page. Lines that begin with # are for you, the rest is to be pasted.\n" +
        "The secret is not shown: a text for a shell reads it where the configuration says, another holds PASTE-THE-SECRET-HERE.\n" +
        "For a webhook with a queue: what fills that queue, and the policy that lets nobody else in.",
    )
    .argument("<name>", "the webhook, as in POST /hooks/<name>")
    .addOption(configOption())
    .option(
      "-u, --url <url>",
      "by which the registry reaches the relay, for example https://relay.example.com; not for a webhook with a queue",
      relayUrl,
    )
    .option("--source <source>", "a source at this registry, by its name, repo or alias (default: all that fit the webhook)")
    .option("--new-secret", "make a strong secret, and write it to the file that `secret: file:PATH` names (mode 0600)")
    .option("--force", "with --new-secret: also where that file is there already; its senders are refused from then on")
    .option("--show-secret", "put the secret itself into what is printed")
    .addHelpText(
      "after",
      "\nExit codes: 0 printed, 2 wrong call or configuration.\n\n" +
        "Example:\n  mpo-relay webhook harbor --config relay.yaml --url https://relay.example.com --new-secret\n" +
        "  mpo-relay webhook registry --url https://relay.example.com --show-secret > notifications.yml",
    )
    .action((name: string, options: Options) => webhook(name, options, terminal));
}

async function webhook(name: string, options: Options, terminal: Terminal): Promise<void> {
  const config = await configured(options.config, terminal);
  const known = hookOf(name, config, options.source);
  if (known.webhook.queue) return fromQueue(known, known.webhook.queue, options, terminal);
  const secret = secretOf(known);
  const url = hookUrl(options.url, name);
  const pastes = pastesOf(known, url);
  warnIfOpen(url, terminal);
  if (options.newSecret) await makeSecret(secret, known.scheme, options, terminal);
  const shown = options.showSecret ? await shownSecret(secret, terminal.env) : null;
  terminal.out(pasteText(known, pastes, shown));
  for (const line of hints(known, pastes, options)) terminal.err(line);
}

/** Of a webhook without a queue, which is at `url`. Throws a Failure where its sources lie at several registries. */
export function pastesOf({ name, scheme, places, setup, webhook: { username, oidc } }: KnownHook, url: string): readonly Paste[] {
  const pastes = setup.paste({ name, url, auth: scheme.kind, username, oidc, places });
  oneRegistry(pastes);
  return pastes;
}

/** `shown`: the secret, where it is to stand there. */
export function pasteText(known: KnownHook, pastes: readonly Paste[], shown: string | null): string {
  const { name, title, setup, webhook: hook } = known;
  const secret = secretOf(known);
  const head = `# ${name}: ${title}, infra/registries/${hook.provider}.md\n# ${setup.checked}`;
  return [head, ...pastes.map((paste) => `\n# ${paste.where}:\n${filled(paste, secret, shown)}`)].join("\n");
}

/** There is no secret in it: the queue's policy is what keeps others out. */
function fromQueue({ name, webhook, title, setup, places }: KnownHook, queue: SqsForm, options: Options, terminal: Terminal): void {
  if (options.newSecret || options.force || options.showSecret)
    throw new Failure(2, `webhooks.${name} has a queue, which needs no secret`, "leave --new-secret, --force and --show-secret out");
  const url = queueUrl(name, queue, options.url, terminal.env);
  terminal.out(`# ${name}: ${title}, infra/registries/${webhook.provider}.md\n# ${setup.checked}`);
  for (const { where, text } of (setup.pasteQueue ?? anyQueue)({ url, places })) terminal.out(`\n# ${where}:\n${text}`);
  terminal.err(`next: mpo-relay send ${name}${sameConfig(options.config)}`);
}

function oneRegistry(pastes: readonly Paste[]): void {
  const hosts = [...new Set(pastes.flatMap(({ at }) => at ?? []))];
  if (hosts.length > 1)
    throw new Failure(
      2,
      `the sources lie at ${hosts.join(", ")}: which of them is this registry?`,
      "name one with --source, or narrow the webhook by sources:",
    );
}

/** null: tokens of an issuer need none. */
function secretOf({ name, webhook, scheme }: KnownHook): SecretRef | null {
  if (scheme.kind === "oidc") return null;
  if (!webhook.secret) throw new Failure(2, `webhooks.${name} has no secret (insecure: true)`, "write secret: file:PATH in its place");
  return webhook.secret;
}

function filled({ kind, text }: Paste, secret: SecretRef | null, shown: string | null): string {
  if (kind !== "sh") return shown === null ? text : text.replaceAll(SECRET, shown);
  if (secret === null || !text.includes("$SECRET")) return text;
  if (shown !== null) return `SECRET=${shellWord(shown)}\n${text}`;
  return `SECRET=${inShell(secret)}\n${text}`;
}

function inShell(secret: SecretRef): string {
  if (secret.kind === "env") return `\${${secret.name}:?}`;
  if (secret.kind === "file") return `$(cat ${shellWord(secret.path)})`;
  return `$(aws ssm get-parameter --with-decryption --name ${secret.name} --query Parameter.Value --output text)`;
}

const shellWord = (text: string) => (/^[\w./+=:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

function hints({ name, scheme, webhook }: KnownHook, pastes: readonly Paste[], { url, config, showSecret }: Options): string[] {
  const isHidden = !showSecret && pastes.some(({ text }) => text.includes(SECRET));
  return [
    ...(isHidden && webhook.secret ? [`note: ${SECRET} stands for ${placeText(webhook.secret)}; --show-secret puts it there`] : []),
    ...(scheme.kind === "url"
      ? ["note: the secret stands in the URL: tell the proxy before the relay not to log paths below /hooks/"]
      : []),
    `next: mpo-relay send ${name}${sameConfig(config)} --url ${url}${scheme.kind === "oidc" ? " --id-token-env TOKEN" : ""}`,
  ];
}

function placeText(secret: SecretRef): string {
  if (secret.kind === "file") return `what is in ${shortPath(secret.path)}`;
  return secret.kind === "env" ? `the variable ${secret.name}` : `the parameter ${secret.name}`;
}

/** Only what needs no quoting in YAML, Ruby, JSON and a URL is put into them. */
async function shownSecret(secret: SecretRef | null, env: NodeJS.ProcessEnv): Promise<string | null> {
  if (secret === null) return null;
  const value = await readable(createSecretReader({ env })(secret), "--new-secret makes one");
  if (!/^[\w./+=-]+$/.test(value))
    throw new Failure(2, "the secret has characters that must be quoted", "make another: --new-secret --force");
  return value;
}

async function makeSecret(secret: SecretRef | null, scheme: AuthScheme, { force }: Options, terminal: Terminal): Promise<void> {
  if (secret === null) throw new Failure(2, "tokens of an issuer need no secret");
  const command = scheme.kind === "standard-webhooks" ? '"whsec_$(openssl rand -base64 32)"' : '"r$(openssl rand -hex 32)"';
  if (secret.kind === "env") {
    return terminal.err(`note: the secret is the variable ${secret.name}; set it where the relay starts: export ${secret.name}=${command}`);
  }
  if (secret.kind === "ssm") {
    const put = `aws ssm put-parameter --type SecureString --overwrite --name ${secret.name} --value ${command}`;
    return terminal.err(
      `note: the secret is a parameter of AWS Systems Manager; a relay that runs takes a new one within a minute: ${put}`,
    );
  }
  await writeSecret(secret.path, newSecret(scheme), force === true);
  terminal.err(`a new secret is in ${shortPath(secret.path)} (mode 0600); a relay that runs takes it within seconds`);
}

/** 256 bits. It begins with a letter, since GitLab asks for that. */
function newSecret({ kind }: AuthScheme): string {
  return kind === "standard-webhooks" ? `whsec_${randomBytes(32).toString("base64")}` : `r${randomBytes(32).toString("hex")}`;
}

async function writeSecret(path: string, value: string, force: boolean): Promise<void> {
  const target = force ? `${path}.new` : path;
  try {
    if (force) await rm(target, { force: true });
    await writeFile(target, `${value}\n`, { mode: 0o600, flag: "wx" });
    if (force) await rename(target, path); // a relay that reads it meanwhile finds one or the other, whole
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST")
      throw new Failure(
        2,
        `there is a secret in ${shortPath(path)} already`,
        "keep it as previousSecret while senders change over, or say --force",
      );
    throw new Failure(2, `cannot write the secret: ${messageOf(error)}`);
  }
}
