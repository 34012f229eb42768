/** Dead letters as a command sees them: by place, selected, described. */
import type { RelayConfig } from "../../config.ts";
import { decode } from "../../event.ts";
import type { DeadLetter, DeadLetters, Decision, NewRecord, Queue } from "../../queue/queue.ts";
import { openQueues, type Queues } from "../../queues.ts";
import { storedDelivery } from "../../unparsed.ts";
import type { ActOptions, Acts } from "../acts.ts";
import { Failure, messageOf, type Terminal } from "../terminal.ts";

/** The place of deliveries that could not be read; no cluster may have this name. */
export const UNPARSED = "unparsed";

/** Opens queues one by one and when they are needed: one that does not answer hides none of the others. */
export interface Desk {
  lettersOf(place: string): Promise<DeadLetters>;
  /** Of records that wait: no dead letters, they are tried again by themselves. */
  depthOf(cluster: string): ReturnType<Queue["depth"]>;
  send(cluster: string, records: readonly NewRecord[]): Promise<void>;
  close(): Promise<void>;
}

export function openDesk(config: RelayConfig, { env }: Terminal): Desk {
  const opened = new Map<string, Promise<Queues>>();
  const silent = { outcome() {}, alarm() {} };
  const open = (place: string) => {
    const isUnparsed = place === UNPARSED;
    const queues =
      opened.get(place) ??
      openQueues(config, { clusters: isUnparsed ? [] : [place], unparsed: isUnparsed, as: "guest", observer: silent, env });
    opened.set(place, queues);
    return queues;
  };
  return {
    async lettersOf(place) {
      const queues = await open(place);
      if (place !== UNPARSED) return queues.of(place).deadLetters;
      if (!queues.unparsed) throw new Failure(2, "the configuration has no place for unreadable deliveries");
      return queues.unparsed;
    },
    depthOf: async (cluster) => (await open(cluster)).of(cluster).depth(),
    async send(cluster, records) {
      await (await open(cluster)).of(cluster).send(records);
    },
    async close() {
      // the last opened first: where this process owns a folder, the first one holds it for the others
      for (const queues of [...opened.values()].toReversed()) await queues.then((each) => each.close()).catch(() => {});
    },
  };
}

export interface DlqOptions extends ActOptions {
  config?: string;
  cluster?: string[];
  code?: string;
  module?: string;
  limit?: number;
  each?: true;
  all?: true;
  yes?: true;
  dryRun?: true;
  rate: number;
  wait?: true;
  timeout: number;
  skipBad?: true;
  json?: true;
}

/** One call of a `dlq` command: what is selected, and the desk at which it is worked on. */
export interface Call {
  readonly config: RelayConfig;
  readonly desk: Desk;
  readonly acts: Acts;
  readonly options: DlqOptions;
  readonly terminal: Terminal;
  readonly selection: Selection;
  /** Aborted by Ctrl-C: what is in hand is finished and told. */
  readonly interrupted: AbortSignal;
}

/** What a visit could not see, by place. */
export interface Unseen {
  /** Could not be worked on; why is told. */
  readonly failed: string[];
  /** Left after --limit letters. */
  readonly cut: string[];
  /** Fewer came than the queue counts: SQS hides for half a minute what somebody else looks at. */
  readonly incomplete: string[];
  /** Ended by Ctrl-C before all were visited. */
  isStopped: boolean;
}

const PROGRESS_EVERY = 1000;

/** Visits every selected letter of each place, one in memory at a time. A place that fails keeps none of the others from being visited. */
export async function visit(call: Call, work: (letter: DescribedLetter) => Promise<"keep" | "remove">): Promise<Unseen> {
  const { desk, options, selection, terminal, interrupted } = call;
  const unseen: Unseen = { failed: [], cut: [], incomplete: [], isStopped: false };
  for (const place of selection.places) {
    try {
      const letters = await desk.lettersOf(place);
      const expected = await letters.count();
      const wanted = selection.ids.filter((id) => id.startsWith(`${place}/`)).length || Infinity;
      let [looked, matched, isEarly] = [0, 0, false];
      const stop = (): Decision => {
        isEarly = true;
        return "stop";
      };
      await letters.sweep(async (raw) => {
        unseen.isStopped ||= interrupted.aborted;
        if (unseen.isStopped || matched === wanted) return stop();
        looked += 1;
        if (looked % PROGRESS_EVERY === 0) terminal.err(`${place}: ${looked} of about ${Math.max(looked, expected)} looked at`);
        const letter = describe(place, raw);
        if (!isSelected(letter, selection)) return "keep";
        if (matched === options.limit) {
          unseen.cut.push(place);
          return stop();
        }
        matched += 1;
        return work(letter);
      });
      if (!isEarly && looked < expected) unseen.incomplete.push(place);
    } catch (error) {
      terminal.err(`error: ${place}: ${messageOf(error)}`);
      unseen.failed.push(place);
    }
  }
  return unseen;
}

