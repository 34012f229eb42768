/** Rules of a secret that may have a second one beside it while callers are changed over. */
import { readUntil } from "./forms.ts";
import { isGiven, type Tell } from "./problem.ts";

/** How the three keys are called. */
export interface RotationKeys {
  readonly current: string;
  readonly previous: string;
  readonly until: string;
}

export function rotationRules(
  path: readonly PropertyKey[],
  keys: RotationKeys,
  given: { readonly current: unknown; readonly previous: unknown; readonly until: unknown },
  now: Date,
  { problem, warn }: { problem: Tell; warn: Tell },
): void {
  const { current, previous, until } = keys;
  if (isGiven(given.previous) && !isGiven(given.current))
    problem([...path, previous], "a previous secret without a current one", `name the current one as ${current}`);
  if (isGiven(given.until) && !isGiven(given.previous)) problem([...path, until], `there is no ${previous} that could end`, "take it out");
  const end = typeof given.until === "string" ? readUntil(given.until) : null;
  if (typeof end === "string" && Date.parse(end) <= now.getTime())
    warn([...path, until], "is over: the previous secret no longer counts", `take ${previous} and ${until} out`);
}
