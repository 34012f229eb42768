/** Dead letters that can be paged and deleted by id: what lets a sweep run on this side of a wire. */
import type { DeadLetter, DeadLetters, Decide } from "./queue.ts";

export interface LetterPage {
  readonly letters: readonly DeadLetter[];
  readonly more: boolean;
  /** The id of the newest letter there is; null when there is none. */
  readonly newest: string | null;
}

export interface PagedDeadLetters extends DeadLetters {
  /** Letters in the order of their ids: those after `after`, up to and with `upTo` (null: no bound). */
  page(range: { after: string | null; upTo: string | null; limit: number }): Promise<LetterPage>;
  /** Deletes one letter; an unknown id is no error. */
  remove(id: string): Promise<void>;
}

const PAGE = 50;

/** `DeadLetters.sweep` over pages. Only letters that were there at its start: one that is redriven and buried again is not met twice. */
export async function sweepPages(
  letters: Pick<PagedDeadLetters, "page" | "remove">,
  decide: Decide,
): Promise<{ removed: number; kept: number }> {
  const done = { removed: 0, kept: 0 };
  let page = await letters.page({ after: null, upTo: null, limit: PAGE });
  const upTo = page.newest;
  for (;;) {
    for (const letter of page.letters) {
      const decision = await decide(letter);
      if (decision === "remove") await letters.remove(letter.id);
      done[decision === "remove" ? "removed" : "kept"]++;
      if (decision === "stop") return done;
    }
    const last = page.letters.at(-1);
    if (!page.more || last === undefined) return done;
    page = await letters.page({ after: last.id, upTo, limit: PAGE });
  }
}
