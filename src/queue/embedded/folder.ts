/** The rules of the queue's folder: when a file may be created, and what to say when it is not there or not whole. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RelayError } from "../../outcome.ts";

/** `marker` says that a queue was created here once: without it, a lost file would be replaced by an empty one in silence. */
export const FILES = {
  database: "queue.db",
  marker: "queue.marker",
  lock: "queue.lock",
  socket: "relay.sock",
  journal: "journal.db",
} as const;

const MARKER_TEXT = `The queue of mpo-relay lives in this folder: queue.db (and queue.db-wal while it is open).
Back up with: sqlite3 queue.db ".backup 'copy.db'"
This file tells a queue that was lost from one that never was; leave it here.
`;
/** Beside those of the lock, a new volume has this one: https://man7.org/linux/man-pages/man8/mklost+found.8.html */
const { lock, socket, journal } = FILES;
const NOT_OURS = new Set<string>(["lost+found", lock, `${lock}-journal`, socket, journal, `${journal}-wal`, `${journal}-shm`]);
const UNFINISHED = ".queue.db.new";

/** A clear refusal: what is wrong and what to do about it. */
export function refusal(folder: string, what: string, remedy: string): RelayError {
  return new RelayError("QUEUE_UNAVAILABLE", `queue folder ${folder}: ${what}. ${remedy}`);
}

/** How to go on after a loss. Never does it by itself: the records in a damaged file may be all there is of a push. */
export function damaged(folder: string, what: string): RelayError {
  const { database, marker } = FILES;
  return refusal(
    folder,
    what,
    `To restore: stop mpo-relay, copy ${database} back from a backup (delete ${database}-wal and ${database}-shm unless they are of the same backup), start again. ` +
      `To begin with an empty queue and knowingly lose its records: delete ${database}, ${database}-wal, ${database}-shm and ${marker}`,
  );
}

/** Looks before SQLite does, since SQLite takes a missing or empty file for a new database. Throws QUEUE_UNAVAILABLE. */
export function inspect(folder: string): "whole" | "new" {
  const path = join(folder, FILES.database);
  if (existsSync(path)) {
    if (statSync(path).size === 0) throw damaged(folder, `${FILES.database} is empty (0 bytes)`);
    return "whole";
  }
  if (existsSync(join(folder, FILES.marker))) throw damaged(folder, `${FILES.database} is missing although ${FILES.marker} is there`);
  const others = readdirSync(folder).filter((name) => !NOT_OURS.has(name) && !name.startsWith(UNFINISHED));
  if (others.length > 0) {
    const names = others.slice(0, 3).join(", ") + (others.length > 3 ? ", …" : "");
    throw refusal(folder, `it holds no queue, and is not empty (${names})`, "A queue is created in an empty folder only: name another one");
  }
  return "new";
}

export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    throw refusal(folder, `it cannot be created (${codeOf(thrown)})`, "Check the path and its permissions");
  }
}

/**
 * A file of SQLite's, made before SQLite does, which would let others read it, and so lock it too. Never opened when it is there:
 * closing it again would drop a lock that this very process holds (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
 */
export function makePrivateFile(folder: string, name: string): string {
  const path = join(folder, name);
  if (!existsSync(path)) writeFileSync(path, "", { mode: 0o600, flag: "a" });
  return path;
}

/** Puts a file made by `build` in its place in one step, so that a crash leaves a whole database or none. */
export function createDatabase(folder: string, build: (path: string) => void): void {
  const unfinished = join(folder, UNFINISHED);
  // A creation that was cut off may have left these, and SQLite would play its journal into the new file.
  for (const left of [unfinished, `${unfinished}-journal`]) rmSync(left, { force: true });
  writeFileSync(unfinished, "", { mode: 0o600 });
  build(unfinished);
  renameSync(unfinished, join(folder, FILES.database));
  syncFolder(folder);
}

/** Only once the database stands: a crash in between must not look like a loss. */
export function mark(folder: string): void {
  const path = join(folder, FILES.marker);
  if (existsSync(path)) return;
  writeFileSync(path, MARKER_TEXT, { mode: 0o600, flush: true });
  syncFolder(folder);
}

/** A new name is durable only when its folder is: https://man7.org/linux/man-pages/man2/fsync.2.html (Windows opens no folders). */
function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && "code" in thrown ? String(thrown.code) : "unknown error";
}
