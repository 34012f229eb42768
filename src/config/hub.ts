/** Rules of queues that are lent, and of queues that a hub lends to us. */
import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import { readQueue } from "./forms.ts";
import { isGiven, Refusal, type Tell } from "./problem.ts";
import { rotationRules } from "./rotation.ts";

const given = z.unknown().optional();
/** What of a cluster matters here. */
export const lentSketch = z.object({
  kubernetes: given,
  uid: given,
  hubToken: given,
  previousHubToken: given,
  previousHubTokenUntil: given,
  hubCa: given,
});
type Lent = z.infer<typeof lentSketch> & { readonly queue?: string | null | undefined };
interface File {
  readonly hub?: unknown;
  readonly unparsed?: unknown;
  readonly clusters: Readonly<Record<string, Lent>>;
}
const ROTATION = { current: "hubToken", previous: "previousHubToken", until: "previousHubTokenUntil" };

export function hubRules({ hub, unparsed, clusters }: File, now: Date, tell: { problem: Tell; warn: Tell }): void {
  const { problem } = tell;
  const lent = new Map<string, unknown>();
  for (const [name, cluster] of Object.entries(clusters)) {
    const path = ["clusters", name];
    const kind = kindOf(cluster.queue);
    rotationRules(
      path,
      ROTATION,
      { current: cluster.hubToken, previous: cluster.previousHubToken, until: cluster.previousHubTokenUntil },
      now,
      tell,
    );
    if (isGiven(cluster.uid) && !isGiven(cluster.kubernetes))
      problem(
        [...path, "uid"],
        "there is no `kubernetes` whose cluster could be compared",
        "it belongs where `kubernetes` stands: in the worker's file",
      );
    if (kind === "hub") borrowed(path, cluster, problem);
    if (kind === "sqs") unused(path, cluster, ["hubToken", "hubCa"], "this queue is at no hub", problem);
    if (kind !== "embedded") continue;
    unused(path, cluster, ["hubCa"], "this queue is lent from here", problem);
    if (!isGiven(cluster.hubToken)) continue;
    for (const [other, token] of lent)
      if (isDeepStrictEqual(token, cluster.hubToken))
        problem([...path, "hubToken"], `the token of clusters.${other} too`, "a token each: one that leaks opens one queue");
    lent.set(name, cluster.hubToken);
    if (!isGiven(hub))
      problem([...path, "hubToken"], "there is no hub that lends this queue", "write hub: with listen, certificate and key (infra/hub.md)");
    if (isGiven(cluster.kubernetes))
      tell.warn(
        [...path, "kubernetes"],
        "this queue is lent, and consumed here too",
        "harmless, and twice the looks: take kubernetes out once the worker runs",
      );
  }
  if (isGiven(hub) && lent.size === 0)
    problem(["hub"], "lends nothing", "give a cluster with an embedded queue a hubToken, or take it out");
  if (kindOf(unparsed) === "hub")
    problem(["unparsed"], "a hub lends the queues of clusters alone", "write embedded: or an SQS queue of its own");
}

function borrowed(path: readonly PropertyKey[], cluster: Lent, problem: Tell): void {
  if (!isGiven(cluster.hubToken))
    problem([...path, "hubToken"], "a hub asks for a token", "write hubToken: file:PATH; the hub's configuration names the same");
  unused(path, cluster, ["previousHubToken"], "whoever borrows shows one token", problem);
}

function unused(path: readonly PropertyKey[], cluster: Lent, keys: readonly (keyof Lent)[], why: string, problem: Tell): void {
  for (const key of keys) if (isGiven(cluster[key])) problem([...path, key], why, "take it out");
}

function kindOf(queue: unknown): string | null {
  const form = typeof queue === "string" ? readQueue(queue, ".") : null;
  return form === null || form instanceof Refusal ? null : form.kind;
}
