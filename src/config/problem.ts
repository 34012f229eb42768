/** What is wrong in a configuration, for people: where, what, and what to write instead. Never a value of the file, which could be a secret. */
import type * as z from "zod";

/** `path` is dotted, "" for the whole file. */
export interface Problem {
  readonly path: string;
  readonly message: string;
  readonly hint: string | null;
}

/** In one line. */
export const problemText = ({ path, message, hint }: Problem) => `${path || "(file)"}: ${message}${hint ? ` (${hint})` : ""}`;

/** A key that is there, with whatever value but null. */
export const isGiven = (value: unknown) => value !== undefined && value !== null;

/** How a rule tells of one. */
export type Tell = (path: readonly PropertyKey[], message: string, hint?: string | null) => void;

/** Why a text is not the form that was asked for. */
export class Refusal {
  readonly message: string;
  readonly hint: string | null;

  constructor(message: string, hint: string | null = null) {
    this.message = message;
    this.hint = hint;
  }
}

/** `webhooks.harbor.secret`, `sources[0].repo`; keys that are no plain word are quoted. */
export function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => {
      if (typeof part === "number") return `[${part}]`;
      const word = String(part);
      const shown = /^[\w-]+$/.test(word) ? word : JSON.stringify(word.slice(0, 80));
      return index === 0 ? shown : `.${shown}`;
    })
    .join("");
}

/** Every issue of a zod error as a problem. */
export function problemsOf(error: z.ZodError): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    if (issue.code === "unrecognized_keys") {
      const hints = issue.message.split("\n"); // one per key: see block() in schema.ts
      return issue.keys.map((key, index) => ({ path: pathText([...issue.path, key]), message: "unknown key", hint: hints[index] ?? null }));
    }
    const inner = issue.code === "invalid_key" ? issue.issues[0] : undefined;
    return [{ path: pathText(issue.path), message: plain(inner?.message ?? issue.message), hint: hintOf(issue) }];
  });
}

/** zod's words for what was written and what belongs there, in those of whoever writes such a file. */
function plain(message: string): string {
  const said = message.replace(/^(?:Invalid (?:input|option)|Too (?:small|big)): /, "");
  const [, expected = "", received = ""] = /^expected (\w+), received (\w+)$/.exec(said) ?? [];
  const [wanted, found] = [KINDS[expected], KINDS[received]];
  if (wanted === undefined) return said;
  return received === "undefined" ? `is missing: expected ${wanted}` : `expected ${wanted}, not ${found ?? received}`;
}
const KINDS: Readonly<Record<string, string>> = {
  object: "keys with values",
  record: "names, each with keys and values",
  array: "a list",
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  null: "nothing",
};

function hintOf(issue: z.core.$ZodIssue): string | null {
  const hint: unknown = issue.code === "custom" ? issue.params?.["hint"] : null;
  return typeof hint === "string" ? hint : null;
}

/** `did you mean "secret"?`, or the list of what is known. */
export function suggestion(word: string, known: readonly string[]): string {
  const near = known
    .map((each) => ({ each, distance: editDistance(word.toLowerCase(), each.toLowerCase()) }))
    .filter(({ each, distance }) => distance <= Math.max(1, Math.floor(each.length / 3)))
    .sort((a, b) => a.distance - b.distance)[0];
  return near ? `did you mean "${near.each}"?` : `known: ${known.join(", ")}`;
}

/** Levenshtein's distance, row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const swap = (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(swap, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
