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
    ];
  });
  const lost = sumOf(({ reason }) => reason === "UNKNOWN_WEBHOOK");
  const names = listed(Object.keys(webhooks).map((name) => `/hooks/${name}`));
  const elsewhere = warning(
    "DELIVERIES_REFUSED",
    "webhooks",
    `since the relay started ${counted(lost, "call")} went to a webhook that is not there`,
    `compare the address in the registry: there is ${names}. Strangers try other names`,
  );
  const all = [...findings, ...(lost === 0 ? [] : [elsewhere])];
  return all.length === 0 && counts.length > 0 ? [ok("webhooks", "every delivery since the relay started was let in")] : all;
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
