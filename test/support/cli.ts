/** Runs the command line in this process and keeps what it says. */
import { run } from "../../src/cli/program.ts";

export interface Said {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

const NOW = new Date("2026-06-01T12:00:00.000Z");

export async function mpoRelay(args: readonly string[], env: NodeJS.ProcessEnv = {}, now = NOW): Promise<Said> {
  const [out, err]: [string[], string[]] = [[], []];
  const exitCode = await run(args, { out: (text) => void out.push(text), err: (text) => void err.push(text), env, now: () => now });
  return { exitCode, out: out.join("\n"), err: err.join("\n") };
}
