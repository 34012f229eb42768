/** `mpo-relay check`: every problem of the configuration at once, and what could be wrong with its secrets. */
import { Command } from "commander";
import {
  type KubernetesConfig,
  loadConfig,
  type Problem,
  type QueueForm,
  type RelayConfig,
  resolveQueue,
  resolveSqs,
  resolveTable,
  type SecretRef,
} from "../config.ts";
import { pathText } from "../config/problem.ts";
import { createSecretReader, refText, type SecretReader } from "../secrets.ts";
import { configOption, lineOf, problemLines, shortPath } from "./configuration.ts";
import { Failure, messageOf, span, type Terminal } from "./terminal.ts";

const SHORT_SECRET = 16;

export function checkCommand(terminal: Terminal): Command {
  return new Command("check")
    .summary("tell every problem of the configuration")
    .description(
      "Reads the configuration and tells every problem at once, each with its path and a hint.\n" +
        "References that cannot be read here, and secrets under 16 characters, are warnings. Opens no queue and no network.",
    )
    .addOption(configOption())
    .option("--json", "print { ok, file, problems, warnings } on stdout")
    .addHelpText(
      "after",
      "\nExit codes: 0 in order (perhaps with warnings), 2 with problems.\n\nExample:\n  mpo-relay check --config relay.yaml",
    )
    .action((options: { config?: string; json?: true }) => check(options, terminal));
}

async function check({ config: file, json }: { config?: string; json?: true }, terminal: Terminal): Promise<void> {
  const { env } = terminal;
  const result = await loadConfig({ file, env, now: terminal.now() });
  const warnings = [...result.warnings, ...(result.ok ? await referenceWarnings(result.config, env) : [])];
  if (json) {
    const { ok, file: from } = result;
    terminal.out(JSON.stringify({ ok, file: from, problems: result.ok ? [] : result.problems, warnings }));
  }
  if (!json) for (const warning of warnings) terminal.err(`warning: ${lineOf(warning)}`);
  if (!result.ok) throw json ? new Failure(2) : new Failure(2, ...problemLines(result));
  if (!json) terminal.out(summary(result.config, result.file));
}

/** What the process that needs a reference would stumble over. Never a value. */
async function referenceWarnings(config: RelayConfig, env: NodeJS.ProcessEnv): Promise<Problem[]> {
  const readSecret = createSecretReader({ env });
  const warnings: Problem[] = [];
  for (const { path, ref, isSecret } of references(config)) {
    const message = await whatIsWrong(ref, isSecret, readSecret);
    if (message !== null) warnings.push({ path, ...message });
  }
  for (const { path, resolve } of queueForms(config)) {
    try {
      resolve(env);
    } catch (error) {
      warnings.push({ path, message: messageOf(error), hint: "only the processes that use it need it" });
    }
  }
  return warnings;
}

async function whatIsWrong(ref: SecretRef, isSecret: boolean, readSecret: SecretReader): Promise<Omit<Problem, "path"> | null> {
  try {
    const { length } = await readSecret(ref);
    if (!isSecret || length >= SHORT_SECRET) return null;
    return {
      message: `the secret ${refText(ref)} has only ${length} characters`,
      hint: `take at least ${SHORT_SECRET}, for example from: openssl rand -hex 32`,
    };
  } catch (error) {
    return { message: messageOf(error), hint: "only the processes that need it must be able to read it" };
  }
}

function references(config: RelayConfig): { path: string; ref: SecretRef; isSecret: boolean }[] {
  const ofWebhooks = Object.entries(config.webhooks).flatMap(([name, { secret, previousSecret, oidc }]) => [
    { path: `webhooks.${name}.secret`, ref: secret, isSecret: true },
    { path: `webhooks.${name}.previousSecret`, ref: previousSecret, isSecret: true },
    { path: `webhooks.${name}.oidc.keys`, ref: oidc?.keys?.kind === "url" ? null : (oidc?.keys ?? null), isSecret: false },
  ]);
  const ofClusters = Object.entries(config.clusters).flatMap(([name, { kubernetes, hub }]) => [
    ...Object.entries(kubernetesRefs(kubernetes)).map(([key, ref]) => ({
      path: `clusters.${name}.kubernetes.${key}`,
      ref,
      isSecret: false,
    })),
    { path: `clusters.${name}.hubToken`, ref: hub?.token ?? null, isSecret: true },
    { path: `clusters.${name}.previousHubToken`, ref: hub?.previousToken ?? null, isSecret: true },
    { path: `clusters.${name}.hubCa`, ref: hub?.ca ?? null, isSecret: false },
  ]);
  const ofSources = config.sources.flatMap(({ registry }, index) =>
    (["password", "dockerConfig", "ca"] as const).map((key) => ({
      path: pathText(["sources", index, "registry", key]),
      ref: registry?.[key] ?? null,
      isSecret: false, // of another's making, however short
    })),
  );
  const ofHub = Object.entries(config.hub?.tls ?? {}).map(([key, ref]) => ({ path: `hub.${key}`, ref, isSecret: false }));
  return [...ofWebhooks, ...ofSources, ...ofClusters, ...ofHub].flatMap(({ path, ref, isSecret }) =>
    ref === null ? [] : [{ path, ref, isSecret }],
  );
}

