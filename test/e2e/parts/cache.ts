/** Where the real parts lie once they are built: outside the repository, a folder for each part and version. */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { alone } from "./lock.ts";

export interface Part {
  readonly name: string;
  /** Version or hash: another one is another folder. */
  readonly version: string;
  /** What the first build costs, for the progress line. */
  readonly cost: string;
  /** Fills the empty folder, which then moves to `place`. */
  build(folder: string, place: string): Promise<void>;
}

/** `MPO_RELAY_E2E_CACHE`, else `mpo-relay-e2e` in the user's cache folder. */
const cacheRoot = (): string =>
  process.env["MPO_RELAY_E2E_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "mpo-relay-e2e");

/** The part's folder. Built when absent, by one run at a time, elsewhere, and moved here when complete, so that no run ever sees half of it. */
export async function install(part: Part): Promise<string> {
  const folder = join(cacheRoot(), `${part.name}-${part.version}`);
  if (await isFilled(folder)) return folder;
  const build = async () => void ((await isFilled(folder)) || (await fill(folder, part)));
  await alone(hashOf(folder), build, () => say(`${part.name}: another run is at it, waiting`));
  return folder;
}

async function fill(folder: string, part: Part): Promise<void> {
  const draft = join(cacheRoot(), `.draft-${randomUUID()}`);
  await mkdir(draft, { recursive: true });
  const since = Date.now();
  const elapsed = () => `${Math.round((Date.now() - since) / 1000)} s`;
  say(`${part.name} ${part.version}: installing (${part.cost}) into ${cacheRoot()}`);
  const ticker = setInterval(() => say(`${part.name}: still at it after ${elapsed()}`), 30_000);
  try {
    await part.build(draft, folder);
    await rename(draft, folder).catch(async (error: unknown) => {
      if (!(await isFilled(folder))) throw error; // else a run of another container was quicker
    });
    say(`${part.name}: installed in ${elapsed()}`);
  } finally {
    clearInterval(ticker);
    await rm(draft, { recursive: true, force: true });
  }
}

/** A short name for the content that a build depends on. */
export const hashOf = (...inputs: readonly (string | Buffer)[]): string => {
  const hash = createHash("sha256");
  for (const input of inputs) hash.update(input).update("\0");
  return hash.digest("hex").slice(0, 16);
};

export const say = (line: string): void => void process.stderr.write(`e2e: ${line}\n`);

const isFilled = async (folder: string): Promise<boolean> => (await readdir(folder).catch(() => [])).length > 0;
