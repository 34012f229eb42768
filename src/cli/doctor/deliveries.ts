/** What came to the webhooks of the relay that runs here and was not taken, by its own /metrics. Where nobody answers there, nothing is known of it. */
import { METRICS } from "../../metrics/table.ts";
import { counted } from "../terminal.ts";
import { type Check, failure, type Finding, listed, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

const PATIENCE_MS = 3_000;
/** Whoever listens everywhere also listens here. */
const EVERYWHERE: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "[::1]" };

const TAKEN: ReadonlySet<string> = new Set(["queued", "unparsed", "skipped"]);

interface Count {
  readonly webhook: string;
  readonly decision: string;
  readonly reason: string;
  readonly count: number;
}

export function deliveriesChecks(around: Surroundings): Check[] {
  const { admin, webhooks } = around.config;
  if (admin === null || Object.keys(webhooks).length === 0) return [];
  return [{ name: "deliveries", run: async () => lookAtDeliveries(await countsAt(admin), around) }];
}

function lookAtDeliveries(counts: readonly Count[], { config: { webhooks }, same }: Surroundings): Finding[] {
  const sumOf = (is: (each: Count) => boolean) => counts.filter(is).reduce((sum, { count }) => sum + count, 0);
  const findings = Object.entries(webhooks).flatMap(([name, { provider }]) => {
    const where = `webhooks.${name}`;
    const refused = sumOf(({ webhook, reason }) => webhook === name && reason === "AUTH_FAILED");
    const taken = sumOf(({ webhook, decision }) => webhook === name && TAKEN.has(decision));
    const strange = sumOf(({ webhook, reason }) => webhook === name && reason === "UNKNOWN_HOST");
    const foreign = sumOf(({ webhook, reason }) => webhook === name && reason === "OTHER_REPOSITORY");
    const queued = sumOf(({ webhook, decision }) => webhook === name && decision === "queued");
    const say = taken === 0 ? failure : warning;
    const todo = `has the registry the secret that is read here, and is it of the kind \`provider: ${provider}\`? mpo-relay webhook ${name} --url …${same} prints what it must hold. Strangers are refused so, too`;
    return [
      ...(refused === 0
        ? []
        : [
            say(
              "DELIVERIES_REFUSED",
              where,
              `since the relay started ${counted(refused, "call")} did not prove who sent it (AUTH_FAILED), ${taken} did`,
              todo,
            ),
          ]),
      ...(strange === 0
        ? []
        : [
            warning(
              "UNKNOWN_HOST",
              where,
              `since the relay started ${counted(strange, "push", "pushes")} named another host than \`repo\`, with a path of one`,
              "if it is the same registry, write that host and path into `aliases` of its source: the relay's log names it (UNKNOWN_HOST)",
            ),
          ]),
      ...(foreign === 0 ? [] : [elsewhereFinding(where, foreign, queued)]),
    ];
  });
  const lost = sumOf(({ reason }) => reason === "UNKNOWN_WEBHOOK");
  const unheard = Object.keys(webhooks).filter((name) => sumOf(({ webhook }) => webhook === name) === 0);
  const all = [...findings, ...(lost === 0 ? [] : [lostFinding(lost, Object.keys(webhooks), unheard)])];
  return all.length === 0 && counts.length > 0 ? [ok("webhooks", "every delivery since the relay started was let in")] : all;
}

/** A registry may tell of all that it holds: of a webhook of which some pushes are ours the number alone is told. */
function elsewhereFinding(where: string, foreign: number, queued: number): Finding {
  const what = `since the relay started ${counted(foreign, "push", "pushes")} lay below no source, ${queued} did`;
  if (queued > 0) return ok(where, `${what}: well where the registry tells of other repositories, too; else a source is missing`);
  const todo = "is a source missing, or its `repo` another? The relay's log names the images (OTHER_REPOSITORY)";
  return warning("OTHER_REPOSITORY", where, what, todo);
}

/** Strangers try names, too; whose calls never come most likely calls another one. */
function lostFinding(lost: number, names: readonly string[], unheard: readonly string[]): Finding {
  const what = `since the relay started ${counted(lost, "call")} went to a webhook that is not there`;
  const todo = `compare the address in the registry: there is ${listed(names.map((name) => `/hooks/${name}`))}`;
  return unheard.length === 0
    ? warning("DELIVERIES_REFUSED", "webhooks", what, `${todo}. Strangers try other names`)
    : failure("DELIVERIES_REFUSED", "webhooks", `${what}, and none to ${listed(unheard)}`, todo);
}

/** [] where nobody answers, or somebody else. */
async function countsAt({ host, port }: { readonly host: string; readonly port: number }): Promise<Count[]> {
  const url = `http://${EVERYWHERE[host] ?? (host.includes(":") ? `[${host}]` : host)}:${port}/metrics`;
  const text = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) }).then(
    (answer) => (answer.ok ? answer.text() : ""),
    () => "",
  );
  return text.split("\n").flatMap((line) => {
    const [, labels = "", value] = new RegExp(`^${METRICS.deliveries.name}\\{(.*)\\} (\\d+)$`).exec(line) ?? [];
    if (value === undefined) return [];
    const of = (name: string) => new RegExp(`\\b${name}="([^"]*)"`).exec(labels)?.[1] ?? "";
    return [{ webhook: of("webhook"), decision: of("decision"), reason: of("reason"), count: Number(value) }];
  });
}
