import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { tellExpiring, watchExpiry } from "../src/expiry.ts";
import { ADVICE, type ErrorCode, RelayError, TREATMENT } from "../src/outcome.ts";
import type { DeadLetter, Decide } from "../src/queue/queue.ts";
import { whatToDo } from "../src/reasons.ts";
import { at, fakeObserver, start } from "./support/relay.ts";

const DAY = 24 * 3600;
const letter = (code: string, bornDay: number, retentionDays: number | null = 14): DeadLetter => ({
  id: `${code}${bornDay}`,
  body: "{}",
  code,
  text: "why",
  attempts: 1,
  firstAt: at(bornDay * DAY),
  lastAt: at(bornDay * DAY),
  expiresAt: retentionDays === null ? null : at((bornDay + retentionDays) * DAY),
});

function world(letters: readonly DeadLetter[]) {
  const observed = fakeObserver();
  let [read, looks] = [0, 0];
  const queue = {
    async count() {
      looks += 1;
      return letters.length;
    },
    async sweep(decide: Decide) {
      for (const each of letters) {
        read += 1;
        if ((await decide(each)) === "stop") break;
      }
      return { removed: 0, kept: read };
    },
  };
  return { ...observed, watched: { place: "dev", letters: queue, observer: observed.observer }, read: () => read, looks: () => looks };
}

it("one alarm for each reason of which a letter has two days left or less, with what to do", async () => {
  const w = world([
    letter("INVALID", -12),
    letter("INVALID", -13),
    letter("INVALID", -11.9),
    letter("FORBIDDEN", -12.5),
    letter("MALFORMED", 0),
  ]);
  await tellExpiring(w.watched, start);
  expect(w.alarms).toMatchObject([
    { code: "DEAD_LETTERS_EXPIRE", cluster: "dev", reason: "INVALID", count: 2, oldestAt: at(-13 * DAY), expiresAt: at(DAY) },
    { code: "DEAD_LETTERS_EXPIRE", cluster: "dev", reason: "FORBIDDEN", count: 1 },
  ]);
  expect(w.alarms[1]?.what).toMatch(/`mpo-relay dlq export --cluster dev --code FORBIDDEN`.*restore the binding/);
});

it("a queue that keeps its letters for good costs one letter, an empty one none", async () => {
  const good = world([letter("INVALID", -100, null), letter("INVALID", -100, null)]);
  await tellExpiring(good.watched, start);
  expect([good.alarms, good.read()]).toEqual([[], 1]);
  const empty = world([]);
  await tellExpiring(empty.watched, start);
  expect(empty.read()).toBe(0);
});

it("a look that fails is told, and is no alarm", async () => {
  const w = world([]);
  const count = () => Promise.reject(new RelayError("QUEUE_UNAVAILABLE", "AccessDenied"));
  await tellExpiring({ ...w.watched, letters: { ...w.watched.letters, count } }, start);
  expect(w.lines).toMatchObject([{ outcome: "EXPIRY_UNKNOWN", cluster: "dev", why: "AccessDenied" }]);
  expect(w.alarms).toEqual([]);
});

it("looks at once, and ends when it is told to", async () => {
  const w = world([letter("INVALID", 0)]);
  const controller = new AbortController();
  const watching = watchExpiry(w.watched, controller.signal);
  expect(w.looks()).toBe(1);
  controller.abort();
  await watching;
  expect(w.looks()).toBe(1);
});

/** Answers to a delivery: no record ever fails with them. */
const ANSWERS: ReadonlySet<string> = new Set<ErrorCode>(["KEYS_UNAVAILABLE", "TOO_LARGE", "NO_MEMORY"]);
const buried = Object.entries(TREATMENT).filter(
  ([code, treatment]) => ["bury", "forbidden"].includes(treatment) && Object.hasOwn(ADVICE, code) && !ANSWERS.has(code),
);
it.each([...buried.map(([code]) => code), "UNPARSED", "UNKNOWN"])(
  "%s has an advice, and a row on the page for whoever is on call",
  (code) => {
    expect(whatToDo(code)).toMatch(/`mpo-relay dlq (?:redrive|purge)/);
    expect(readFileSync("infra/dead-letters.md", "utf8")).toContain(`\n| \`${code}\``);
  },
);
