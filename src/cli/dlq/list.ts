/** `dlq list`: dead letters by their reason, and beside them the records that still wait. Changes nothing. */
import { type Reason, tally, whatToDo } from "../../reasons.ts";
import { sameConfig } from "../configuration.ts";
import { counted, Failure, oneLine, span, table } from "../terminal.ts";
import { type Call, type DescribedLetter, incompleteText, type Selection, type Unseen, UNPARSED, visit } from "./letters.ts";

const WHY_LENGTH = 100;

/** A cluster's records that are no dead letters. null: it could not be asked; `oldestSeconds` also where the service does not say. */
interface Waiting {
  readonly cluster: string;
  readonly records: number | null;
  readonly oldestSeconds: number | null;
}
type Listed = Omit<DescribedLetter, "body">;

/** Ends with 3 where there are dead letters. */
export async function list(call: Call): Promise<void> {
  const { options, terminal } = call;
  const waiting = await waitingRecords(call);
  const reasons = new Map<string, Reason>();
  const examples = new Map<string, Listed>();
  const letters: Listed[] = [];
  const unseen = await visit(call, async ({ body: _body, ...letter }) => {
    tally(reasons, letter);
    if (reasons.get(letter.code)?.example === letter.id) examples.set(letter.code, letter);
    if (options.each || options.json) letters.push(letter);
    return "keep";
  });
  const groups = [...reasons.values()].toSorted((a, b) => b.count - a.count);
  const total = groups.reduce((sum, { count }) => sum + count, 0);
  if (options.json) {
    const said = {
      reasons: groups.map((group) => ({ ...group, advice: whatToDo(group.code) })),
      letters: letters.map(({ place, ...letter }) => ({ cluster: place, ...letter })),
      waiting,
      total,
      more: unseen.cut.length > 0,
      incomplete: unseen.incomplete,
      failed: unseen.failed,
    };
    terminal.out(JSON.stringify(said));
  } else {
    if (total === 0) tellNone(call, unseen);
    else if (options.each) tellEach(call, letters);
    else tellReasons(call, groups, examples);
    tellRest(call, { unseen, total, waiting, example: groups[0]?.example });
  }
  if (unseen.failed.length > 0) throw new Failure(1, `could not look at ${unseen.failed.join(", ")}`);
  if (unseen.isStopped) throw new Failure(1, "stopped before the end: this is not all");
  if (total > 0) throw new Failure(3);
}

async function waitingRecords({ desk, selection }: Call): Promise<Waiting[]> {
  const unknown = { records: null, oldestSeconds: null }; // a queue that cannot be opened is told by the visit
  const clusters = selection.places.filter((place) => place !== UNPARSED);
  return Promise.all(clusters.map(async (cluster) => ({ cluster, ...(await desk.depthOf(cluster).catch(() => unknown)) })));
}

function tellNone({ selection, terminal }: Call, { failed }: Unseen): void {
  const places = selection.places.filter((place) => !failed.includes(place));
  if (places.length > 0) terminal.out(`no dead letters${filterText(selection)} (looked at: ${places.join(", ")})`);
}

function tellReasons({ terminal }: Call, groups: readonly Reason[], examples: ReadonlyMap<string, Listed>): void {
  const now = terminal.now().getTime();
  const rows = groups.map(({ code, count, oldestAt, example }) => {
    const letter = examples.get(code);
    const why = letter ? `${whatOf(letter)}: ${oneLine(letter.text).slice(0, WHY_LENGTH)}` : "";
    return [code, String(count), span(now - Date.parse(oldestAt)), example, why];
  });
  terminal.out(table(["REASON", "COUNT", "OLDEST", "EXAMPLE", "WHY"], rows));
  terminal.out("\nwhat to do:");
  for (const { code, expiresAt } of groups) {
    const end = expiresAt === null ? "" : ` (the first of them is deleted by the queue service in ${span(Date.parse(expiresAt) - now)})`;
    terminal.out(`  ${code}: ${whatToDo(code)}${end}`);
  }
}

function tellEach({ terminal }: Call, letters: readonly Listed[]): void {
  const now = terminal.now().getTime();
  const rows = letters.map((letter) => {
    const { id, code, lastAt, text } = letter;
    return [id, code, whatOf(letter), span(now - Date.parse(lastAt)), oneLine(text).slice(0, WHY_LENGTH)];
  });
  terminal.out(table(["ID", "CODE", "WHAT", "AGE", "WHY"], rows));
}

const whatOf = ({ module, tag, webhook }: Listed) => (module === null ? `webhook ${webhook ?? "unknown"}` : `${module}:${tag}`);

interface Rest {
  readonly unseen: Unseen;
  readonly total: number;
  readonly waiting: readonly Waiting[];
  readonly example: string | undefined;
}

function tellRest({ options, terminal }: Call, { unseen, total, waiting, example }: Rest): void {
  const config = sameConfig(options.config);
  if (total > 0) {
    const cut = unseen.cut.length > 0 ? `, and more in ${unseen.cut.join(", ")} (--limit)` : "";
    terminal.out(`\n${counted(total, "dead letter")}${cut}`);
  }
  const rows = waiting.filter(({ cluster, records }) => records !== 0 && !unseen.failed.includes(cluster)).map(waitingText);
  if (rows.length > 0) terminal.out(`waiting, and tried again by themselves (${NO_TROUBLE}): ${rows.join("; ")}`);
  const incomplete = incompleteText(unseen);
  if (incomplete !== null) terminal.out(incomplete);
  if (example === undefined) return;
  terminal.out(
    `next: mpo-relay dlq show ${example}${config}\n      mpo-relay dlq list --each${config}\n      mpo-relay dlq redrive --all --dry-run${config}`,
  );
}

/** A queue counts records, and not what they are for. */
const NO_TROUBLE = "no trouble without an alarm in the log: looks at what became of a push are among them, for an hour after it";

/** A deferral stores anew, so this is no record's whole age. */
function waitingText({ cluster, records, oldestSeconds }: Waiting): string {
  if (records === null) return `${cluster} unknown`;
  const since = oldestSeconds === null ? "" : `, the oldest stored ${span(oldestSeconds * 1000)} ago`;
  return `${cluster} ${counted(records, "record")}${since}`;
}

/** Said again, since a mistyped filter looks like an empty queue. */
function filterText({ code, module }: Selection): string {
  const filters = [...(code === null ? [] : [`the code ${code}`]), ...(module === null ? [] : [`the module ${module}`])];
  return filters.length === 0 ? "" : ` with ${filters.join(" and ")}`;
}
