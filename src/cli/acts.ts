/** What a person does to pushes by a command, written into the relay's journal: who, what, why. */
import { hostname, userInfo } from "node:os";
import { type Command, Option } from "commander";
import type { RelayConfig } from "../config.ts";
import { entryOf, type Stage, type Told } from "../journal/journal.ts";
import { type Journals, openJournals, PATIENCE_MS } from "../journals.ts";
import type { Detail } from "../outcome.ts";
import { oneLine, type Terminal } from "./terminal.ts";

export interface ActOptions {
  readonly by?: string;
  readonly why?: string;
}

export function withActOptions(command: Command): Command {
  return command
    .addOption(new Option("--why <text>", "why, for the journal (mpo-relay history)"))
    .addOption(new Option("--by <name>", "who, for the journal (default: your user name and this host's name)"));
}

export interface Acts {
  /** What was done, or what came of it; `detail` goes before what the options say. Never throws: a journal that cannot be written is told once, and what is done is done without it. */
  note(told: Told, stage: Stage, at: Date, detail?: Detail): Promise<void>;
  close(): Promise<void>;
}

/** Opens the journal with the first note. */
export function openActs(config: Pick<RelayConfig, "journal" | "clusters">, options: ActOptions, terminal: Terminal): Acts {
  let opening: Promise<Journals> | null = null;
  let isAway = false;
  const alarm = (_code: string, { why }: { readonly [field: string]: unknown }) => {
    isAway = true;
    terminal.err(`warning: who did this and why is not in the journal: ${oneLine(String(why))}`);
  };
  const open = () => openJournals(config, { observer: { outcome() {}, alarm }, patienceMs: PATIENCE_MS, env: terminal.env, create: false });
  return {
    async note(told, stage, at, detail = {}) {
      if (isAway) return;
      opening ??= open();
      const { note } = await opening;
      await note([entryOf(told, stage, at.toISOString(), { by: whoOf(options), why: options.why ?? null, ...detail })]);
    },
    close: async () => (await opening)?.close(),
  };
}

function whoOf({ by }: ActOptions): string {
  if (by !== undefined) return by;
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return `someone@${hostname()}`; // a container's user without a name: https://nodejs.org/api/os.html#osuserinfooptions
  }
}
