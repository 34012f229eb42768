/** Opens the journal that a configuration names, so that it never holds up a push. */
import type { JournalForm, RelayConfig } from "./config.ts";
import type { Journal, Note } from "./journal/journal.ts";
import type { Observer } from "./observe.ts";
import { ADVICE, type RelayError, toRelayError } from "./outcome.ts";

/** `journal` is null where none is configured, or none can be opened. */
export interface Journals {
  readonly journal: Journal | null;
  readonly note: Note;
  close(): Promise<void>;
}

/** For processes that write: one that cannot be opened is told, and they go on without it. Queues are opened before: a new one wants an empty folder. */
export async function openJournals(config: Pick<RelayConfig, "journal">, observer: Observer): Promise<Journals> {
  const journal = config.journal && (await openForm(config.journal, true).catch((thrown: unknown) => tell(thrown, observer)));
  if (!journal) return { journal: null, note: async () => {}, close: async () => {} };
  return { journal, note: noteIn(journal, observer), close: () => journal.close() };
}

/** For commands that read. Throws RelayError JOURNAL_UNAVAILABLE. */
export function openJournal(form: JournalForm): Promise<Journal> {
  return openForm(form, false);
}

async function openForm(form: JournalForm, create: boolean): Promise<Journal> {
  const { openSqliteJournal } = await import("./journal/sqlite.ts");
  return openSqliteJournal(form.folder, { create });
}

/** After a failure: each try takes time from the pushes. */
const PAUSE_MS = 1000;

/** One alarm for a journal that fails again and again. */
function noteIn(journal: Journal, observer: Observer): Note {
  let isTold = false;
  let pausedUntil = 0;
  return async (entries) => {
    if (entries.length === 0 || Date.now() < pausedUntil) return;
    try {
      await journal.append(entries);
      isTold = false;
    } catch (thrown) {
      if (!isTold) tell(thrown, observer);
      isTold = true;
      pausedUntil = Date.now() + PAUSE_MS;
    }
  };
}

function tell(thrown: unknown, observer: Observer): null {
  const error: RelayError = toRelayError(thrown, "JOURNAL_UNAVAILABLE");
  observer.alarm("JOURNAL_UNAVAILABLE", { what: ADVICE.JOURNAL_UNAVAILABLE ?? "", why: error.message });
  return null;
}
