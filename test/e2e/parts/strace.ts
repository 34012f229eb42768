/** strace, which writes down the system calls of a program as it makes them: https://man7.org/linux/man-pages/man1/strace.1.html */
import { join } from "node:path";
import { install } from "./cache.ts";
import { debianPart } from "./debian.ts";

export const strace = debianPart("strace", "6.1", ["libunwind8"]);

/**
 * What stands before a command so that its calls of these names go into `file`, with paths and the first `bytes` of what is written.
 * The program stays our own child, which signals reach: it is the tracer that is the grandchild.
 */
export async function traced(
  calls: readonly string[],
  bytes: number,
  file: string,
): Promise<{ by: readonly string[]; env: NodeJS.ProcessEnv }> {
  const folder = await install(strace);
  const options = ["-D", "-f", "-y", "--seccomp-bpf", "-s", String(bytes), "-e", `trace=${calls.join(",")}`, "-o", file];
  return { by: [join(folder, "usr/bin/strace"), ...options], env: {} };
}

/** What stands before a command so that a file at this path takes so much longer to be written, in place or by a rename. Reading it does not. */
export async function slowedWrites(path: string, ms: number, log: string): Promise<readonly string[]> {
  const folder = await install(strace);
  const calls = "write,renameat,renameat2";
  const options = ["-D", "-f", "-e", `trace=${calls}`, "-e", `inject=${calls}:delay_enter=${ms * 1000}`, "-P", path, "-o", log];
  return [join(folder, "usr/bin/strace"), ...options];
}
