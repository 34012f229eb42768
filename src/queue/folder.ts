/** A queue folder, whoever owns it: for commands that may run beside `mpo-relay serve` or alone. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type EmbeddedStore, FolderInUse, openEmbedded, peekEmbedded } from "./embedded.ts";
import { toRelayError } from "../outcome.ts";
import { FILES, refusal } from "./embedded/folder.ts";
import { openHub, serveHub } from "./hub.ts";
import type { Queue } from "./queue.ts";

/** Owners that serve nothing hold the lock for moments only. */
const TRIES = 20;
const PAUSE_MS = 100;
const HANGS_MS = 5_000;

/**
 * The queue of that name, by the socket of the folder's owner; where nobody owns the folder, this process does until `close`.
 * Creates nothing. Throws QUEUE_UNAVAILABLE: no queue there, damaged, or an owner that does not answer. One whose volume is full answers:
 * what lies there can be looked at, and each call that would store something throws.
 */
export async function openFolder(folder: string, name: string): Promise<Queue> {
  for (let tries = 1; ; tries++) {
    try {
      return await own(openEmbedded(folder, { create: false, lockTimeoutMs: 0 }), name);
    } catch (thrown) {
      if (!(thrown instanceof FolderInUse)) throw thrown;
      const guest = openHub({ socketPath: join(folder, FILES.socket), queue: name });
      const trouble = await troubleWith(guest);
      if (trouble === null) return guest;
      if (tries === TRIES || trouble.hangs) throw existsSync(join(folder, FILES.socket)) ? silent(folder, trouble.why) : thrown;
    }
    await sleep(PAUSE_MS);
  }
}

/**
 * What lies in the queue of that name, without a lock and without a change: by the owner's socket, or where nobody answers there by the file.
 * Throws QUEUE_UNAVAILABLE: no queue there, or damaged.
 */
export async function lookIntoFolder(
  folder: string,
  name: string,
): Promise<{ records: number; oldestSeconds: number | null; letters: number; isOwned: boolean }> {
  const socketPath = join(folder, FILES.socket);
  const guest = existsSync(socketPath) ? openHub({ socketPath, queue: name }) : null;
  if (!guest) return { ...peekEmbedded(folder, name), isOwned: false };
  try {
    return { ...(await guest.depth()), letters: await guest.deadLetters.count(), isOwned: true };
  } catch {
    return { ...peekEmbedded(folder, name), isOwned: false }; // a socket that a dead owner left
  } finally {
    await guest.close();
  }
}

/** An owner serves: so the next command beside us, or our own next queue, comes in by the same way. */
async function own(store: EmbeddedStore, name: string): Promise<Queue> {
  try {
    const hub = await serveHub(store);
    return openHub({
      socketPath: join(store.folder, FILES.socket),
      queue: name,
      async closed() {
        await hub.close();
        await store.close();
      },
    });
  } catch (thrown) {
    await store.close();
    throw thrown;
  }
}

/** null: it answers. Whether it can store is for whoever stores. `hangs`: another try would wait for as long again. */
async function troubleWith(guest: Queue): Promise<{ readonly why: string; readonly hangs: boolean } | null> {
  const sentAt = Date.now();
  try {
    await guest.depth();
    return null;
  } catch (thrown) {
    await guest.close();
    return { why: toRelayError(thrown).message, hangs: Date.now() - sentAt >= HANGS_MS };
  }
}

const silent = (folder: string, why: string) =>
  refusal(
    folder,
    `the relay that runs on it does not answer: ${why}`,
    "Is its volume full, or does it hang? mpo-relay doctor and its log tell",
  );
