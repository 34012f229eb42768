/** What the relay tells: one wide line per outcome, and alarms. The adapter to pino is below; the sandbox listens with its own. */

/** `delivery`: at the edge. `record`: a consumed record. `process`: start and stop of a process. */
export interface OutcomeLine {
  readonly event: "delivery" | "record" | "process";
  /** DoneCode, SkipReason, error code, or "DEFERRED". */
  readonly outcome: string;
  readonly key?: string;
  readonly [field: string]: unknown;
}
export interface Observer {
  outcome(line: OutcomeLine): void;
  /** One line with `alarm: code`, what to do, and a counter. Alert rules are built on these. */
  alarm(code: string, line: { readonly what: string; readonly key?: string; readonly [field: string]: unknown }): void;
}
