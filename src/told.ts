/** What `kubectl describe mpo` shows of a push: one Kubernetes Event for each outcome. Never an annotation: each write of one is a nudge. */
import type { OverrideEvent, Overrides } from "./cluster/overrides.ts";
import { SWEEP } from "./event.ts";
import type { NewEntry, Note } from "./journal/journal.ts";
import { createNews } from "./news.ts";
import type { Observer } from "./observe.ts";
import { toRelayError } from "./outcome.ts";
import { adviceOn } from "./status.ts";

/** Those that say something about the override itself; what an outage or another push's nudge leads to is not for it. */
const NORMAL: Readonly<Record<string, string>> = {
  NUDGED: "Nudged",
  RENUDGED: "NudgedAgain",
  PICKED_UP: "PickedUp",
  RUNNING: "Running",
  SUPERSEDED: "Superseded",
  UNVERIFIED: "Unverified",
  ADOPTED: "Adopted",
  RESTORED: "Restored",
};
const WARNING: Readonly<Record<string, string>> = { REFUSED: "Refused", MODULE_ERROR: "ModuleError", WEBHOOK_SILENT: "WebhookSilent" };

/** null: nothing to tell. The id is the same for the same outcome of the same nudge, so that a crash in between tells it once. */
export function eventOf(entry: NewEntry): OverrideEvent | null {
  const { stage, detail, key } = entry;
  const buried = detail["buried"] === true;
  const reason = buried ? "NotApplied" : (NORMAL[stage] ?? WARNING[stage]);
  if (reason === undefined) return null;
  const type = buried || Object.hasOwn(WARNING, stage) ? "Warning" : "Normal";
  return {
    type,
    reason,
    message: messageOf(entry),
    id: `${key}.${textOf(detail["nudge"]) || 0}.${stage.toLowerCase().replaceAll("_", "-")}`,
  };
}

function messageOf({ stage, detail, image, digest, webhook, actor, module }: NewEntry): string {
  const by = webhook === SWEEP ? "found by the sweep" : `by webhook ${webhook}${actor === null ? "" : ` (${actor})`}`;
  const pushed = `${image}${digest === null ? "" : `@${digest}`}, ${by}`;
  const message = textOf(detail["message"]);
  const why = textOf(detail["why"]);
  if (detail["buried"] === true) return `${pushed}: ${stage}: ${why}; see mpo-relay dlq list --module ${module}`;
  switch (stage) {
    case "NUDGED":
      return `pushed: ${pushed}; Deckhouse is told to look`;
    case "PICKED_UP":
      return `Deckhouse runs ${textOf(detail["digest"])}, ${textOf(detail["pushToPickedUpMs"])} ms after the push of ${pushed}`;
    case "RENUDGED":
      return `${pushed}: Deckhouse could not download it (${message}); told again in ${textOf(detail["seconds"])} s`;
    case "REFUSED":
      return `${pushed}: Deckhouse says: ${message} (${adviceOn(message)})`;
    case "ADOPTED":
    case "RESTORED":
      return textOf(detail["change"]);
    case "UNVERIFIED":
      return `${pushed}: no digest to compare with; Deckhouse runs ${textOf(detail["digest"])}`;
    default:
      return `${pushed}${why === "" ? "" : `: ${why}`}${message === "" ? "" : `: ${message}`}`;
  }
}

const textOf = (value: unknown) => (typeof value === "string" || typeof value === "number" ? String(value) : "");

/** After a failure: a call that runs into its time limit keeps records waiting. */
const PAUSE_MS = 60_000;

/** Tells the cluster's overrides; one that cannot be told holds up nothing, and the operator is told until it works again. */
export function noteOnOverrides(
  overrides: Pick<Overrides, "tell" | "cluster">,
  observer: Observer,
  pace: () => Promise<void>,
  pauseMs = PAUSE_MS,
): Note {
  const news = createNews();
  let pausedUntil = 0;
  return async (entries) => {
    for (const entry of entries) {
      const event = eventOf(entry);
      if (event === null || Date.now() < pausedUntil) continue;
      try {
        await pace();
        await overrides.tell(entry.module, event);
        news.over();
      } catch (thrown) {
        pausedUntil = Date.now() + pauseMs;
        const { code, message } = toRelayError(thrown);
        if (news.isNews(code)) observer.alarm("EVENTS_UNAVAILABLE", { what: ADVICE, cluster: overrides.cluster, why: message });
      }
    }
  };
}

const ADVICE =
  "Events on the overrides cannot be written; pushes go on. Give the relay the Role of infra/cluster in the namespace default, or write events: false at this cluster";
