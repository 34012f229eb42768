/**
 * Ten thousand pushes over a hundred overrides, as fast as the edge takes them, with the default tuning. "Right": for each override
 * Deckhouse holds what the registry's tag resolves to. Records may still wait then: where Deckhouse found a newer digest than the nudge
 * was for, the relay holds the next nudge back (renew.ts).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Cluster, standIn } from "./cluster.ts";
import { type Deckhouse, startDeckhouse } from "./deckhouse.ts";
import type { Figure } from "./figures.ts";
import { recordLines, startServe } from "./relay.ts";
import { type Push, pushOf, Sender } from "./sender.ts";
import { memoryOf, type Options, say, type Started } from "./world.ts";

const OVERRIDES = 100;
const SENDERS = 20;
const PATIENCE_MS = 300_000;
/** How the record of a push may stand: ended well, or waiting. */
const ENDED = new Set(["NUDGED", "JOINED", "REPEATED"]);
const WAITING = "DEFERRED";

export async function burst({ quick, profile }: Options): Promise<Figure[]> {
  const many = await measure(quick ? 2_000 : 10_000, OVERRIDES, profile);
  return [...many, ...(await measure(1_000, 1, profile))];
}

async function measure(total: number, overrides: number, profile: boolean): Promise<Figure[]> {
  const modules = Array.from({ length: overrides }, (_, index) => `module-${index}`);
  const cluster = await standIn();
  try {
    await cluster.create(modules);
    const relay = await startServe(`serve-burst-${overrides}`, cluster, { profile });
    try {
      return await run(cluster, relay, modules, total);
    } finally {
      await relay.stop("SIGTERM");
    }
  } finally {
    await cluster.close();
  }
}

async function run(cluster: Cluster, relay: Started, modules: readonly string[], total: number): Promise<Figure[]> {
  const last = new Map<string, Push & { key: string }>(); // of each module: what its tag resolves to
  const deckhouse = await startDeckhouse(cluster, last);
  const before = await memoryOf(relay.pid);

  say(`burst: sends ${total} pushes over ${modules.length} overrides`);
  const started = Date.now();
  await sendAll(relay.port, modules, total, last);
  const sentMs = Date.now() - started;
  say(`burst: all acknowledged after ${sentMs} ms`);
  const rightMs = (await allRight(deckhouse, last)) - started;
  const nudges = deckhouse.nudges();
  const ended = await audit(relay, total, last);

  const { peak } = await memoryOf(relay.pid);
  const part = modules.length === 1 ? "burst, one module" : "burst";
  const figure = { part, baseline: { of: "until all are acknowledged", value: sentMs / 1000 } };
  return [
    { ...figure, name: `${total} pushes: until all overrides are right`, unit: "s", value: rightMs / 1000 },
    { part, name: "pushes whose record has ended by then", unit: "", value: ended, baseline: { of: "pushes", value: total } },
    { part, name: "patches written by then", unit: "", value: nudges, baseline: { of: "overrides", value: modules.length } },
    {
      part,
      name: "peak resident memory",
      unit: "MB",
      value: peak,
      baseline: { of: "before the burst", value: before.now },
      targets: [{ of: "value", max: 200 }],
    },
  ];
}

/** Pushes of one module follow each other, as a registry sends them; those of several go side by side. */
async function sendAll(port: number, modules: readonly string[], total: number, last: Map<string, Push & { key: string }>): Promise<void> {
  const sender = new Sender(`http://127.0.0.1:${port}/hooks/bench`);
  let next = 0;
  const lane = async () => {
    while (next < total) {
      const push = pushOf(modules[next++ % modules.length] ?? "");
      const entry = { ...push, key: "" };
      last.set(push.module, entry);
      entry.key = await sender.send(push.body);
    }
  };
  await Promise.all(Array.from({ length: SENDERS }, lane));
  sender.close();
}

/** Resolves with the time at which the last override became right. */
async function allRight({ digests }: Deckhouse, last: ReadonlyMap<string, Push>): Promise<number> {
  const until = Date.now() + PATIENCE_MS;
  let told = Date.now();
  for (;;) {
    const wrong = [...last.values()].filter(({ module, digest }) => digests.get(module) !== digest).length;
    if (wrong === 0) return Date.now();
    if (Date.now() > until) throw new Error(`${wrong} overrides are not right after ${PATIENCE_MS} ms`);
    if (Date.now() - told > 5_000) {
      told = Date.now();
      say(`burst: ${wrong} overrides are not right yet`);
    }
    await sleep(20);
  }
}

/** Of how many pushes the record has ended. Throws where one ended in any other way than well, or where the last push of an override is lost. */
async function audit(relay: Started, total: number, last: ReadonlyMap<string, Push & { key: string }>): Promise<number> {
  const outcomes = new Map<string, string>();
  for (const { kind, key, outcome } of await recordLines(relay.log)) {
    if (kind === "renew") outcomes.set(key, outcome);
  }
  const odd = [...outcomes.values()].find((outcome) => outcome !== WAITING && !ENDED.has(outcome));
  if (odd !== undefined) throw new Error(`a record ended as ${odd}`);
  const lost = [...last.values()].filter(({ key }) => !outcomes.has(key));
  if (lost.length > 0 || outcomes.size > total)
    throw new Error(`no word of the last push of ${lost.map(({ module }) => module).join(", ")}`);
  return [...outcomes.values()].filter((outcome) => ENDED.has(outcome)).length;
}
