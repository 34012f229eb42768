/** What the admin listener serves: GET /metrics, and nothing else. It knows no caller, so whoever reaches it may read: names and numbers. */
import type { Observer } from "../observe.ts";
import type { Named } from "./measure.ts";
import { createMeters } from "./prometheus.ts";
import { createReadings, type Readings } from "./readings.ts";

export interface Metrics {
  readonly observer: Observer;
  readonly readings: Omit<Readings, "read">;
  fetch(request: Request): Promise<Response>;
}

export function openMetrics(named: Named): Metrics {
  const meters = createMeters(named);
  const readings = createReadings(meters);
  return {
    observer: meters.observer,
    readings,
    async fetch({ method, url }) {
      if (new URL(url).pathname !== "/metrics") return new Response(null, { status: 404 });
      if (method !== "GET" && method !== "HEAD") return new Response(null, { status: 405, headers: { allow: "GET" } });
      await readings.read();
      return new Response(await meters.text(), { headers: { "content-type": meters.contentType, "cache-control": "no-store" } });
    },
  };
}
