/** `dlq export` and `dlq import`: dead letters as JSON lines, one letter a line. */
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import * as z from "zod";
import { problems } from "../../event.ts";
import { checkSize } from "../../queue/body.ts";
import type { NewDeadLetter } from "../../queue/queue.ts";
import { counted, Failure, messageOf } from "../terminal.ts";
import { type Call, incompleteText, placesOf, visit } from "./letters.ts";

/** `cluster` is the place: a cluster's name, or `unparsed`. The id is left out: a queue gives each letter one of its own. */
const line = z.object({
  v: z.literal(1),
  cluster: z.string(),
  code: z.string().min(1).max(100),
  text: z.string(),
  attempts: z.int().min(0),
  firstAt: z.iso.datetime(),
  lastAt: z.iso.datetime(),
  body: z.string().min(1),
});
type Line = z.infer<typeof line>;

/** Ends with 1 where it may not be all: what is purged after an incomplete export is lost. */
export async function exportLetters(call: Call): Promise<void> {
  const { terminal } = call;
  let count = 0;
  const unseen = await visit(call, async ({ place, code, text, attempts, firstAt, lastAt, body }) => {
    const written: Line = { v: 1, cluster: place, code, text, attempts, firstAt, lastAt, body };
    terminal.out(JSON.stringify(written));
    count += 1;
    return "keep";
  });
  terminal.err(
    `${counted(count, "dead letter")} exported${unseen.cut.length > 0 ? `, and more in ${unseen.cut.join(", ")} (--limit)` : ""}`,
  );
  const incomplete = incompleteText(unseen);
  if (unseen.failed.length > 0) throw new Failure(1, `could not look at ${unseen.failed.join(", ")}`);
  if (unseen.isStopped) throw new Failure(1, "stopped before the end: this is not all");
  if (incomplete !== null) throw new Failure(1, incomplete, "do not purge before an export ends without this");
}

/** Reads all of it before it stores anything. */
export async function importLetters(file: string, call: Call): Promise<void> {
  const { desk, options, selection, terminal, interrupted } = call;
  const { letters, bad } = await read(file, placesOf(call.config), selection.places);
  if (bad.length > 0) {
    const named = [...bad.slice(0, MOST_NAMED), ...(bad.length > MOST_NAMED ? [`… and ${bad.length - MOST_NAMED} more`] : [])];
    if (!options.skipBad) {
      throw new Failure(
        1,
        `nothing was imported: ${counted(bad.length, "line")} of ${file} hold no dead letter`,
        ...named,
        "--skip-bad imports the others",
      );
    }
    terminal.err(named.join("\n"));
  }
  let stored = 0;
  for (const { number, place, letter } of letters) {
    try {
      if (interrupted.aborted) throw new Error("stopped");
      await (await desk.lettersOf(place)).put(letter);
    } catch (error) {
      throw new Failure(
        1,
        `line ${number}: ${messageOf(error)}`,
        `${counted(stored, "dead letter")} imported; the rest is in the lines from ${number} on: \`tail -n +${number} ${file} | mpo-relay dlq import -\``,
      );
    }
    stored += 1;
    if (stored % PROGRESS_EVERY === 0) terminal.err(`${stored} of ${letters.length} imported`);
  }
  if (options.json) terminal.out(JSON.stringify({ imported: stored, refused: bad }));
  else terminal.out(`${counted(stored, "dead letter")} imported${bad.length > 0 ? `, ${counted(bad.length, "line")} left out` : ""}`);
}

const MOST_NAMED = 20;
const PROGRESS_EVERY = 1000;

interface Read {
  readonly letters: { number: number; place: string; letter: NewDeadLetter }[];
  readonly bad: string[];
}

async function read(file: string, known: readonly string[], wanted: readonly string[]): Promise<Read> {
  const found: Read = { letters: [], bad: [] };
  const input = file === "-" ? process.stdin : createReadStream(file);
  try {
    if (file !== "-") await once(input, "open");
  } catch (error) {
    throw new Failure(2, `cannot read ${file}: ${messageOf(error)}`);
  }
  let number = 0;
  for await (const text of createInterface({ input, crlfDelay: Infinity })) {
    number += 1;
    if (text.trim() === "") continue;
    const letter = letterOf(text);
    if (typeof letter === "string") found.bad.push(`line ${number}: ${letter}`);
    else if (wanted.includes(letter.cluster)) {
      const { v: _v, cluster: place, ...rest } = letter;
      found.letters.push({ number, place, letter: rest });
    } else if (!known.includes(letter.cluster)) {
      found.bad.push(`line ${number}: no cluster "${letter.cluster}" in the configuration`);
    }
  }
  return found;
}

/** The letter, or why it is none; nothing of the line gets into that. */
function letterOf(text: string): Line | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return "not JSON";
  }
  const parsed = line.safeParse(json);
  if (!parsed.success) return problems(parsed.error);
  try {
    checkSize(parsed.data.body);
  } catch (error) {
    return messageOf(error);
  }
  return parsed.data;
}
