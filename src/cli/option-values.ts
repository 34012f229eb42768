/** Values of options. */
import { InvalidArgumentError } from "commander";
import { readDuration } from "../config/forms.ts";

const DAY_MS = 86_400_000;

/** `90s`, `10m`, `12h`, `7d` → milliseconds. */
export function duration(text: string): number {
  const days = /^(\d{1,2})d$/.exec(text)?.[1];
  const ms = days === undefined ? readDuration(text) : Number(days) * DAY_MS;
  if (typeof ms !== "number") throw new InvalidArgumentError("Write 30s, 10m, 12h or 7d.");
  return ms;
}

/** From 1 up to `most`. */
export function wholeNumber(most: number): (text: string) => number {
  return (text) => {
    if (!/^[1-9]\d{0,15}$/.test(text) || Number(text) > most) throw new InvalidArgumentError("A whole number, please.");
    return Number(text);
  };
}
