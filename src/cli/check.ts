/** `mpo-relay check`: every problem of the configuration at once, and what could be wrong with its secrets. */
import { Command } from "commander";
import { loadConfig, type Problem, type QueueForm, type RelayConfig } from "../config.ts";
import { createSecretReader, refText, type SecretReader } from "../secrets.ts";
import { configOption, lineOf, problemLines, shortPath } from "./configuration.ts";
import { type Reference, references, SHORT_SECRET, variables } from "./references.ts";
import { Failure, messageOf, span, type Terminal } from "./terminal.ts";

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
  for (const { path, ...reference } of references(config)) {
    const message = await whatIsWrong(reference, readSecret);
    if (message !== null) warnings.push({ path, ...message });
  }
  for (const { path, resolve } of variables(config)) {
    try {
      resolve(env);
    } catch (error) {
      warnings.push({ path, message: messageOf(error), hint: "only the processes that use it need it" });
    }
  }
  return warnings;
}

async function whatIsWrong({ ref, isSecret }: Omit<Reference, "path">, readSecret: SecretReader): Promise<Omit<Problem, "path"> | null> {
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
