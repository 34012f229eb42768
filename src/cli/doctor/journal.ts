/** The journal: can it be read, and has each webhook ever been heard? */
import { KEPT_DAYS } from "../../journal/journal.ts";
import { openJournal } from "../../journals.ts";
import { RelayError } from "../../outcome.ts";
import { messageOf, span } from "../terminal.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

/** Of each push some stages. A journal of DynamoDB is read in pages of a megabyte. */
const MOST_ENTRIES = 20_000;

export const journalCheck = (around: Surroundings): Check => ({ name: "journal", run: () => lookAtJournal(around) });

async function lookAtJournal({ config, env, now, same }: Surroundings): Promise<Finding[]> {
  const webhooks = Object.keys(config.webhooks);
  if (!config.journal) {
    const what = "none: what became of a push, and whether a webhook was ever called, nobody can say";
    return webhooks.length === 0 ? [] : [ok("journal", what)];
  }
  try {
    const journal = await openJournal(config, env);
    try {
      const entries = await journal.read({ limit: webhooks.length === 0 ? 1 : MOST_ENTRIES });
      const latest = new Map<string, string>();
      for (const { webhook, receivedAt } of entries) if (receivedAt > (latest.get(webhook) ?? "")) latest.set(webhook, receivedAt);
      const where = entries.length < MOST_ENTRIES ? `in the last ${KEPT_DAYS} days` : `among the last ${MOST_ENTRIES} entries`;
      const never = (webhook: string) =>
        warning(
          "WEBHOOK_NEVER_CALLED",
          `webhooks.${webhook}`,
          `no push by it ${where}`,
          `has the registry its address and secret? mpo-relay webhook ${webhook} --url …${same} prints what to paste, mpo-relay send ${webhook} --url …${same} tries the way in. Where a call came and was not taken the relay's log says AUTH_FAILED, UNKNOWN_WEBHOOK or UNKNOWN_HOST`,
        );
      const heard = (webhook: string, at: string) => ok(`webhooks.${webhook}`, `last push ${span(now().getTime() - Date.parse(at))} ago`);
      return [
        ok("journal", `${journal.name.replace(/^the /, "")} can be read`),
        ...webhooks.map((webhook) => {
          const at = latest.get(webhook);
          return at === undefined ? never(webhook) : heard(webhook, at);
        }),
      ];
    } finally {
      await journal.close();
    }
  } catch (thrown) {
    const what = messageOf(thrown).replace(/^the journal: /, "");
    const variable = thrown instanceof RelayError ? undefined : /\bvariable (\w+)/.exec(what)?.[1];
    if (variable !== undefined)
      return [
        failure(
          "VARIABLE_UNSET",
          "journal",
          what,
          `export ${variable}=…, as the relay's own process has it (an output of the stack: infra/serverless.md)`,
        ),
      ];
    const todo = "pushes go on without it; look at its place: disk, permissions, table. A relay that runs makes it with its first push";
    return [warning("JOURNAL_UNAVAILABLE", "journal", what, todo)];
  }
}
