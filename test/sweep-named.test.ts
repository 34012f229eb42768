/** What the sweep leaves alone for six hours, since it was nudged in vain: all the while something open names it. */
import { expect, it } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import { consume } from "../src/consume.ts";
import { decode } from "../src/event.ts";
import { SWEEP_AGAIN_MS } from "../src/limits.ts";
import { toRelayError } from "../src/outcome.ts";
import type { NewDeadLetter, NewRecord } from "../src/queue/queue.ts";
import { verdictOf } from "../src/status.ts";
import { createSweeper } from "../src/sweeper.ts";
import { at, configOf, digestOf, fakeCluster, fakeContext, fakeObserver, overrideOf, source, start } from "./support/relay.ts";

const [OLD, NEW] = [digestOf("0"), digestOf("a")];
const registry = { username: null, password: null, dockerConfig: null, ca: null, plainHttp: false };
const STEP_SECONDS = 15;
const HALF_AN_HOUR_MS = 1_800_000;

/** A queue that gives its records when they are due, by the test's clock. */
function queueOf(now: () => Date) {
  let waiting: { body: string; at: number }[] = [];
  const letters: NewDeadLetter[] = [];
  const add = ({ body, delaySeconds = 0 }: NewRecord) => waiting.push({ body, at: now().getTime() + delaySeconds * 1000 });
  const send = async (records: readonly NewRecord[]) => records.forEach(add);
  return {
    letters,
    count: () => waiting.length,
    queue: {
      send,
      acknowledge: async () => {},
      defer: async (moves: readonly { next: NewRecord }[]) => send(moves.map(({ next }) => next)),
      bury: async (_: unknown, letter: NewDeadLetter) => void letters.push(letter),
    },
    take: () => {
      const due = waiting.filter((each) => each.at <= now().getTime());
      waiting = waiting.filter((each) => !due.includes(each));
      return due.map(({ body }, n) => ({ id: String(n), receipt: String(n), body, receiveCount: 1, sentAt: now().toISOString() }));
    },
  };
}

/** `each`: nudges of one telling; a download error is answered with three more. */
it.each<[string, string, "a letter" | "its status", number]>([
  ["whose image cannot be downloaded", "Download error: no such host", "a letter", 4],
  ["that pulls from a mirror with another image", "Ready", "a letter", 1],
  ["whose image is not valid", "Validation error: no module.yaml", "its status", 1],
])("an override %s", async (_what, message, by, each) => {
  const {
    cluster,
    context: plain,
    wait,
  } = fakeContext(fakeCluster(overrideOf({ status: { message: "Ready", imageDigest: OLD, updatedAt: at(-7200) } })));
  const { now } = plain;
  const { queue, letters, count, take } = queueOf(now);
  const { observer } = fakeObserver();
  const asked = { resolve: async () => ({ digest: NEW, image: NEW }) };
  const circuit = createCircuit("dev", () => cluster.overrides.probe(), observer, toRelayError);
  const context = { ...plain, ...queue, queue, cluster: "dev", observer, circuit, registry: asked, random: () => 0.5 };
  const { sweepMs } = configOf().tuning;
  const sources = [{ ...source, registry }];
  const sweeper = createSweeper({ ...context, sources, everyMs: sweepMs, tellTroubles: () => {} });
  const isRefused = () => verdictOf(cluster.get()?.status.message ?? "") === "refused";

  let [nudges, nudgesBefore] = [0, 0];
  for (let seconds = 0; seconds * 1000 < SWEEP_AGAIN_MS + HALF_AN_HOUR_MS; seconds += STEP_SECONDS) {
    if ((seconds * 1000) % sweepMs === 0) await sweeper.sweep();
    await consume(take(), context);
    if (cluster.patches.length > nudges) {
      nudges = cluster.patches.length;
      wait(STEP_SECONDS);
      // Deckhouse looks, and fails; where it finds what it has, it writes nothing
      if (message !== "Ready") cluster.set({ status: { message, imageDigest: OLD, updatedAt: now().toISOString() } });
    } else wait(STEP_SECONDS);
    if (seconds * 1000 === SWEEP_AGAIN_MS) nudgesBefore = nudges;
    const names = { "in the queue": count() > 0, "a letter": letters.length > 0, "its status": isRefused() };
    expect(Object.values(names), `${(now().getTime() - start.getTime()) / 1000} s: ${JSON.stringify(names)}`).toContain(true);
  }
  expect([nudgesBefore, nudges]).toEqual([each, 2 * each]); // told again after six hours, once
  expect(letters.map(({ code }) => code)).toEqual(by === "a letter" ? ["UNCONFIRMED"] : []);
  const named = letters.map(({ body }) => decode(body));
  expect(named.every((letter) => letter.kind === "request" && letter.request.digest === NEW)).toBe(true);
});
