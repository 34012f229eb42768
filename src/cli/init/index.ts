/** `mpo-relay init`: from a cluster to a relay.yaml, and to what is left to do by hand. Changes nothing in the cluster. */
import { access, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { isLoopback, readRepo } from "../../config/forms.ts";
import { Refusal } from "../../config/problem.ts";
import { parseText } from "../../config/text.ts";
import { loadConfig, type RelayConfig } from "../../config.ts";
import type { Survey } from "../../cluster/survey.ts";
import { RelayError } from "../../outcome.ts";
import { createSecretReader } from "../../secrets.ts";
import { ownKubeconfig } from "../cluster-options.ts";
import { configured, sameConfig, shortPath } from "../configuration.ts";
import { hookUrl, relayUrl } from "../deliver.ts";
import { hookOf } from "../hook.ts";
import { counted, Failure, messageOf, oneLine, table, type Terminal } from "../terminal.ts";
import { pastesOf, pasteText } from "../webhook.ts";
import { fileText } from "./file.ts";
import { type Plan, planOf } from "./plan.ts";
import { rightsText } from "./rbac.ts";

interface Options {
  context?: string;
  kubeconfig?: string;
  repo: string[];
  url: string;
  out: string;
  force?: true;
  json?: true;
}

export function initCommand(terminal: Terminal): Command {
  return new Command("init")
    .summary("write a relay.yaml for a cluster")
    .description(
      "Looks into a cluster by your own kubeconfig (ModuleSources, overrides, Modules, Deckhouse's version) and writes a relay.yaml for it,\n" +
        "with secrets by reference. Prints the rights that the relay needs there, what to paste at each registry, and which overrides will be\n" +
        "served, which not, and why. Changes nothing in the cluster. Of ModuleSources, which hold credentials, it takes name and address alone.",
    )
    .option("--context <name>", "context of the kubeconfig (default: its current one)")
    .option("--kubeconfig <file>", "kubeconfig (default: KUBECONFIG, then ~/.kube/config)")
    .option("--repo <repo>", "a source's repository, where ModuleSources cannot be read; may be repeated", eachRepo, [])
    .option("-u, --url <url>", "by which the registries will reach the relay", relayUrl, "https://relay.example.com")
    .option("-o, --out <file>", "what to write", yamlFile, "relay.yaml")
    .option("--force", "write over a file that is there")
    .option("--json", "print one JSON object on stdout")
    .addHelpText(
      "after",
      "\nExit codes: 0 written, also where overrides will not be served; 1 not: the cluster cannot be asked, or no source is known; 2 wrong call.\n\n" +
        "Example:\n  mpo-relay init --context dev --url https://relay.example.com",
    )
    .action((options: Options) => init(options, terminal));
}

function eachRepo(text: string, before: readonly string[]): string[] {
  const repo = readRepo(text);
  if (repo instanceof Refusal) throw new InvalidArgumentError(`${repo.message}; ${repo.hint ?? ""}`);
  return [...before, repo];
}

function yamlFile(text: string): string {
  if (!/\.ya?ml$/.test(text)) throw new InvalidArgumentError("Write a name that ends in .yaml.");
  return text;
}

async function init(options: Options, terminal: Terminal): Promise<void> {
  const { out, json } = options;
  if (!options.force && (await isThere(out))) throw occupied(out);
  const survey = await surveyed(options);
  const plan = planOf(survey, options.repo);
  for (const right of survey.missing) terminal.err(`warning: your rights lack ${right}: ${WITHOUT[right] ?? "it goes on without"}`);
  for (const why of plan.leftOut) terminal.err(`warning: left out: ${oneLine(why)}`);
  if (plan.sources.length === 0)
    throw new Failure(1, "no module source is known, so no push could match", "name the repository where modules lie by --repo host/path");
  await write(out, fileText(plan, survey), options.force === true);
  const config = await configured(out, terminal);
  const registries = plan.webhooks.map(({ name }) => ({ webhook: name, text: pasted(name, config, options.url) }));
  const rights = rightsText();
  if (json) {
    const { context, server, version: deckhouse, uid, missing } = survey;
    return terminal.out(JSON.stringify({ file: out, context, server, deckhouse, uid, missing, ...plan, rights, registries }));
  }
  terminal.out(report(plan, survey, out));
  terminal.out(steps(options, survey, rights, registries));
  for (const { name, remark } of plan.webhooks) if (remark !== null) terminal.err(`look at webhooks.${name}: ${remark}`);
  if (isLoopback(new URL(survey.server).hostname))
    terminal.err(
      `look at kubernetes.server: ${survey.server} is this machine's own; write the address by which the relay reaches the cluster`,
    );
  terminal.err(`next: mpo-relay check${sameConfig(out)}`);
}

const WITHOUT: Readonly<Record<string, string>> = {
  "list on modulesources.deckhouse.io": "sources are those of --repo alone",
  "list on modulepulloverrides.deckhouse.io": "which overrides will be served is not told",
  "list on modules.deckhouse.io": "which source a module comes from is told by its ModuleSources alone",
  "get on the namespace kube-system": "the file has no uid, by which a relay knows its cluster",
};

async function surveyed(options: Options): Promise<Survey> {
  const { survey } = await import("../../cluster/survey.ts");
  try {
    return await survey({
      kubernetes: ownKubeconfig(options),
      readSecret: createSecretReader(),
    });
  } catch (error) {
    if (!(error instanceof RelayError)) throw error;
    const isWrong = error.code === "CLUSTER_UNAUTHORIZED" && /no context|no current context|kubeconfig/.test(error.message);
    throw new Failure(
      isWrong ? 2 : 1,
      error.message,
      isWrong ? "name it by --kubeconfig and --context" : "does kubectl reach this cluster?",
    );
  }
}

async function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

const occupied = (out: string) => new Failure(2, `${out} is there already`, "--out FILE names another, --force writes over it");

/** Only what a relay would start with, and whole or not at all. */
async function write(out: string, text: string, force: boolean): Promise<void> {
  const inline = JSON.stringify(await parseText(text, "relay.yaml"));
  const loaded = await loadConfig({ env: { MPO_RELAY_CONFIG: inline } });
  if (!loaded.ok)
    throw new Failure(
      1,
      `what was found makes no configuration: ${loaded.problems.map(({ path, message }) => `${path}: ${message}`).join("; ")}`,
    );
  const target = force ? `${out}.new` : out;
  try {
    await writeFile(target, text, { flag: force ? "w" : "wx" });
    if (force) await rename(target, out);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") throw occupied(out);
    throw new Failure(2, `cannot write ${out}: ${messageOf(error)}`, `is ${dirname(out)} a folder that you may write to?`);
  }
}

function pasted(name: string, config: RelayConfig, url: string): string {
  const known = hookOf(name, config);
  return pasteText(known, pastesOf(known, hookUrl(url, name)), null);
}

function report({ cluster, sources, webhooks, overrides }: Plan, { version, missing }: Survey, out: string): string {
  const head = `${shortPath(out)} is written: ${counted(sources.length, "source")}, ${counted(webhooks.length, "webhook")}, the cluster ${cluster}${version === null ? "" : ` (Deckhouse ${oneLine(version)})`}`;
  const rows = overrides.map(({ module, tag, served, why }) => [module, tag, served ? "yes" : "NO", why]);
  if (rows.length > 0) return `${head}\n\n${table(["OVERRIDE", "TAG", "SERVED", "WHY"], rows)}`;
  return missing.some((right) => right.includes("modulepulloverrides"))
    ? head
    : `${head}\n\nthere is no ModulePullOverride yet; those to come are served`;
}

function steps(
  { context, kubeconfig, out }: Options,
  { hasCa }: Survey,
  rights: string | null,
  registries: readonly { text: string }[],
): string {
  const kubectl = `kubectl${kubeconfig === undefined ? "" : ` --kubeconfig ${word(kubeconfig)}`}${context === undefined ? "" : ` --context ${word(context)}`}`;
  const folder = dirname(out) === "." ? "" : `${dirname(out)}/`;
  const ca = `${kubectl} config view --raw --flatten --minify -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d > ${word(`${folder}ca.crt`)}`;
  return [
    "\n# 1. the relay's rights in the cluster",
    rights === null ? `${kubectl} apply -k infra/cluster/base` : `${kubectl} apply -f - <<'EOF'\n${rights}\nEOF`,
    "\n# 2. its way in; the token ends, so write a fresh one into the same file in time",
    `${kubectl} -n mpo-relay create token mpo-relay --duration 24h > ${word(`${folder}token`)}`,
    ...(hasCa ? [ca] : []),
    "\n# 3. at each registry; mpo-relay webhook NAME --new-secret makes the secret, and prints this again",
    ...registries.map(({ text }) => text),
  ].join("\n");
}

const word = (text: string) => (/^[\w./+=:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
