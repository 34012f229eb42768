/** The table of metrics as prom-client keeps it, and an Observer that counts. Loaded only where somebody wants to scrape. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Observer } from "../observe.ts";
import { type Named, samplesOf, samplesOfAlarm, type Sample, seriesFromStart } from "./measure.ts";
import { type Metric, METRICS, type MetricKey } from "./table.ts";

export interface Meters {
  readonly observer: Observer;
  /** null: not known now, so the series goes. */
  set(metric: MetricKey, labels: Sample["labels"], value: number | null): void;
  /** https://prometheus.io/docs/instrumenting/exposition_formats/ */
  text(): Promise<string>;
  readonly contentType: string;
}

export function createMeters(named: Named): Meters {
  const registry = new Registry();
  const meters = new Map<string, Meter>(Object.entries(METRICS).map(([key, metric]) => [key, meterOf(metric, registry)]));
  const take = (samples: readonly Sample[]) => {
    for (const { metric, labels, value } of samples) meters.get(metric)?.take(labels, value);
  };
  for (const { metric, labels } of seriesFromStart(named)) meters.get(metric)?.zero(labels);
  return {
    observer: { outcome: (line) => take(samplesOf(line, named)), alarm: (code) => take(samplesOfAlarm(code)) },
    set: (metric, labels, value) => (value === null ? meters.get(metric)?.remove(labels) : meters.get(metric)?.take(labels, value)),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

interface Meter {
  take(labels: Sample["labels"], value: number): void;
  zero(labels: Sample["labels"]): void;
  remove(labels: Sample["labels"]): void;
}

function meterOf({ type, name, help, labels, buckets = [] }: Metric, registry: Registry): Meter {
  const shape = { name, help, labelNames: [...labels], registers: [registry] };
  if (type === "counter") {
    const counter = new Counter(shape);
    return { take: (of, value) => counter.inc(of, value), zero: (of) => counter.inc(of, 0), remove: (of) => counter.remove(of) };
  }
  if (type === "gauge") {
    const gauge = new Gauge(shape);
    return { take: (of, value) => gauge.set(of, value), zero: (of) => gauge.set(of, 0), remove: (of) => gauge.remove(of) };
  }
  const histogram = new Histogram({ ...shape, buckets: [...buckets] });
  return { take: (of, value) => histogram.observe(of, value), zero: (of) => histogram.zero(of), remove: (of) => histogram.remove(of) };
}
