/**
 * The journal port: what became of each push, for people and for `GET /pushes/<key>`. Adapters are held to one contract: test/contracts/journal.ts.
 * It is told after the fact and decides nothing: a journal that is away must hold up no push, and the queue knows nothing of it.
 */
import type { Detail, DoneCode, ErrorCode, SkipReason } from "../outcome.ts";

/** A stage of a push on its way to one cluster, by the name that it has in the log; that no webhook told of it; or what an operator did about it. */
export type Stage = DoneCode | SkipReason | ErrorCode | "DEFERRED" | "WEBHOOK_SILENT" | Act;
/** What people do, each with who and why in its detail, and what came of a forced redeploy, which no record follows; the relay itself adopts and restores too. */
export type Act = "FORCED" | "REDEPLOYED" | "NOT_FORCED" | "REDRIVEN" | "PURGED" | "ADOPTED" | "RESTORED";

/** One stage of one push in one cluster. Instants are RFC 3339 UTC with milliseconds. */
export interface NewEntry {
  /** The push, see `keyOf` in event.ts. */
  readonly key: string;
  readonly cluster: string;
  /** A {@link Stage}, or what a newer relay writes. */
  readonly stage: string;
  readonly at: string;
  readonly module: string;
  readonly tag: string;
  readonly digest: string | null;
  /** `host/repository:tag` */
  readonly image: string;
  readonly webhook: string;
  readonly actor: string | null;
  readonly pushedAt: string | null;
  readonly receivedAt: string;
  /** What the stage says beside its name: Deckhouse's message, times, the covering key. At most some KiB, and no secret. */
  readonly detail: Detail;
}

/** A stage that came again is counted and not listed again, so that an outage of hours takes no more room than one of seconds. */
export interface Entry extends NewEntry {
  /** When it was last seen; `at` is when it was first. `detail` is the last one's. */
  readonly last: string;
  readonly times: number;
}

/** What to read. Everything that is given must hold. */
export interface Wanted {
  readonly key?: string | undefined;
  readonly module?: string | undefined;
  readonly cluster?: string | undefined;
  /** Entries whose `last` is this or later. */
  readonly since?: string | undefined;
  /** Entries whose `last` is this or earlier. */
  readonly until?: string | undefined;
  /** At most so many, the latest ones. */
  readonly limit: number;
}

export interface Journal {
  /** For people: where it is; holds no credential. */
  readonly name: string;
  /** Stores entries. They outlast the end of this process, and not necessarily a loss of power. Throws RelayError JOURNAL_UNAVAILABLE. */
  append(entries: readonly NewEntry[]): Promise<void>;
  /** By `last`, the latest first. Entries end {@link KEPT_DAYS} days after it. Throws RelayError JOURNAL_UNAVAILABLE. */
  read(wanted: Wanted): Promise<Entry[]>;
  close(): Promise<void>;
}

/** Writes entries down, or tells an operator that it could not. Never throws, and never holds up a push for long. */
export type Note = (entries: readonly NewEntry[]) => Promise<void>;

/** As long as a queue keeps records. */
export const KEPT_DAYS = 14;

/** Which push and where; a RenewRequest is one. */
export type Told = Omit<NewEntry, "stage" | "at" | "detail">;

/** The entry that a stage of it makes. */
export function entryOf(told: Told, stage: Stage, at: string, detail: Detail = {}): NewEntry {
  const { key, cluster, module, tag, digest, image, webhook, actor, pushedAt, receivedAt } = told;
  return { key, cluster, stage, at, module, tag, digest, image, webhook, actor, pushedAt, receivedAt, detail };
}