function kubernetesRefs(kubernetes: KubernetesConfig | null): Record<string, SecretRef | null> {
  if (kubernetes?.kind === "server") return { ca: kubernetes.ca, token: kubernetes.token };
  if (kubernetes?.kind !== "kubeconfig" || kubernetes.kubeconfig === null) return {};
  const { kubeconfig } = kubernetes;
  return { kubeconfig: kubeconfig.kind === "path" ? { kind: "file", path: kubeconfig.path } : kubeconfig };
}

function queueForms(config: RelayConfig): { path: string; resolve: (env: NodeJS.ProcessEnv) => unknown }[] {
  const ofWebhooks = Object.entries(config.webhooks).flatMap(([name, { queue }]) =>
    queue === null ? [] : [{ path: `webhooks.${name}.queue`, resolve: (env: NodeJS.ProcessEnv) => resolveSqs(queue, env) }],
  );
  const ofClusters = Object.entries(config.clusters).flatMap(([name, { queue, deadLetters }]) => [
    { path: `clusters.${name}.queue`, form: queue },
    { path: `clusters.${name}.deadLetters`, form: deadLetters },
  ]);
  const others = [...ofClusters, { path: "unparsed", form: config.unparsed }].flatMap(({ path, form }) =>
    form === null ? [] : [{ path, resolve: (env: NodeJS.ProcessEnv) => resolveQueue(form, env) }],
  );
  const { journal } = config;
  const ofJournal = journal?.kind === "env" ? [{ path: "journal", resolve: (env: NodeJS.ProcessEnv) => resolveTable(journal, env) }] : [];
  return [...ofWebhooks, ...others, ...ofJournal];
}

function summary(config: RelayConfig, file: string): string {
  const webhooks = Object.entries(config.webhooks).map(([name, { provider, queue }]) =>
    queue === null ? `POST /hooks/${name} (${provider})` : `${name}: ${queueText(queue)} (${provider})`,
  );
  const sources = config.sources.map(({ repo, clusters }) => `${repo} → ${clusters.join(", ") || "no cluster"}`);
  const clusters = Object.entries(config.clusters).map(
    ([name, { queue, kubernetes, hub }]) =>
      `${name}: ${queueText(queue)}${config.hub && hub && queue.kind === "embedded" ? ", lent" : ""}, ${kubernetes?.kind ?? "consumed elsewhere"}`,
  );
  const { listen } = config.hub ?? {};
  const block = (title: string, lines: readonly string[]) =>
    lines.map((line, index) => `  ${(index === 0 ? title : "").padEnd(10)}${line}`);
  return [
    `${shortPath(file)} is in order`,
    ...block("webhooks", webhooks),
    ...block("sources", sources),
    ...block("clusters", clusters),
    ...block("sweep", sweepLines(config)),
    ...block("hub", listen ? [`${listen.host}:${listen.port}`] : []),
  ].join("\n");
}

/** Which sources nobody can be asked about: a push to them that no webhook tells of stays lost until Deckhouse's next scan. */
function sweepLines({ tuning, sources }: RelayConfig): string[] {
  if (tuning.sweepMs === 0) return ["off: pushes that no webhook tells of wait for Deckhouse's next scan"];
  const blind = sources.filter(({ registry }) => registry === null).map(({ repo }) => repo);
  const every = `every ${span(tuning.sweepMs)}, where a cluster is consumed`;
  return blind.length === 0 ? [every] : [`${every}; not below ${blind.join(", ")}: no \`registry\``];
}

function queueText(form: QueueForm): string {
  if (form.kind === "embedded") return `embedded queue in ${shortPath(form.folder)}`;
  if (form.kind === "hub") return `queue of the hub ${form.url}`;
  return form.kind === "env" ? `queue in env:${form.name}` : `queue at ${form.url}`;
}
