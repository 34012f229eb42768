/** `mpo-relay doctor`: looks at everything that the relay stands on, and says what is wrong and what to do. Changes nothing. */
import { Command } from "commander";
import { loadConfig, type Problem } from "../../config.ts";
import { configOption, problemLines, sameConfig, shortPath } from "../configuration.ts";
import { counted, Failure, type Terminal } from "../terminal.ts";
import { certificatesChecks } from "./certificates.ts";
import { clusterChecks } from "./clusters.ts";
import { deliveriesChecks } from "./deliveries.ts";
import { type Check, type Finding, ok, warning } from "./finding.ts";
import { issuersChecks } from "./issuers.ts";
import { journalCheck } from "./journal.ts";
import { adminChecks } from "./admin.ts";
import { overridesChecks } from "./overrides.ts";
import { queueChecks } from "./queues.ts";
import { registryChecks } from "./registries.ts";
import { rightsChecks } from "./rights.ts";
import { runChecks } from "./run.ts";
import { secretsCheck } from "./secrets.ts";
import { openSurroundings, type Surroundings } from "./surroundings.ts";
import { volumeChecks } from "./volumes.ts";

interface Options {
  config?: string;
  json?: true;
}

/** Of each check; what a check asks has shorter limits of its own. */
const LIMIT_MS = 20_000;

export function doctorCommand(terminal: Terminal): Command {
  return new Command("doctor")
    .summary("look at everything the relay stands on, and say what to do")
    .description(
      "Looks at configuration, secrets, queues with their dead letters, clusters (reachable, rights, API versions, tokens, overrides),\n" +
        "registries, webhooks and clocks, and says of each finding what to do. Changes nothing and receives no record; works beside a running\n" +
        "relay. Run it where the relay runs, as its user and with its environment: what it cannot reach there, the relay cannot either.",
    )
    .addOption(configOption())
    .option("--json", "print { ok, file, errors, warnings, findings: [{ level, code, where, what, todo }] } on stdout")
    .addHelpText(
      "after",
      "\nExit codes: 0 nothing is wrong (perhaps with warnings), 1 with errors, 2 wrong call or configuration.\n\n" +
        "Example:\n  mpo-relay doctor --config relay.yaml",
    )
    .action((options: Options) => examine(options, terminal));
}

async function examine({ config: file, json }: Options, terminal: Terminal): Promise<void> {
  const loaded = await loadConfig({ file, env: terminal.env, now: terminal.now() });
  if (!loaded.ok) {
    if (json) terminal.out(JSON.stringify({ ok: false, file: loaded.file, problems: loaded.problems }));
    throw json ? new Failure(2) : new Failure(2, ...problemLines(loaded));
  }
  const around = openSurroundings(loaded.config, terminal, sameConfig(file));
  try {
    const checks = checksOf(around);
    terminal.err(`looking at ${counted(checks.length, "thing")}; each ends within ${LIMIT_MS / 1000} s`);
    const progress = ({ name }: Check, findings: readonly Finding[], done: number) =>
      terminal.err(`  ${String(done).padStart(2)} of ${checks.length}  ${name}: ${resultOf(findings)}`);
    const findings = [
      ...configurationFindings(loaded.file, loaded.warnings),
      ...(await runChecks(checks, { limitMs: LIMIT_MS, progress })),
    ];
    const [errors, warnings] = [countOf(findings, "error"), countOf(findings, "warning")];
    if (json) terminal.out(JSON.stringify({ ok: errors === 0, file: loaded.file, errors, warnings, findings }));
    else terminal.out(report(findings, errors, warnings));
    if (errors > 0) throw new Failure(1);
  } finally {
    around.close();
  }
}

const checksOf = (around: Surroundings): Check[] => [
  secretsCheck(around),
  ...certificatesChecks(around),
  ...adminChecks(around),
  ...deliveriesChecks(around),
  ...issuersChecks(around),
  ...queueChecks(around),
  ...volumeChecks(around),
  ...clusterChecks(around),
  ...rightsChecks(around),
  ...overridesChecks(around),
  ...registryChecks(around),
  journalCheck(around),
];

const configurationFindings = (file: string, warnings: readonly Problem[]): Finding[] => [
  ok("configuration", `${shortPath(file)} is in order`),
  ...warnings.map(({ path, message, hint }) => warning("CONFIGURATION", path, message, hint ?? "see infra/configuration.md")),
];

const countOf = (findings: readonly Finding[], level: Finding["level"]) => findings.filter((each) => each.level === level).length;

function resultOf(findings: readonly Finding[]): string {
  if (findings.length === 0) return "not looked at, since something before it failed";
  const [errors, warnings] = [countOf(findings, "error"), countOf(findings, "warning")];
  const parts = [...(errors > 0 ? [counted(errors, "error")] : []), ...(warnings > 0 ? [counted(warnings, "warning")] : [])];
  return parts.join(", ") || "ok";
}

/** What is well first, so that what is not stands at the end, where the eye is. */
function report(findings: readonly Finding[], errors: number, warnings: number): string {
  const of = (level: Finding["level"]) => findings.filter((each) => each.level === level);
  const well = of("ok").map(({ where, what }) => `ok       ${where}: ${what}`);
  const wrong = [...of("warning"), ...of("error")].flatMap(({ level, code, where, what, todo }) => [
    "",
    `${level.padEnd(7)}  ${where}: ${what}  [${code}]`,
    ...(todo === null ? [] : [`         → ${todo}`]),
  ]);
  const sum = errors + warnings === 0 ? "nothing is wrong" : `${counted(errors, "error")}, ${counted(warnings, "warning")}`;
  return [...well, ...wrong, "", sum].join("\n");
}
