/**
 * Every metric of the relay, in one place: infra/metrics.md shows this table, prometheus.ts serves it, emf.ts takes a few for CloudWatch.
 * Names and units as Prometheus wants them: https://prometheus.io/docs/practices/naming/
 */
export interface Metric {
  readonly type: "counter" | "gauge" | "histogram";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Of a histogram: upper bounds in seconds. */
  readonly buckets?: readonly number[];
}

export const METRICS = {
  deliveries: {
    type: "counter",
    name: "mpo_relay_deliveries_total",
    help: "What came to a webhook: one for each push and cluster that a delivery was stored for, for each push that was not for us, or for the call",
    labels: ["webhook", "decision", "reason"],
  },
  records: {
    type: "counter",
    name: "mpo_relay_records_total",
    help: "What became of a record each time that it was worked on",
    labels: ["cluster", "outcome"],
  },
  alarms: { type: "counter", name: "mpo_relay_alarms_total", help: "Alarms, each of which is told in the log", labels: ["code"] },
  receiveToQueued: {
    type: "histogram",
    name: "mpo_relay_receive_to_queued_seconds",
    help: "From a delivery's body to its push in every queue",
    labels: ["webhook"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
  },
  receiveToPatched: {
    type: "histogram",
    name: "mpo_relay_receive_to_patched_seconds",
    help: "From a delivery to the patch of its override; what waited for an outage waited here",
    labels: ["cluster"],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600],
  },
  pushToPickedUp: {
    type: "histogram",
    name: "mpo_relay_push_to_picked_up_seconds",
    help: "From a push, by the registry's clock where it tells, to the look (tuning.looks) that saw Deckhouse run it",
    labels: ["cluster"],
    buckets: [1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900, 3600],
  },
  queueRecords: {
    type: "gauge",
    name: "mpo_relay_queue_records",
    help: "Records that wait, later looks included",
    labels: ["cluster"],
  },
  queueOldest: {
    type: "gauge",
    name: "mpo_relay_queue_oldest_seconds",
    help: "Since the oldest record that waits was stored, 0 without any; a record that is put off is stored anew. Not on SQS, which does not tell",
    labels: ["cluster"],
  },
  deadLetters: {
    type: "gauge",
    name: "mpo_relay_dead_letters",
    help: "Dead letters of a cluster, or of deliveries that could not be read (unparsed)",
    labels: ["cluster"],
  },
  circuitOpen: {
    type: "gauge",
    name: "mpo_relay_circuit_open",
    help: "1 while the API server does not answer us and records wait, else 0",
    labels: ["cluster"],
  },
  overrides: {
    type: "gauge",
    name: "mpo_relay_overrides",
    help: "Overrides by what the last sweep found them to be",
    labels: ["cluster", "state"],
  },
  overridesBehind: {
    type: "gauge",
    name: "mpo_relay_overrides_behind_seconds",
    help: "For how long sweeps have seen the same override wait for the same image, of the one that waits longest; 0 without any",
    labels: ["cluster"],
  },
} as const satisfies Readonly<Record<string, Metric>>;

export type MetricKey = keyof typeof METRICS;
