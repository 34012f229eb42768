/** Dead letters as a command sees them: by place, selected, described. */
import type { RelayConfig } from "../config.ts";
import { decode } from "../event.ts";
import type { DeadLetter, DeadLetters, NewRecord } from "../queue/queue.ts";
import { openQueues, type Queues } from "../queues.ts";
import { storedDelivery } from "../unparsed.ts";
import { Failure, messageOf, type Terminal } from "./terminal.ts";

/** The place of deliveries that could not be read; no cluster may have this name. */
const UNPARSED = "unparsed";

/** Opens queues one by one and when they are needed: one that does not answer hides none of the others. */
export interface Desk {
  lettersOf(place: string): Promise<DeadLetters>;
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
    async send(cluster, records) {
      await (await open(cluster)).of(cluster).send(records);
    },
    async close() {
      // the last opened first: where this process owns a folder, the first one holds it for the others
      for (const queues of [...opened.values()].toReversed()) await queues.then((each) => each.close()).catch(() => {});
    },
  };
}

export interface DlqOptions {
  config?: string;
  cluster?: string[];
  code?: string;
  module?: string;
  limit: number;
  all?: true;
  yes?: true;
  dryRun?: true;
  json?: true;
}

/** One call of a `dlq` command: what is selected, and the desk at which it is worked on. */
export interface Call {
  readonly config: RelayConfig;
  readonly desk: Desk;
  readonly options: DlqOptions;
  readonly terminal: Terminal;
  readonly selection: Selection;
}

/** Works on each selected place; one that fails is named on stderr and does not keep the others from being worked on. Gives the failed ones. */
export async function eachPlace(call: Call, work: (letters: DeadLetters, place: string) => Promise<void>): Promise<string[]> {
  const failed: string[] = [];
  for (const place of call.selection.places) {
    try {
      await work(await call.desk.lettersOf(place), place);
    } catch (error) {
      call.terminal.err(`error: ${place}: ${messageOf(error)}`);
      failed.push(place);
    }
  }
  return failed;
}

export interface Selection {
  /** As `dlq list` prints them: `dev/12`. Empty: all. */
  readonly ids: readonly string[];
  readonly places: readonly string[];
  readonly code: string | null;
  readonly module: string | null;
}

/** Places and ids of a call, or a Failure that says how they are written. */
export function selectionOf(
  ids: readonly string[],
  options: Pick<DlqOptions, "cluster" | "code" | "module">,
  config: RelayConfig,
): Selection {
  const known = [...Object.keys(config.clusters), ...(config.unparsed ? [UNPARSED] : [])];
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

export function isSelected(letter: DescribedLetter, { ids, code, module }: Selection): boolean {
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

export function describe(place: string, letter: DeadLetter): DescribedLetter {
  const read = decode(letter.body);
  const { module, tag, image, key, webhook } =
    read.kind === "request"
      ? read.request
      : { module: null, tag: null, image: null, key: null, webhook: storedDelivery(letter.body)?.webhook ?? null };
  const { id, body, code, text, attempts, firstAt, lastAt } = letter;
  return { id: `${place}/${id}`, place, code, text, attempts, firstAt, lastAt, module, tag, image, key, webhook, body };
}
