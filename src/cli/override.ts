/** One override by hand, as `renew` and `force` work on it: patched with the relay's own marks, followed, and told of. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Override, Overrides } from "../cluster/overrides.ts";
import { unlessChanged } from "../conflict.ts";
import type { Told } from "../journal/journal.ts";
import { nudgeAnnotations, nudgeOf } from "../nudge.ts";
import { oddText } from "../odd.ts";
import type { Progress } from "./follow.ts";
import { Failure, messageOf, oneLine, type Terminal } from "./terminal.ts";

export const LOOK_EVERY_MS = 1000;
/** No webhook can have this name, so that no push is ever taken for covered by a nudge by hand. */
const BY_HAND = "(mpo-relay renew)";

export type Follower = Terminal & { readonly lookEveryMs: number };

/** What `--json` prints at the end. The outcomes are those of the log, but NUDGED without --wait, UNCHANGED, FORCED and NOT_FORCED. */
interface Result {
  readonly module: string;
  readonly tag: string;
  readonly key: string;
  readonly outcome: "NUDGED" | "PICKED_UP" | "UNCHANGED" | "FORCED" | "NOT_FORCED" | "REFUSED" | "SUPERSEDED";
  readonly before: string | null;
  readonly digest: string | null;
  readonly message: string;
  readonly ms: number;
}

/** Throws Failure where there is no such override. */
export async function find(module: string, overrides: Overrides): Promise<Override> {
  const found = await overrides.get(module);
  if (found === null) throw await notThere(module, overrides);
  return found;
}

/** The relay's own marks, so that a relay in the same cluster sees what was done, and `more` in the same patch. */
export function nudge(
  module: string,
  overrides: Overrides,
  terminal: Terminal,
  more: Readonly<Record<string, string>> = {},
): Promise<{ before: Override; key: string }> {
  const key = randomBytes(16).toString("hex");
  return unlessChanged(async () => {
    const before = await find(module, overrides);
    if (before.odd !== null) throw new Failure(1, oneLine(oddText(before)), `mend it first: kubectl edit mpo ${module}`);
    const now = terminal.now();
    const request = {
      key,
      tag: before.imageTag,
      source: null,
      digest: null,
      index: false,
      webhook: BY_HAND,
      pushedAt: null,
      receivedAt: now.toISOString(),
    };
    const patched = await overrides.annotate(before, { ...nudgeAnnotations(request, 0, nudgeOf(before), now), ...more });
    if (patched === null) throw await notThere(module, overrides);
    return { before, key };
  });
}

/** Of what is done by hand for the journal: it is no push, nobody sent it, and its image is known by its tag alone. */
export function actedOn({ before, key }: { before: Override; key: string }, cluster: string, at: Date): Told {
  const { name: module, imageTag: tag, status } = before;
  const image = `${module}:${tag}`;
  const nobody = { webhook: BY_HAND, actor: null, pushedAt: null };
  return { key, cluster, module, tag, digest: status.imageDigest, image, ...nobody, receivedAt: at.toISOString() };
}

async function notThere(module: string, overrides: Overrides): Promise<Failure> {
  const others = await overrides.list().catch(() => []); // listing is a right of its own
  const names = others.map((each) => each.name).join(", ");
  return new Failure(
    1,
    `there is no ModulePullOverride "${module}" in ${overrides.cluster}`,
    names === "" ? "`kubectl get mpo` shows those that there are" : `there are: ${names}`,
  );
}

/** Looks again and again until something is known, the time is over, or `interrupted`. A look that fails is told, and repeated. */
export async function follow(
  before: Override,
  overrides: Overrides,
  timeoutMs: number,
  terminal: Follower,
  judge: (before: Override, seen: Override | null, elapsedMs: number) => Progress,
  interrupted?: AbortSignal,
): Promise<{ progress: Progress; last: Override }> {
  const started = terminal.now().getTime();
  let last = before;
  let trouble = "";
  for (;;) {
    const elapsed = terminal.now().getTime() - started;
    const isOver = elapsed >= timeoutMs || interrupted?.aborted === true;
    try {
      const seen = await overrides.get(before.name);
      const progress = judge(before, seen, elapsed);
      last = seen ?? last;
      if (progress.kind !== "waiting" || isOver) return { progress, last };
    } catch (error) {
      if (isOver) throw error;
      if (messageOf(error) !== trouble) terminal.err(`cannot look now: ${messageOf(error)}`);
      trouble = messageOf(error);
    }
    await sleep(terminal.lookEveryMs, undefined, interrupted && { signal: interrupted }).catch(() => undefined);
  }
}

export interface Report {
  /** For people. */
  tell(text: string): void;
  /** For programs. */
  end(outcome: Result["outcome"], digest: string | null, message: string): void;
  seconds(): number;
}

export function reportOn({ before, key }: { before: Override; key: string }, startedAt: Date, isJson: boolean, terminal: Terminal): Report {
  const ms = () => terminal.now().getTime() - startedAt.getTime();
  const { name: module, imageTag: tag, status } = before;
  const tell = isJson ? () => {} : (text: string) => terminal.out(oneLine(text));
  tell(`${module}:${tag} ran ${status.imageDigest ?? "no image"}${status.message === "" ? "" : ` (${status.message})`}`);
  return {
    tell,
    end(outcome, digest, message) {
      const result: Result = { module, tag, key, outcome, before: status.imageDigest, digest, message, ms: ms() };
      if (isJson) terminal.out(JSON.stringify(result));
    },
    seconds: () => Math.round(ms() / 1000),
  };
}

/** Ends a command that was followed to a bad end; returns where it came to none. */
export function failOn(progress: Progress, last: Override, report: Report): void {
  if (progress.kind === "refused") {
    report.end("REFUSED", last.status.imageDigest, progress.message);
    throw new Failure(1, `Deckhouse says: ${oneLine(progress.message)}`, progress.advice);
  }
  if (progress.kind === "moved") {
    report.end("SUPERSEDED", last.status.imageDigest, progress.message);
    throw new Failure(1, progress.message);
  }
}
