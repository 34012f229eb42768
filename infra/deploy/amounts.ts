/** Numbers as they stand on the command line. */
import { InvalidArgumentError } from "commander";

export function whole(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError("not a whole number");
  return Number(text);
}
