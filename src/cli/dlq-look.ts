/** `dlq list` and `dlq show`: they change nothing. */
import type { DeadLetters } from "../queue/queue.ts";
import { sameConfig } from "./configuration.ts";
import { type Call, describe, type DescribedLetter, eachPlace, isSelected, type Selection } from "./letters.ts";
import { counted, Failure, oneLine, span, table } from "./terminal.ts";

const WHY_LENGTH = 100;

export async function list(call: Call): Promise<void> {
  const { options, selection, terminal } = call;
  const found: DescribedLetter[] = [];
  let total = 0;
  let isCut = false;
  const isFiltered = selection.code !== null || selection.module !== null;
  const failed = await eachPlace(call, async (letters, place) => {
    if (isFiltered) {
      const matching = await search(letters, place, selection);
      found.push(...matching.slice(0, options.limit));
      total += matching.length;
      isCut ||= matching.length > options.limit;
    } else {
      const page = await letters.list(options.limit);
      found.push(...page.letters.map((letter) => describe(place, letter)));
      total += Math.max(await letters.count(), page.letters.length); // SQS only guesses
      isCut ||= page.more;
    }
  });
  if (options.json) {
    terminal.out(
      JSON.stringify({
        letters: found.map(({ body: _body, place, ...letter }) => ({ cluster: place, ...letter })),
        total,
        more: isCut,
        failed,
      }),
    );
  } else {
    tell(call, found, { total, isCut, failed });
  }
  if (failed.length > 0) throw new Failure(1, `could not look at ${failed.join(", ")}`);
}

/** Looks through all of them, page by page. */
async function search(letters: DeadLetters, place: string, selection: Selection): Promise<DescribedLetter[]> {
  const found: DescribedLetter[] = [];
  await letters.sweep(async (each) => {
    const letter = describe(place, each);
    if (isSelected(letter, selection)) found.push(letter);
    return "keep";
  });
  return found;
}

interface Extent {
  readonly total: number;
  readonly isCut: boolean;
  /** Places that nobody knows anything of. */
  readonly failed: readonly string[];
}

function tell({ options, terminal, selection }: Call, found: readonly DescribedLetter[], { total, isCut, failed }: Extent): void {
  const [first] = found;
  if (!first) {
    const places = selection.places.filter((place) => !failed.includes(place));
    if (places.length > 0) terminal.out(`no dead letters${filterText(selection)} (looked at: ${places.join(", ")})`);
    return;
  }
  const now = terminal.now().getTime();
  const rows = found.map((letter) => {
    const what = letter.module === null ? `webhook ${letter.webhook ?? "unknown"}` : `${letter.module}:${letter.tag}`;
    return [letter.id, letter.code, what, span(now - Date.parse(letter.lastAt)), oneLine(letter.text).slice(0, WHY_LENGTH)];
  });
  terminal.out(table(["ID", "CODE", "WHAT", "AGE", "WHY"], rows));
  const config = sameConfig(options.config);
  terminal.out(`\n${counted(total, "dead letter")}${isCut ? `, ${found.length} shown (--limit)` : ""}`);
  terminal.out(`next: mpo-relay dlq show ${first.id}${config}\n      mpo-relay dlq redrive --all --dry-run${config}`);
}

/** Said again, since a mistyped filter looks like an empty queue. */
function filterText({ code, module }: Selection): string {
  const filters = [...(code === null ? [] : [`the code ${code}`]), ...(module === null ? [] : [`the module ${module}`])];
  return filters.length === 0 ? "" : ` with ${filters.join(" and ")}`;
}

export async function show(call: Call): Promise<void> {
  const { options, selection, terminal } = call;
  let letter: DescribedLetter | undefined;
  const failed = await eachPlace(call, async (letters, place) => {
    letter ??= (await search(letters, place, selection))[0];
  });
  if (failed.length > 0) throw new Failure(1, `could not look at ${failed.join(", ")}`);
  if (!letter) throw new Failure(1, `no dead letter ${selection.ids.join()}`, "`mpo-relay dlq list` shows what is there");
  const { place, body, ...rest } = letter;
  if (options.json) return terminal.out(JSON.stringify({ cluster: place, ...rest, body }));
  const fields = Object.entries(rest).filter(([, value]) => value !== null);
  terminal.out(fields.map(([name, value]) => `${name.padEnd(9)} ${oneLine(String(value))}`).join("\n"));
  terminal.out(`body      ${oneLine(body)}\n\nnext: mpo-relay dlq redrive ${letter.id}${sameConfig(options.config)}`);
}
