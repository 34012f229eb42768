/** Which records share a run, in which order, and which use case it is. */
import { confirm, type ConfirmContext } from "./confirm.ts";
import type { Work } from "./copies.ts";
import { type RenewRequest, SWEEP } from "./event.ts";
import { groupBy } from "./group.ts";
import type { Outcome } from "./outcome.ts";
import { followRelease } from "./release.ts";
import { renew } from "./renew.ts";
import { rescan, type RescanContext } from "./rescan.ts";
import { watch } from "./watch.ts";

/** What any of them needs. */
export interface RunContext extends RescanContext, Pick<ConfirmContext, "registry" | "adopt"> {}

/** Throws RelayError for what the cluster or the queue cannot do now. */
export function run(request: RenewRequest, context: RunContext): Promise<Outcome> {
  const { kind, look } = request;
  if (kind === "renew") return renew(request, context);
  if (kind === "rescan") return look ? followRelease(request, context) : rescan(request, context);
  return look?.pickedUpAt === undefined ? confirm(request, context) : watch(request, context);
}

/** Renewals of one override share a run, and rescans of one source come one after the other; whatever only looks runs alone. */
export function groups(work: readonly Work[]): Work[][] {
  const together = groupBy(work.entries(), ([index, { request }]) => {
    const { kind, module, tag, source, look } = request;
    if (look || kind === "confirm") return String(index);
    return JSON.stringify(kind === "renew" ? [module, tag, source] : [source]);
  });
  return [...together.values()].map((group) => group.map(([, each]) => each).sort((a, b) => newestFirst(a.request, b.request)));
}

/** By the sender's time where one sender gives it, else by when we received them. */
function newestFirst(a: RenewRequest, b: RenewRequest): number {
  // what a sweep found comes last: a delivery's nudge covers it, and says whose push it is
  if ((a.webhook === SWEEP) !== (b.webhook === SWEEP)) return a.webhook === SWEEP ? 1 : -1;
  if (a.webhook === b.webhook && a.pushedAt !== null && b.pushedAt !== null && a.pushedAt !== b.pushedAt) {
    return Date.parse(b.pushedAt) - Date.parse(a.pushedAt);
  }
  return Date.parse(b.receivedAt) - Date.parse(a.receivedAt);
}
