/**
 * One loop for every runtime: take records, collapse those of one override, run the use case, settle each by its outcome.
 * A record is settled by a copy (store the next one, then delete the old one), so its receive count only counts crashes.
 */
import type { Circuit } from "./circuit.ts";
import { type Due, type Work, withoutCopies } from "./copies.ts";
import { type CrashContext, forgetRuns, isSuspect, whySpent } from "./crashes.ts";
import { decode, type RenewRequest, toAscii } from "./event.ts";
import { inLanes } from "./lanes.ts";
import { entryOf, type NewEntry, type Note } from "./journal/journal.ts";
import { LANES, TOO_NEW_SECONDS } from "./limits.ts";
import { ADVICE, type ErrorCode, type Outcome, toRelayError, TREATMENT } from "./outcome.ts";
import type { Queue, QueueRecord } from "./queue/queue.ts";
import { groups, run, type RunContext } from "./runs.ts";
import { entryAbout, hopOf, isShared, sharedBy, type Settlement, settlementOf } from "./settle.ts";

export interface ConsumeContext extends RunContext, CrashContext {
  readonly queue: Pick<Queue, "acknowledge" | "defer" | "bury">;
  /** Left out: no journal is written. */
  readonly note?: Note;
  readonly circuit: Circuit;
  /** Resolves when the next run may begin. Left out: at once. */
  readonly turn?: () => Promise<void>;
  readonly random?: () => number;
}

/** `failed`: settling failed, the queue gives them again. `untouched`: time ran out before their turn. */
export interface Unsettled {
  readonly failed: readonly QueueRecord[];
  readonly untouched: readonly QueueRecord[];
}

/** `entry`: what the journal is told of it. */
interface Settled {
  readonly record: QueueRecord;
  readonly settlement: Settlement;
  readonly entry: NewEntry | null;
  readonly copies: readonly QueueRecord[];
}
type SortedOut = Omit<Settled, "record" | "copies">;

/** Works on one batch. `timeLeft` is asked before each run. Never throws for what a record holds or a cluster answers. */
export async function consume(
  records: readonly QueueRecord[],
  context: ConsumeContext,
  timeLeft: () => boolean = () => true,
): Promise<Unsettled> {
  const failed: QueueRecord[] = [];
  const untouched: QueueRecord[] = [];
  const due: Due[] = [];
  for (const record of records) {
    const sorted = sortOut(record, context);
    if ("settlement" in sorted) await settleAll([{ record, ...sorted, copies: [] }], context, failed);
    else due.push(sorted);
  }
  if (context.circuit.error !== null) await context.circuit.probe();

  const all = groups(withoutCopies(due));
  const mayCrash = (group: readonly Work[]) => group.some(({ record }) => isSuspect(record));
  const runAndSettle = async (group: readonly Work[]) => {
    const { settled, rest } = await runGroup(group, context, timeLeft);
    untouched.push(...rest.flatMap(({ record, copies }) => [record, ...copies]));
    await settleAll(settled, context, failed);
  };
  await inLanes(
    LANES,
    all.filter((group) => !mayCrash(group)),
    runAndSettle,
  );
  for (const group of all.filter(mayCrash)) await runAndSettle(group); // one after the other: none is counted for another's crash
  await forgetRuns(failed, context);
  return { failed, untouched };
}

/** What needs no look at the cluster is settled at once; the rest is work. */
function sortOut(record: QueueRecord, context: ConsumeContext): Due | SortedOut {
  const read = decode(record.body);
  const now = context.now();
  if (read.kind === "newer") {
    alarm(context, "WORKER_TOO_OLD", { why: read.why });
    return { settlement: { kind: "defer", next: { body: toAscii(record.body), delaySeconds: TOO_NEW_SECONDS } }, entry: null };
  }
  if (read.kind === "malformed") return bury(record, "MALFORMED", read.why, context);
  const { request } = read;
  if (request.cluster !== context.cluster) return bury(record, "WRONG_CLUSTER", `it is for cluster ${request.cluster}`, context, request);
  if (!context.runs && isSuspect(record)) {
    return bury(record, "LAST_RECEIVE", `received ${record.receiveCount} times, never settled`, context, request);
  }
  const hop = hopOf(request, now);
  return hop ? { settlement: hop, entry: null } : { record, request };
}

function bury(record: QueueRecord, code: ErrorCode, text: string, context: ConsumeContext, request?: RenewRequest): SortedOut {
  const lastAt = context.now().toISOString();
  alarm(context, code, { why: text, ...(request && { key: request.key, module: request.module }) });
  context.observer.outcome({
    event: "record",
    outcome: code,
    cluster: context.cluster,
    ...(request && { key: request.key, module: request.module }),
    why: text,
  });
  const attempts = request ? request.attempt + 1 : record.receiveCount;
  return {
    settlement: {
      kind: "bury",
      letter: { body: record.body, code, text, attempts, firstAt: request?.receivedAt ?? record.sentAt, lastAt },
    },
    entry: request ? entryOf({ ...request, cluster: context.cluster }, code, lastAt, { why: text, buried: true }) : null,
  };
}

