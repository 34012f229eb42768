/** Runs checks side by side: one that hangs or fails keeps none of the others from running. */
import { messageOf } from "../terminal.ts";
import { type Check, failure, type Finding } from "./finding.ts";

interface Options {
  readonly limitMs: number;
  /** Hears of each check that has ended. */
  readonly progress: (check: Check, findings: readonly Finding[], done: number) => void;
}

/** In the order of the checks. Never throws. */
export async function runChecks(checks: readonly Check[], { limitMs, progress }: Options): Promise<Finding[]> {
  let done = 0;
  const all = checks.map(async (check) => {
    const findings = await runOne(check, limitMs);
    progress(check, findings, ++done);
    return findings;
  });
  return (await Promise.all(all)).flat();
}

async function runOne(check: Check, limitMs: number): Promise<Finding[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Finding[]>((resolve) => {
    const what = `no result within ${limitMs / 1000} s`;
    const todo = "what it asks does not answer: look at the network and at that service, then run this again";
    timer = setTimeout(() => resolve([failure("CHECK_TIMED_OUT", check.name, what, todo)]), limitMs);
  });
  try {
    return await Promise.race([check.run(), late]);
  } catch (thrown) {
    return [
      failure(
        "CHECK_FAILED",
        check.name,
        messageOf(thrown),
        "the other findings hold all the same; mend what it says, then run this again",
      ),
    ];
  } finally {
    clearTimeout(timer);
  }
}
