/**
 * The audit: every override's status.imageDigest is what the registry's tag resolves to, or an open record or a dead letter names it.
 * It asks registry, cluster and queue themselves, and believes nothing that the relay said of its work.
 */
import { decode, type RenewRequest } from "../../src/event.ts";
import type { Queue, QueueRecord } from "../../src/queue/queue.ts";
import type { SeenOverride } from "./cluster.ts";
import { eventually } from "./wait.ts";

export interface Surroundings {
  overrides(): Promise<SeenOverride[]>;
  /** What `<module>:<tag>` resolves to in the registry. */
  resolve(module: string, tag: string): Promise<string | null>;
  /** Which digest a nudge's key stands for. The key is a hash, so only the relay can tell. */
  digests?(): Promise<ReadonlyMap<string, string>>;
}
/** What lies in a queue that nobody works on any more. */
export interface Remains {
  readonly open: readonly RenewRequest[];
  readonly buried: readonly RenewRequest[];
  /** Records and letters that can't be read, and the reasons of all letters. */
  readonly unreadable: number;
  readonly reasons: readonly string[];
}
export interface Findings {
  /** Modules whose override shows what the tag resolves to. */
  readonly right: string[];
  /** Others, each named by an open record or a dead letter. */
  readonly named: string[];
  /** Others. */
  readonly wrong: { readonly module: string; readonly shows: string | null; readonly registry: string | null }[];
  /**
   * Modules whose last push is nowhere: the override's nudges, the open records and the dead letters all know other digests. Not only its
   * newest nudge: a queue may give an older push after a newer one, and then both are nudged.
   * An override can show the right digest all the same, since Deckhouse looks at every override when it restarts.
   */
  readonly lost: string[];
}

/** A module whose override does not follow its tag, as far as registry and cluster tell. */
export async function behind({ overrides, resolve }: Pick<Surroundings, "overrides" | "resolve">): Promise<string | null> {
  for (const { metadata, spec, status } of await overrides()) {
    if ((status.imageDigest ?? null) !== (await resolve(metadata.name, spec.imageTag))) return metadata.name;
  }
  return null;
}

/** Also what a receive took whose answer never came shows again within the time below; what was read before comes twice, and counts once. */
const HIDDEN_SECONDS = 60;
const LONGEST_HIDDEN_MS = 240_000;
const EVERY_LETTER = 100_000;

/**
 * Reads every record of the queue; they stay there. Delayed ones come when their time has come, and those that a
 * worker had in hand when it went after their visibility of two minutes; the embedded queue shows the latter at once.
 */
export async function remainsOf(queue: Queue): Promise<Remains> {
  const records = new Map<string, QueueRecord>();
  const { records: count } = await queue.depth();
  await eventually(
    `all of ${count} open records can be read`,
    async () => {
      if (records.size >= count) return records;
      for (const record of await queue.receive({ max: 100, waitSeconds: 1, visibilitySeconds: HIDDEN_SECONDS }))
        records.set(record.id, record);
      return null;
    },
    LONGEST_HIDDEN_MS,
  );
  const { letters } = await queue.deadLetters.list(EVERY_LETTER);
  const [open, buried] = [requestsIn([...records.values()]), requestsIn(letters)];
  return {
    open,
    buried,
    unreadable: records.size + letters.length - open.length - buried.length,
    reasons: letters.map(({ code, text }) => `${code}: ${text}`),
  };
}

const requestsIn = (bodies: readonly { body: string }[]): RenewRequest[] =>
  bodies.flatMap(({ body }) => {
    const read = decode(body);
    return read.kind === "request" ? [read.request] : [];
  });

export async function audit(
  { overrides, resolve, digests }: Surroundings,
  { open, buried }: Pick<Remains, "open" | "buried">,
): Promise<Findings> {
  const findings: Findings = { right: [], named: [], wrong: [], lost: [] };
  const digestOf = await digests?.();
  for (const { metadata, spec, status } of await overrides()) {
    const module = metadata.name;
    const shows = status.imageDigest ?? null;
    const registry = await resolve(module, spec.imageTag);
    const naming = [...open, ...buried].filter((request) => request.module === module && request.tag === spec.imageTag);
    if (shows === registry) findings.right.push(module);
    else if (naming.length > 0) findings.named.push(module);
    else findings.wrong.push({ module, shows, registry });
    const nudged = nudgesOn(metadata.annotations).map((key) => digestOf?.get(key));
    const known = [metadata.annotations["mpo-relay/digest"], ...nudged, ...naming.map(({ digest }) => digest)];
    if (registry !== null && !known.includes(registry)) findings.lost.push(module);
  }
  return findings;
}

/** The keys of an override's newest nudge and of those before it, as src/nudge.ts writes them. */
function nudgesOn(annotations: Readonly<Record<string, string>>): string[] {
  const { "mpo-relay/key": newest = "", "mpo-relay/recent": recent = "" } = annotations;
  return [newest.replace(/\.\d+$/, ""), ...recent.split(" ")].filter((key) => key !== "");
}

/** One line for the run's log. */
export function describe({ right, named, wrong, lost }: Findings, { open, buried, unreadable }: Remains): string {
  const overrides = `${right.length} overrides right, ${named.length} not yet and named, ${wrong.length} wrong, ${lost.length} pushes lost`;
  return `audit: ${overrides}; ${open.length} open records, ${buried.length} dead letters, ${unreadable} unreadable`;
}
