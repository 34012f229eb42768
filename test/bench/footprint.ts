/** What `mpo-relay serve` takes of a machine at rest, and at a steady 100 pushes a second over a hundred overrides: infra/cluster/serve asks for that much. */
import { setTimeout as sleep } from "node:timers/promises";
import { startDeckhouse } from "./deckhouse.ts";
import { standIn } from "./cluster.ts";
import type { Figure } from "./figures.ts";
import { startServe } from "./relay.ts";
import { type Push, pushOf, Sender } from "./sender.ts";
import { cpuOf, memoryOf, type Options, say, type Started } from "./world.ts";

const PER_SECOND = 100;
const TICK_MS = 100;
const OVERRIDES = 100;
/** After its start a process works for a moment on itself. */
const SETTLE_MS = 5_000;

export async function footprint({ quick, profile }: Options): Promise<Figure[]> {
  const seconds = quick ? 10 : 60;
  const modules = Array.from({ length: OVERRIDES }, (_, index) => `module-${index}`);
  const cluster = await standIn();
  try {
    await cluster.create(modules);
    const relay = await startServe("serve-footprint", cluster, { profile });
    try {
      await sleep(SETTLE_MS);
      say(`footprint: ${seconds} s at rest`);
      const idle = await during(relay, () => sleep(seconds * 1000));
      say(`footprint: ${seconds} s with ${PER_SECOND} pushes a second`);
      const last = new Map<string, Push>();
      await startDeckhouse(cluster, last);
      const busy = await during(relay, () => sendSteadily(relay.port, modules, seconds, last));
      const part = "footprint";
      return [
        {
          part,
          name: `${PER_SECOND} pushes/s: share of a core`,
          unit: "",
          value: busy.share,
          baseline: { of: "at rest", value: idle.share },
        },
        {
          part,
          name: `${PER_SECOND} pushes/s: peak resident memory`,
          unit: "MB",
          value: busy.peak,
          baseline: { of: "at rest", value: idle.now },
        },
      ];
    } finally {
      await relay.stop("SIGTERM");
    }
  } finally {
    await cluster.close();
  }
}

/** Processor time over wall time, and the memory at its end. */
async function during(relay: Started, work: () => Promise<void>): Promise<{ share: number; now: number; peak: number }> {
  const [cpu, started] = [await cpuOf(relay.pid), Date.now()];
  await work();
  const share = ((await cpuOf(relay.pid)) - cpu) / (Date.now() - started);
  return { share, ...(await memoryOf(relay.pid)) };
}

/** Every tick its part of the pushes, whether or not those before are answered: a registry does not wait for us either. */
async function sendSteadily(port: number, modules: readonly string[], seconds: number, last: Map<string, Push>): Promise<void> {
  const sender = new Sender(`http://127.0.0.1:${port}/hooks/bench`);
  const sent: Promise<string | Error>[] = [];
  const started = Date.now();
  for (let tick = 1; tick <= (seconds * 1000) / TICK_MS; tick++) {
    for (let each = 0; each < (PER_SECOND * TICK_MS) / 1000; each++) {
      const push = pushOf(modules[sent.length % modules.length] ?? "");
      last.set(push.module, push);
      sent.push(sender.send(push.body).catch((error: Error) => error));
    }
    await sleep(Math.max(0, started + tick * TICK_MS - Date.now()));
  }
  const failed = (await Promise.all(sent)).filter((each) => each instanceof Error);
  sender.close();
  if (failed.length > 0) throw new Error(`${failed.length} of ${sent.length} pushes were not stored, the first: ${failed[0]?.message}`);
}
