/**
 * Saved queries of Logs Insights over the functions' lines, in a folder of the stack's name. Where REPLACE stands, write what you look for.
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
 */
import { type Deployed, EDGE, inboxOf, keysOf, logsOf, type Resources } from "./names.ts";

const BECAME = "fields @timestamp, event, outcome, cluster, module, tag, digest, webhook, why, message, alarm, key";
const IN_ORDER = "sort @timestamp asc | limit 500";
const QUERIES: Readonly<Record<string, { readonly id: string; readonly of: "all" | "edge"; readonly text: string }>> = {
  "what became of this digest": { id: "Digest", of: "all", text: `${BECAME} | filter digest = "sha256:REPLACE" | ${IN_ORDER}` },
  "what became of this key": { id: "Key", of: "all", text: `${BECAME} | filter key = "REPLACE" | ${IN_ORDER}` },
  "refused deliveries by webhook": {
    id: "Refused",
    of: "edge",
    text: `filter event = "delivery" and outcome in ["AUTH_FAILED", "UNKNOWN_WEBHOOK", "METHOD", "QUEUE_UNAVAILABLE", "KEYS_UNAVAILABLE", "TOO_LARGE", "NO_MEMORY", "INTERNAL"] | stats count(*) as times, latest(@timestamp) as last, latest(why) as reason by webhook, outcome | sort times desc`,
  },
  alarms: {
    id: "Alarms",
    of: "all",
    text: "filter ispresent(alarm) | fields @timestamp, alarm, cluster, webhook, source, module, key, why, message | sort @timestamp desc | limit 200",
  },
};

/** Logical ids begin with `Query`. */
export function queries(deployed: Deployed): Resources {
  const { service, stage, inboxes } = deployed;
  const logs = { all: keysOf(deployed), edge: [EDGE, ...inboxes.map(({ id }) => inboxOf(id))] };
  const each = Object.entries(QUERIES).map(([name, { id, of, text }]) => {
    const LogGroupNames = logs[of].map((key) => ({ Ref: logsOf(key) }));
    const Properties = { Name: `${service}-${stage}/${name}`, LogGroupNames, QueryString: text };
    return [`Query${id}`, { Type: "AWS::Logs::QueryDefinition", Properties }] as const;
  });
  return Object.fromEntries(each);
}