/**
 * The newest runs. The others are covered by it only if it itself patched; they wait or fail with it; where it ended in any
 * other way (another push's nudge covers it, say), each of them is decided anew.
 */
async function runGroup(
  group: readonly Work[],
  context: ConsumeContext,
  timeLeft: () => boolean,
): Promise<{ settled: Settled[]; rest: readonly Work[] }> {
  const settled: Settled[] = [];
  const end = (each: Work, outcome: Outcome) => {
    report(each, outcome, context);
    const now = context.now();
    const settlement = settlementOf(outcome, each.request, now, context.random);
    settled.push({ ...each, settlement, entry: entryAbout(each.request, outcome, settlement, now) });
  };
  let rest = group;
  for (let head = rest[0]; head && timeLeft(); head = rest[0]) {
    const others = rest.slice(1);
    const why = await whySpent(head.record, context);
    if (why !== null) {
      settled.push({ ...head, ...bury(head.record, "LAST_RECEIVE", why, context, head.request) });
      rest = others;
      continue;
    }
    const outcome = await attempt(head.request, context);
    end(head, outcome);
    const shared = isShared(head.request, outcome);
    rest = shared ? [] : others;
    for (const other of shared ? others : []) end(other, sharedBy(head.request, outcome, other.request));
  }
  return { settled, rest };
}

async function attempt(request: RenewRequest, context: ConsumeContext): Promise<Outcome> {
  const { circuit } = context;
  if (circuit.error === null) await context.turn?.();
  if (circuit.error !== null) return { kind: "failed", error: circuit.error };
  try {
    const outcome = await run(request, context);
    circuit.succeeded();
    return outcome;
  } catch (thrown) {
    const error = toRelayError(thrown);
    if (TREATMENT[error.code] === "circuit") circuit.open(error);
    return { kind: "failed", error };
  }
}

async function settleAll(
  settlements: readonly Settled[],
  { queue, observer, cluster, note }: ConsumeContext,
  failed: QueueRecord[],
): Promise<void> {
  await note?.(settlements.flatMap(({ entry }) => (entry === null ? [] : [entry]))); // before the record is gone: a crash in between doubles, and hides nothing
  const settle = async (those: readonly Settled[], how: () => Promise<void>) => {
    if (those.length === 0) return;
    const copies = those.flatMap((each) => each.copies);
    try {
      await how();
      if (copies.length > 0) await queue.acknowledge(copies);
    } catch (thrown) {
      const error = toRelayError(thrown, "QUEUE_UNAVAILABLE");
      observer.alarm(error.code, { what: ADVICE.QUEUE_UNAVAILABLE ?? "", cluster, why: error.message });
      failed.push(...those.map(({ record }) => record), ...copies);
    }
  };
  const done = settlements.filter(({ settlement }) => settlement.kind === "acknowledge");
  const moved = settlements.filter(({ settlement }) => settlement.kind === "defer");
  const moves = moved.flatMap(({ record, settlement }) => (settlement.kind === "defer" ? [{ record, next: settlement.next }] : []));
  await settle(done, () => queue.acknowledge(done.map(({ record }) => record)));
  await settle(moved, () => queue.defer(moves));
  for (const each of settlements) {
    const { record, settlement } = each;
    if (settlement.kind === "bury") await settle([each], () => queue.bury(record, settlement.letter));
  }
}

function report({ record, request }: Work, outcome: Outcome, context: ConsumeContext): void {
  const { key, module, tag, digest, image, webhook, kind, nudge, attempt: attempts, receivedAt, pushedAt } = request;
  const line = {
    event: "record",
    kind,
    key,
    cluster: context.cluster,
    module,
    tag,
    digest,
    image,
    webhook,
    nudge,
    attempt: attempts,
  } as const;
  const times = { receivedAt, pushedAt, receiveCount: record.receiveCount };
  const { observer } = context;
  if (outcome.kind === "failed") {
    const { code, message } = outcome.error;
    observer.outcome({ ...line, ...times, outcome: code, why: message });
    // an API server that has just started refuses everybody until it has read its roles: the second refusal is the news
    const isFirst = TREATMENT[code] === "forbidden" && request.refusedSince === null;
    if (TREATMENT[code] !== "circuit" && !isFirst) alarm(context, code, { key, module, why: message });
  } else if (outcome.kind === "deferred") {
    observer.outcome({ ...line, ...times, outcome: "DEFERRED", why: outcome.why, seconds: outcome.seconds });
  } else {
    observer.outcome({ ...line, ...times, outcome: outcome.kind === "done" ? outcome.code : outcome.reason, ...outcome.detail });
    if (outcome.kind === "skipped" && outcome.reason === "RESCAN_REFUSED")
      alarm(context, outcome.reason, { key, module, why: String(outcome.detail?.["why"]) });
  }
}

function alarm(context: ConsumeContext, code: keyof typeof ADVICE, line: { why: string; key?: string; module?: string }): void {
  const advice = ADVICE[code];
  if (advice !== undefined && code !== "CONFLICT") context.observer.alarm(code, { what: advice, cluster: context.cluster, ...line });
}
