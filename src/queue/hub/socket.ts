/** Where the socket of a queue folder can be bound and reached, also where its path is too long for the system. */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { refusal } from "../embedded/folder.ts";

/** `sun_path` holds 104 bytes on macOS and 108 on Linux, and longer paths would be cut in silence: https://man7.org/linux/man-pages/man7/unix.7.html */
const LONGEST_PATH = 103;

export interface SocketPlace {
  readonly path: string;
  /** Once nothing binds, connects or unlinks there any more. */
  release(): void;
}

/** Throws QUEUE_UNAVAILABLE where the path is too long and there is no way around it. */
export function socketPlace(folder: string, name: string): SocketPlace {
  const path = join(folder, name);
  if (Buffer.byteLength(path) <= LONGEST_PATH) return { path, release: () => {} };
  if (process.platform !== "linux") {
    throw refusal(folder, `the path of its ${name} is longer than ${LONGEST_PATH} bytes`, "Name a folder with a shorter path");
  }
  // The folder by its open handle: a short path to the same place, https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html
  const handle = openSync(folder, "r");
  return { path: `/proc/self/fd/${handle}/${name}`, release: () => closeSync(handle) };
}
