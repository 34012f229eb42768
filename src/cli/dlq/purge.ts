/** `dlq purge`: removes dead letters for good, after a question. */
import { decode } from "../../event.ts";
import { counted, Failure, oneLine } from "../terminal.ts";
import { type Call, type DescribedLetter, failUnlessAll, type Settled, type Unseen, visit } from "./letters.ts";

export async function purge(call: Call): Promise<void> {
  const { options, terminal } = call;
  const isSure = options.yes === true && !options.dryRun;
  const found: Settled[] = [];
  const unseen = await visit(call, async (letter) => {
    found.push(settledOf(letter, isSure));
    if (!options.json) terminal.out(`${letter.id}  ${oneLine(whatOf(letter))}`);
    return isSure ? remove(letter, call) : "keep";
  });
  const isRemoved = isSure || (await isConfirmed(call, found.length));
  const removed = isSure || !isRemoved ? found : await removeThose(call, new Set(found.map(({ id }) => id)), unseen);
  if (options.json) {
    terminal.out(JSON.stringify({ dryRun: options.dryRun === true, letters: removed, failed: unseen.failed }));
  } else {
    terminal.out(`${counted(removed.length, "dead letter")} ${isRemoved ? "removed" : "would be removed"}`);
  }
  if (!isRemoved && found.length > 0) {
    if (!options.dryRun)
      throw new Failure(2, "nothing was removed", "say --yes to remove them for good; `mpo-relay dlq export` keeps a copy");
    if (!options.json) terminal.out("next: the same without --dry-run");
  }
  failUnlessAll(call, removed, unseen);
}

/** A person types how many, and so has read it; a script says --yes. */
async function isConfirmed({ options, terminal, interrupted }: Call, count: number): Promise<boolean> {
  if (options.dryRun || options.json || count === 0 || !terminal.ask) return false;
  const answer = await terminal.ask(`Remove ${counted(count, "dead letter")} for good? Type ${count} to do it: `, interrupted);
  return answer.trim() === String(count);
}

/** Those that were counted, and none that came meanwhile. */
async function removeThose(call: Call, ids: ReadonlySet<string>, unseen: Unseen): Promise<Settled[]> {
  const removed: Settled[] = [];
  const now = await visit(call, async (letter) => {
    if (!ids.has(letter.id)) return "keep";
    removed.push(settledOf(letter, true));
    return remove(letter, call);
  });
  unseen.failed.push(...now.failed.filter((place) => !unseen.failed.includes(place)));
  return removed;
}

/** Told before it is gone: a crash in between leaves a letter that is said to be purged, and hides nothing. Of what is no push there is no story. */
async function remove({ body, code }: DescribedLetter, { acts, terminal }: Call): Promise<"remove"> {
  const read = decode(body);
  if (read.kind === "request") await acts.note(read.request, "PURGED", terminal.now(), { nudge: read.request.nudge, code });
  return "remove";
}

const settledOf = (letter: DescribedLetter, done: boolean): Settled => ({ id: letter.id, done, what: whatOf(letter) });
const whatOf = ({ code, image, webhook }: DescribedLetter) => `${code} ${image ?? `webhook ${webhook ?? "unknown"}`}`;
