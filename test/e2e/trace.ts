/**
 * Whether each 202 came after the sync of its record, as the kernel saw it: the bytes of the record written to the log of the queue file, then
 * an fsync of that file which succeeded, then the answer. SIGKILL alone shows none of it: what a process wrote outlives it in the page cache.
 */
export interface Traced {
  /** Keys of the pushes whose 202 was seen. */
  readonly answered: readonly string[];
  /** Those whose record was not on the disk by then. */
  readonly early: readonly string[];
  readonly syncs: number;
}

const LOG = /\/queue\.db-wal>/;
/** As a 202 names it, and a record: strace escapes the quotes of both. */
const KEY = /\\"key\\":\\"([0-9a-f]{32})\\"/g;

/** `text` is what strace wrote (`-f -y`). A call that another thread's interrupted counts when it began for an answer, and when it ended for a sync. */
export function readTrace(text: string): Traced {
  const written = new Set<string>();
  const synced = new Set<string>();
  const answered: string[] = [];
  const early: string[] = [];
  const unfinished = new Map<string, string[]>();
  let syncs = 0;
  const sync = (keys: Iterable<string>) => {
    syncs += 1;
    for (const key of keys) synced.add(key);
  };
  for (const line of text.split("\n")) {
    const [, thread = "", call = ""] = /^(\d+) +(?:<\.\.\. )?(\w+)/.exec(line) ?? [];
    const keys = () => [...line.matchAll(KEY)].map(([, key = ""]) => key);
    if (call === "pwrite64" && LOG.test(line)) for (const key of keys()) written.add(key);
    if (call === "fsync" || call === "fdatasync") {
      const begun = unfinished.get(thread);
      unfinished.delete(thread);
      if (LOG.test(line) && line.endsWith("<unfinished ...>")) unfinished.set(thread, [...written]);
      else if (LOG.test(line) && line.endsWith("= 0")) sync(written);
      else if (begun && line.endsWith("= 0")) sync(begun);
    }
    if (!line.includes('"HTTP/1.1 202 ') || line.includes(" resumed>")) continue;
    for (const key of keys()) {
      answered.push(key);
      if (!synced.has(key)) early.push(key);
    }
  }
  return { answered, early, syncs };
}
