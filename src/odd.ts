/** An override that is stored in another form than its definition allows: nobody goes by what is left of it, and nobody passes over it in silence. */
import type { Override } from "./cluster/overrides.ts";
import { RelayError } from "./outcome.ts";

export const oddText = ({ name, odd }: Pick<Override, "name" | "odd">) =>
  `the override ${name} is stored in another form than its definition allows: ${odd}`;

/** Throws INVALID, which ends a push of this tag as a dead letter that names it. Another tag than one that can be read has nothing to do with it. */
export function refuseOdd(override: Override, tag: string): void {
  const { odd, imageTag } = override;
  if (odd !== null && (imageTag === tag || imageTag === "")) throw new RelayError("INVALID", oddText(override));
}
