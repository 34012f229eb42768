/** What the relay tells: one wide line per outcome, and alarms. JSON lines by pino; readable ones on a terminal. */
import { pino, type DestinationStream } from "pino";
import { oneLine } from "./one-line.ts";
import type { AlarmCode } from "./outcome.ts";

/** `delivery`: at the edge. `record`: a consumed record. `process`: start and stop of a process. `adoption`: a scan interval was changed. */
export interface OutcomeLine {
  readonly event: "delivery" | "record" | "process" | "adoption";
  /** DoneCode, SkipReason, error code, or "DEFERRED". */
  readonly outcome: string;
  readonly key?: string;
  readonly [field: string]: unknown;
}
export interface AlarmLine {
  /** What it means and what to do. */
  readonly what: string;
  readonly key?: string;
  readonly [field: string]: unknown;
}
export interface Observer {
  outcome(line: OutcomeLine): void;
  /** One line with `alarm: code` and its page in the runbook; src/metrics/ counts them. Alert rules are built on these. */
  alarm(code: AlarmCode, line: AlarmLine): void;
}

/** Where the runbook says what to do, word by word. A heading's anchor is its text in small letters. */
const pageOf = (code: AlarmCode) => `infra/runbook.md#${code.toLowerCase()}`;

/** Lines to `destination`, one JSON object each. Callers name every field: nothing that was not meant for a log gets into one. */
export function logTo(destination: DestinationStream): Observer {
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, messageKey: "message", formatters: { level: (level) => ({ level }) } },
    destination,
  );
  return {
    outcome: (line) => logger.info(line),
    alarm: (code, { what, ...line }) => logger.error({ alarm: code, ...line, page: pageOf(code) }, what),
  };
}

/** The process's own log, on stderr or stdout: readable where a person looks at it, JSON lines everywhere else. */
export async function processLog(stream: NodeJS.WriteStream = process.stdout): Promise<Observer> {
  if (!stream.isTTY) return logTo(stream);
  const { build } = await import("pino-pretty").then((module) => ({ build: module.default }));
  return logTo(
    build({ destination: stream, colorize: true, hideObject: true, messageFormat: sentenceOf, messageKey: "message", sync: true }),
  );
}

/** What a person looks for in a line; all of it is in the JSON lines. */
export function sentenceOf(line: Record<string, unknown>): string {
  const text = (name: string) => (typeof line[name] === "string" || typeof line[name] === "number" ? String(line[name]) : null);
  const told = line["alarm"] === undefined ? text("outcome") : `ALARM ${text("alarm")}`;
  const labelled = ["cluster", "webhook", "port", "key"].flatMap((name) => (text(name) === null ? [] : [`${name} ${text(name)}`]));
  const words = [told, text("image") ?? text("repository") ?? text("module"), ...labelled, text("why") ?? text("hint"), text("message")];
  return words.flatMap((word) => (word === null || word === "" ? [] : [oneLine(word)])).join("  ");
}

/** Tells several observers the same. */
export function toAll(...observers: readonly Observer[]): Observer {
  return {
    outcome: (line) => observers.forEach((observer) => observer.outcome(line)),
    alarm: (code, line) => observers.forEach((observer) => observer.alarm(code, line)),
  };
}
