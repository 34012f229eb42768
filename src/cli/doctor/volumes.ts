/** The volumes of embedded queues: is there room for what comes while a cluster is away? */
import { statfs } from "node:fs/promises";
import { resolveQueue } from "../../config.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import type { Surroundings } from "./surroundings.ts";

const MIB = 1024 * 1024;
/** From here on the database itself may find no room for its journal. */
const NOTHING_BYTES = 10 * MIB;
const LITTLE_BYTES = 100 * MIB;
const LITTLE_PART = 0.1;
/** Room for 50,000 of the largest records: of a large volume that is plenty, whatever part of it. */
const PLENTY_BYTES = 10 * 1024 * MIB;

export interface Room {
  /** Bytes; free for us, not for root. */
  readonly free: number;
  readonly size: number;
}

export function volumeChecks({ config, env }: Surroundings): Check[] {
  const places = [
    ...Object.entries(config.clusters).map(([name, { queue }]) => ({ where: `clusters.${name}.queue`, queue })),
    { where: "unparsed", queue: config.unparsed },
  ];
  const folders = new Map<string, string>();
  for (const { where, queue } of places) {
    const folder = queue && folderOf(queue, env);
    if (folder && !folders.has(folder)) folders.set(folder, where);
  }
  return [...folders].map(([folder, where]) => ({
    name: `volume of ${folder}`,
    run: async () => {
      const room = await roomIn(folder);
      return room === null ? [] : roomFindings(where, folder, room);
    },
  }));
}

function folderOf(queue: Parameters<typeof resolveQueue>[0], env: NodeJS.ProcessEnv): string | null {
  if (queue.kind === "env") return null; // never a folder
  const form = resolveQueue(queue, env);
  return form.kind === "embedded" ? form.folder : null;
}

/** null: there is no such folder yet, which the queue's own check tells. */
async function roomIn(folder: string): Promise<Room | null> {
  const seen = await statfs(folder).catch(() => null);
  return seen && { free: seen.bavail * seen.bsize, size: seen.blocks * seen.bsize };
}

export function roomFindings(where: string, folder: string, { free, size }: Room): Finding[] {
  const part = size === 0 ? 0 : free / size;
  const what = `${textOf(free)} of ${textOf(size)} (${Math.floor(part * 100)} %) free on the volume of ${folder}`;
  if (free >= LITTLE_BYTES && (part >= LITTLE_PART || free >= PLENTY_BYTES)) return [ok(where, what)];
  const todo =
    "free some space or enlarge the volume: where it is full, deliveries are answered 503. A cluster that is away, and dead letters (mpo-relay dlq list), fill it";
  return [free < NOTHING_BYTES ? failure("VOLUME_FULL", where, what, todo) : warning("VOLUME_FULL", where, what, todo)];
}

const textOf = (bytes: number) => (bytes >= 1024 * MIB ? `${(bytes / 1024 / MIB).toFixed(1)} GiB` : `${Math.floor(bytes / MIB)} MiB`);
