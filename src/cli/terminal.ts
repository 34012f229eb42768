/** What a command needs of the world around it, and how it fails. */
import { oneLine } from "../one-line.ts";

export { oneLine };

export interface Terminal {
  /** Results. */
  out(text: string): void;
  /** Everything else: problems, warnings, what to do next. */
  err(text: string): void;
  readonly env: NodeJS.ProcessEnv;
  now(): Date;
  /** Asks the person in front of it; given only where there is one. Resolves with "" when `signal` is aborted. */
  readonly ask?: (question: string, signal: AbortSignal) => Promise<string>;
}

/** 0: done. 1: it could not be done, or the answer is no. 2: the call or the configuration is wrong. 3: there are dead letters (`dlq list`), or something is behind (`sweep`). */
export type ExitCode = 0 | 1 | 2 | 3;

/** Ends a command. `lines` are told on stderr: first what is wrong, then what to do. */
export class Failure extends Error {
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, ...lines: string[]) {
    super(lines.join("\n"));
    this.name = "Failure";
    this.exitCode = exitCode;
  }
}

/** Runs work that the first Ctrl-C (or SIGTERM) tells to end in order; a second one ends the process as usual. */
export async function untilInterrupted<T>(work: (interrupted: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, abort);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, abort);
  }
}

/** The message of anything that was thrown, on one line. */
export function messageOf(thrown: unknown): string {
  return oneLine(thrown instanceof Error ? thrown.message : String(thrown));
}

/** Rows under a heading, in columns. */
export function table(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heading, ...rows].map((row) => row.map(oneLine));
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `3 deliveries`, `1 delivery`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** `40 s`, `3 min`, `5 h`, `2 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
