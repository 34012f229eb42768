/** What `mpo-relay doctor` says of one thing, and what looks for it. */
import { oneLine } from "../terminal.ts";

export interface Finding {
  readonly level: "ok" | "warning" | "error";
  /** Stable, for scripts; `OK` where all is well. */
  readonly code: string;
  /** The setting that it is about: `clusters.dev.queue`. */
  readonly where: string;
  /** Holds no secret. */
  readonly what: string;
  /** null where there is nothing to do. */
  readonly todo: string | null;
}

/** Looks at one thing and changes nothing. What it throws is told as a finding. */
export interface Check {
  readonly name: string;
  run(): Promise<Finding[]>;
}

export const ok = (where: string, what: string): Finding => ({ level: "ok", code: "OK", where, what: oneLine(what), todo: null });
export const warning = (code: string, where: string, what: string, todo: string): Finding => found("warning", code, where, what, todo);
export const failure = (code: string, where: string, what: string, todo: string): Finding => found("error", code, where, what, todo);

const found = (level: Finding["level"], code: string, where: string, what: string, todo: string): Finding => ({
  level,
  code,
  where,
  what: oneLine(what),
  todo,
});

const NAMED = 10;
/** `a, b and 3 more`. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, NAMED).join(", ");
  return names.length > NAMED ? `${shown} and ${names.length - NAMED} more` : shown;
}
