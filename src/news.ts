/** Trouble that lasts is told when it begins, and again for as long as it lasts: alerts look back twenty minutes, and must not end before it does. */
import { TOLD_AGAIN_MS } from "./limits.ts";

export interface News {
  /** What was told last and is not over; null: nothing. */
  readonly told: string | null;
  /** Whether to tell it now: it is another trouble than before, or was last told long enough ago. */
  isNews(trouble: string): boolean;
  over(): void;
}

export function createNews(now: () => number = Date.now): News {
  let told: string | null = null;
  let toldAt = 0;
  return {
    get told() {
      return told;
    },
    isNews(trouble) {
      const at = now();
      if (trouble === told && Math.abs(at - toldAt) < TOLD_AGAIN_MS) return false;
      told = trouble;
      toldAt = at;
      return true;
    },
    over() {
      told = null;
    },
  };
}

/** The same for several places, of which each may have several troubles at once. */
export function createNewsOfEach(): (place: string, trouble: string) => boolean {
  const known = new Map<string, News>();
  return (place, trouble) => {
    const each = JSON.stringify([place, trouble]);
    const news = known.get(each) ?? createNews();
    known.set(each, news);
    return news.isNews(trouble);
  };
}
