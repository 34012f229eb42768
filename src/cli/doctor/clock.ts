/** How far another machine's clock is from ours, by the `Date` of its answer: https://www.rfc-editor.org/rfc/rfc9110#name-date */
import type { Heard } from "../../cluster/inspect.ts";
import { CLOCKS_DIFFER_MS } from "../../limits.ts";
import { span } from "../terminal.ts";
import { failure, type Finding, warning } from "./finding.ts";

/** Signatures of AWS are refused from here on, and tokens of an hour end early: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html */
const FAR_MS = 300_000;

/**
 * Milliseconds that theirs is ahead of ours, at least: the header has whole seconds, and the answer was made at some time while we waited.
 * Negative: behind. 0: nothing is certain, or the answer has no date.
 */
export function aheadMs({ date, sentAt, answeredAt }: Heard): number {
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return 0;
  const ahead = theirs - answeredAt;
  const behind = sentAt - (theirs + 1000);
  return ahead > 0 ? ahead : behind > 0 ? -behind : 0;
}

/** Nothing where both agree as far as delivery needs it. */
export function skewFindings(where: string, who: string, heard: Heard): Finding[] {
  const ahead = aheadMs(heard);
  if (Math.abs(ahead) <= CLOCKS_DIFFER_MS) return [];
  const what = `the clock of ${who} is ${span(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the one of this machine`;
  const todo =
    "let both machines keep their time by NTP (timedatectl shows whether it does): the order of pushes, waits and tokens' ends go by it";
  return [Math.abs(ahead) >= FAR_MS ? failure("CLOCK_SKEW", where, what, todo) : warning("CLOCK_SKEW", where, what, todo)];
}
