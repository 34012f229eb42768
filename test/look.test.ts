/** A cluster that nobody pushes to and nobody sweeps is looked at nevertheless: its end of answering, or its token's, is told before a push waits for it. */
import { expect, it, vi } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import { lookAgain, lookOnce } from "../src/look.ts";
import { RelayError, toRelayError } from "../src/outcome.ts";
import { fakeObserver } from "./support/relay.ts";

function cluster(answers: (RelayError | null)[]) {
  const { observer, codes } = fakeObserver();
  const stopping = new AbortController();
  const probe = vi.fn(async () => {
    if (answers.length <= 1) stopping.abort();
    const answer = answers.shift();
    if (answer) throw answer;
  });
  const circuit = createCircuit("dev", probe, observer, toRelayError);
  return { context: { overrides: { probe }, circuit }, probe, codes, signal: stopping.signal };
}
const away = new RelayError("CLUSTER_UNAUTHORIZED", "401");

it("opens the circuit where it does not answer, which is told", async () => {
  const { context, probe, codes, signal } = cluster([null, null, away]);
  await lookAgain(context, signal, 1);
  expect(probe).toHaveBeenCalledTimes(3);
  expect(context.circuit.error).toBe(away);
  expect(codes()).toEqual(["CLUSTER_UNAUTHORIZED"]);
});

it("asks nothing while the circuit is open, for whoever works probes then", async () => {
  const { context, probe, signal } = cluster([away, null]);
  const looking = lookAgain(context, signal, 1);
  await vi.waitUntil(() => context.circuit.error !== null);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(probe).toHaveBeenCalledTimes(1);
  await context.circuit.probe(); // the last answer, which ends the test
  await looking;
  expect(context.circuit.error).toBeNull();
});

it("at the start another cluster than is meant ends a worker, and keeps nobody beside an edge from starting", async () => {
  const other = new RelayError("OTHER_CLUSTER", "another UID");
  await expect(lookOnce(cluster([other]).context, true)).rejects.toThrow("another UID");
  const { context } = cluster([other]);
  await lookOnce(context, false);
  expect(context.circuit.error).toBe(other);
});