/** What to say of a visit that may have missed letters; null where it saw all. */
export function incompleteText({ incomplete }: Unseen): string | null {
  if (incomplete.length === 0) return null;
  return `${incomplete.join(", ")}: this may not be all, the queue counts more. SQS hides for up to 30 s what somebody looks at: ask again in half a minute`;
}

/** What became of a letter; `done`: it is no longer where it was. */
export interface Settled {
  readonly id: string;
  readonly done: boolean;
  readonly what: string;
}

/** Ends a command that could not settle all that was asked for. */
export function failUnlessAll({ selection }: Call, settled: readonly Settled[], unseen: Unseen): void {
  const { failed } = unseen;
  if (failed.length > 0)
    throw new Failure(1, `not all queues could be worked on: ${failed.join(", ")}`, "what is not named above is still a dead letter");
  if (unseen.isStopped) throw new Failure(1, "stopped before the end", "what is not named above is still a dead letter");
  const missing = selection.ids.filter((id) => !settled.some((each) => each.id === id));
  if (missing.length > 0)
    throw new Failure(
      1,
      `no dead letter ${missing.join(", ")}`,
      incompleteText(unseen) ?? "`mpo-relay dlq list --each` shows what is there",
    );
}

export interface Selection {
  /** As `dlq list` prints them: `dev/12`. Empty: all. */
  readonly ids: readonly string[];
  readonly places: readonly string[];
  readonly code: string | null;
  readonly module: string | null;
}

/** Wherever dead letters may lie. */
export function placesOf(config: RelayConfig): string[] {
  return [...Object.keys(config.clusters), ...(config.unparsed ? [UNPARSED] : [])];
}

/** Places and ids of a call, or a Failure that says how they are written. */
export function selectionOf(
  ids: readonly string[],
  options: Pick<DlqOptions, "cluster" | "code" | "module">,
  config: RelayConfig,
): Selection {
  const known = placesOf(config);
  const [only, ...others] = options.cluster ?? [];
  const full = ids.map((id) => {
    if (id.includes("/")) return id;
    if (only === undefined || others.length > 0)
      throw new Failure(2, `"${id}" could be in any queue`, "write it as `mpo-relay dlq list` prints it: CLUSTER/ID");
    return `${only}/${id}`;
  });
  const named = full.length > 0 ? full.map((id) => id.slice(0, id.indexOf("/"))) : (options.cluster ?? known);
  for (const place of named) {
    if (!known.includes(place)) throw new Failure(2, `no cluster "${place}" in the configuration; known: ${known.join(", ")}`);
  }
  return { ids: full, places: [...new Set(named)], code: options.code?.toUpperCase() ?? null, module: options.module ?? null };
}

function isSelected(letter: DescribedLetter, { ids, code, module }: Selection): boolean {
  return (
    (ids.length === 0 || ids.includes(letter.id)) &&
    (code === null || letter.code === code) &&
    (module === null || letter.module === module)
  );
}

/** A letter with what its body tells; its id is whole: `dev/12`. */
export interface DescribedLetter extends DeadLetter {
  readonly place: string;
  readonly module: string | null;
  readonly tag: string | null;
  readonly image: string | null;
  readonly key: string | null;
  readonly webhook: string | null;
}

function describe(place: string, letter: DeadLetter): DescribedLetter {
  const read = decode(letter.body);
  const { module, tag, image, key, webhook } =
    read.kind === "request"
      ? read.request
      : { module: null, tag: null, image: null, key: null, webhook: storedDelivery(letter.body)?.webhook ?? null };
  const { id, body, code, text, attempts, firstAt, lastAt, expiresAt } = letter;
  return { id: `${place}/${id}`, place, code, text, attempts, firstAt, lastAt, expiresAt, module, tag, image, key, webhook, body };
}
