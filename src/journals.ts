/** Opens the journal that a configuration names, so that it never holds up a push. */
import { type RelayConfig, resolveTable } from "./config.ts";
import type { Journal, Note } from "./journal/journal.ts";
import { createNews, type News } from "./news.ts";
import type { Observer } from "./observe.ts";
import { ADVICE, RelayError, toRelayError } from "./outcome.ts";
import { within } from "./patience.ts";
import { createSecretReader } from "./secrets.ts";

/** `journal` is null where none is configured, or none can be opened. */
export interface Journals {
  readonly journal: Journal | null;
  readonly note: Note;
  close(): Promise<void>;
}

export interface JournalsOptions {
  readonly observer: Observer;
  /** How long a note may take: what it is about waits meanwhile. */
  readonly patienceMs: number;
  readonly env?: NodeJS.ProcessEnv;
  /** False for commands: a file that is not there is made by the relay whose it is. */
  readonly create?: boolean;
}

/** The shortest patience of a sender is a second, and most of it is the queue's. */
export const EDGE_PATIENCE_MS = 300;
/** Enough for a new connection on a slow line. */
export const PATIENCE_MS = 2_000;

type Named = Pick<RelayConfig, "journal" | "clusters">;

/** For processes that write: one that cannot be opened is told, and they go on without it. Queues are opened before: a new one wants an empty folder. */
export async function openJournals(config: Named, { observer, patienceMs, env, create = true }: JournalsOptions): Promise<Journals> {
  if (config.journal === null) return { journal: null, note: async () => {}, close: async () => {} };
  const news = createNews();
  try {
    const journal = await openForm(config, { create, env });
    return { journal, note: noteIn(journal, patienceMs, observer, news), close: () => journal.close() };
  } catch (thrown) {
    const note = async () => tell(thrown, observer, news);
    await note();
    return { journal: null, note, close: async () => {} };
  }
}

/** For commands that read. Throws RelayError JOURNAL_UNAVAILABLE. */
export function openJournal(config: Named, env: NodeJS.ProcessEnv): Promise<Journal> {
  return openForm(config, { create: false, env });
}

async function openForm(
  { journal: form, clusters }: Named,
  { create, env = process.env }: { create: boolean; env?: NodeJS.ProcessEnv | undefined },
): Promise<Journal> {
  switch (form?.kind) {
    case "embedded": {
      const { openSqliteJournal } = await import("./journal/sqlite.ts");
      return openSqliteJournal(form.folder, { create });
    }
    case "dynamodb":
    case "env":
      return openTable(resolveTable(form, env));
    case "hub": {
      const { openRemoteJournal } = await import("./queue/hub/remote.ts");
      const readSecret = createSecretReader({ env });
      return openRemoteJournal(
        Object.entries(clusters).flatMap(([name, { queue, hub: access }]) =>
          queue.kind === "hub" && access ? [{ url: queue.url, queue: name, access, readSecret }] : [],
        ),
      );
    }
    case undefined:
      throw new RelayError("JOURNAL_UNAVAILABLE", "the configuration names no journal");
  }
}

/** One whose SDK is loaded beside what comes first: what a Lambda function loads before it takes anything is counted. */
interface Loading extends Journal {
  readonly loaded: Promise<unknown>;
}

function openTable(table: string): Loading {
  const opening = import("./journal/dynamodb.ts").then(({ openDynamoJournal }) => openDynamoJournal(table));
  opening.catch(() => {}); // whoever asks is told
  return {
    name: `the DynamoDB table ${table}`,
    loaded: opening,
    append: async (entries) => (await opening).append(entries),
    read: async (wanted) => (await opening).read(wanted),
    close: async () => (await opening).close(),
  };
}

/** A journal that fails again and again is not told each time. Our own loading is none of its silence. */
function noteIn(journal: Journal | Loading, patienceMs: number, observer: Observer, news: News): Note {
  return async (entries) => {
    if (entries.length === 0) return;
    try {
      if ("loaded" in journal) await journal.loaded;
      await within(patienceMs, journal.append(entries), "JOURNAL_UNAVAILABLE");
      news.over();
    } catch (thrown) {
      tell(thrown, observer, news);
    }
  };
}

function tell(thrown: unknown, observer: Observer, news: News): void {
  if (!news.isNews("JOURNAL_UNAVAILABLE")) return;
  const { message: why } = toRelayError(thrown, "JOURNAL_UNAVAILABLE");
  observer.alarm("JOURNAL_UNAVAILABLE", { what: ADVICE.JOURNAL_UNAVAILABLE ?? "", why });
}
