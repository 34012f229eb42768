/** Runs the command line in this process and keeps what it says. */
import { run } from "../../src/cli/program.ts";
import type { Terminal } from "../../src/cli/terminal.ts";

export interface Said {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export const NOW = new Date("2026-06-01T12:00:00.000Z");

/** `ask`: somebody sits in front of it. */
export async function mpoRelay(args: readonly string[], env: NodeJS.ProcessEnv = {}, now = NOW, ask?: Terminal["ask"]): Promise<Said> {
  const [out, err]: [string[], string[]] = [[], []];
  const said = { out: (text: string) => void out.push(text), err: (text: string) => void err.push(text) };
  const exitCode = await run(args, { ...said, env, now: () => now, ...(ask && { ask }) });
  return { exitCode, out: out.join("\n"), err: err.join("\n") };
}
