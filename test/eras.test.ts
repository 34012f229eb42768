/**
 * What the relay makes of each Deckhouse: every era × every scenario, through the real consumer (renew, confirm, settle), the real client and
 * the stand-ins over HTTP, with no more rights than infra/cluster gives. All of them live by one clock, which runs a hundred times as fast; nothing
 * is asserted on it. The state counts beside the outcome: what is installed in the end is what the tag names.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { forceCommand } from "../src/cli/force.ts";
import { FORCE } from "../src/cli/follow.ts";
import type { ClusterPort } from "../src/cluster/channels.ts";
import { openKubernetes } from "../src/cluster/kubernetes.ts";
import { consume } from "../src/consume.ts";
import { consumeContext } from "../src/consumer.ts";
import { encode } from "../src/event.ts";
import type { NewRecord } from "../src/queue/queue.ts";
import { ERAS, type EraName, eraOf } from "../src/sandbox/deckhouse-eras.ts";
import type { Clock } from "../src/sandbox/deckhouse.ts";
import { caughtUp, type Setup, startWorld, type World } from "./support/deckhouse.ts";
import { configOf, fakeObserver, requestOf } from "./support/relay.ts";
import { HEAVY_MS, until } from "./support/wait.ts";

const SECOND = 1_000;
const LONGEST_TICK_MS = 10;
/** Late enough for a busy machine: a look in the middle of a deploy may find an error from before it, and nudge once more. */
const LOOKS = [60, 120, 240, 300, 400, 4_000].map((seconds) => seconds * SECOND);

/** Stands still while this process does not run, or looks would come due on a busy machine before Deckhouse had its turn. */
function fastClock(speed = 100): Clock {
  let seen = Date.now();
  let now = seen;
  const tick = () => {
    const real = Date.now();
    now += Math.min(Math.max(real - seen, 0), LONGEST_TICK_MS) * speed;
    seen = real;
    return new Date(now);
  };
  return { speed, now: tick };
}

/** The consumer over a queue in memory: `outcomes` as they are logged, but for looks that change nothing. */
async function startRelay(world: World, clock: Clock, looksMs: readonly number[]) {
  const records: { body: string; due: number }[] = [];
  const { observer, outcomes: lines, alarms } = fakeObserver();
  const send = async (more: readonly NewRecord[]) => {
    for (const { body, delaySeconds = 0 } of more) records.push({ body, due: clock.now().getTime() + delaySeconds * SECOND });
  };
  const overrides = await openOverrides(world);
  const config = configOf();
  const queue = {
    send,
    acknowledge: async () => {},
    defer: (moves: readonly { next: NewRecord }[]) => send(moves.map(({ next }) => next)),
    bury: async () => {},
  };
  const context = {
    ...consumeContext({ ...config, tuning: { ...config.tuning, looksMs } }, { cluster: "dev", queue, overrides, observer }),
    now: () => clock.now(),
    pace: async () => {},
  };
  const stopping = new AbortController();
  const running = (async () => {
    for (let count = 1; !stopping.signal.aborted; count++) {
      const index = records.findIndex(({ due }) => due <= clock.now().getTime());
      const [record] = index < 0 ? [] : records.splice(index, 1);
      if (record === undefined) await sleep(2);
      else {
        const id = String(count);
        await consume([{ id, receipt: id, body: record.body, receiveCount: 1, sentAt: clock.now().toISOString() }], context);
      }
    }
  })();
  return {
    outcomes: () => lines().filter((outcome) => outcome !== "DEFERRED"),
    alarms,
    overrides,
    /** Tells of a push, as the edge would; the record, for a redelivery. */
    async tell(digest: string, index = false): Promise<NewRecord> {
      const now = clock.now().toISOString();
      const key = digest.slice(-16) + String(records.length) + now.replace(/\D/g, "");
      const body = encode(requestOf({ digest, index, key, pushedAt: now, receivedAt: now }));
      await send([{ body }]);
      return { body };
    },
    again: (record: NewRecord) => send([record]),
    async stop() {
      stopping.abort();
      await running;
      overrides.close();
    },
  };
}

function openOverrides({ api }: World): Promise<ClusterPort> {
  const token = api.grant("relay", ["get", "patch"]);
  const server = { kind: "server", server: api.url, ca: { kind: "env", name: "CA" }, token: { kind: "env", name: "TOKEN" } } as const;
  return openKubernetes({
    cluster: "dev",
    kubernetes: server,
    readSecret: async (ref) => (ref.kind === "env" && ref.name === "CA" ? api.ca : token),
  });
}

interface Stage {
  readonly world: World;
  readonly relay: Awaited<ReturnType<typeof startRelay>>;
  readonly clock: Clock;
  /** Until the relay has nothing more to say of a push but this. */
  ends(outcome: string): Promise<void>;
  /** A new image, told to the relay. */
  push(options?: { index?: boolean }): Promise<NewRecord>;
}
/** What stands between Deckhouse and an image can be broken and mended in the middle of a scenario. */
interface Trouble {
  broken: boolean;
}
interface Scenario {
  setup?(trouble: Trouble, era: EraName): Setup;
  readonly looksMs?: readonly number[];
  /** Of the clock, where something has to happen within a minute of it. */
  readonly speed?: number;
  play(stage: Stage, trouble: Trouble, end: string): Promise<void>;
  /** How it ends: everywhere, or by era. */
  readonly end: string | Readonly<Record<EraName, string>>;
  /** Where it is picked up, in eras that restart at all. */
  readonly restarts: number;
}

const everywhere = (end: string): Record<EraName, string> => ({ e1: end, e2: end, e3: end, e4: end, e5: end });
const isOld = (era: EraName) => era === "e1" || era === "e2";
const LATE_LOOKS_MS = [5, 10, 20, 30, 40, 50].map((seconds) => seconds * SECOND);
/** Serves what the tag named before, as long as it is asked to. */
function staleMirror(isStale: () => boolean): Setup {
  let old = "";
  return {
    async mirror(ask, image) {
      if (image !== "echo:main") return ask();
      return isStale() ? old : (old = await ask());
    },
  };
}
const pushAndEnd: Scenario["play"] = async ({ push, ends }, _, end) => {
  await push();
  await ends(end);
};

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "first push": { setup: () => ({ first: false }), play: pushAndEnd, end: "PICKED_UP", restarts: 1 },
  "second push": {
    async play({ world, push, ends }) {
      const before = world.restarts();
      await push();
      await ends("PICKED_UP");
      await until(world.restarts).toBe(eraOf(world.era).restarts ? before + 1 : 0);
      await push();
      await ends("PICKED_UP");
    },
    end: "PICKED_UP",
    restarts: 3,
  },
  "index push": { play: ({ push, ends }) => push({ index: true }).then(() => ends("PICKED_UP")), end: "PICKED_UP", restarts: 2 },
  "same digest": {
    async play({ world, relay, ends }) {
      const before = world.checks.length;
      await relay.tell(String(world.status()["imageDigest"]));
      await until(() => world.checks.length).toBe(before + 1);
      await ends("PICKED_UP");
      expect(world.deploys()).toBe(1);
    },
    end: "PICKED_UP",
    restarts: 1,
  },
  redelivery: {
    speed: 20,
    async play({ world, relay, push, ends }) {
      const record = await push();
      await until(relay.outcomes).toContain("NUDGED");
      const { annotations } = world.metadata();
      await relay.again(record);
      await until(relay.outcomes).toContain("REPEATED");
      await ends("PICKED_UP");
      expect(Object(world.metadata()["annotations"])["mpo-relay/at"]).toBe(Object(annotations)["mpo-relay/at"]);
    },
    end: "PICKED_UP",
    restarts: 2,
  },
  force: {
    async play({ world, clock }, _, end) {
      const [out, err]: [string[], string[]] = [[], []];
      const terminal = { out: (text: string) => void out.push(text), err: (text: string) => void err.push(text), env: {}, now: clock.now };
      const command = forceCommand(terminal, () => openOverrides(world), 5);
      const timeout = end === "FORCED" ? "30m" : "60s";
      const failure: unknown = await command.parseAsync(["echo", "--yes", "--json", "--timeout", timeout], { from: "user" }).then(
        () => null,
        (error: unknown) => error,
      );
      expect(out.map((line) => Object(JSON.parse(line))["outcome"])).toEqual(end === "too old" ? [] : [end]);
      if (end === "FORCED") expect(failure).toBeNull();
      else expect(failure).toMatchObject({ exitCode: 1, message: expect.stringContaining("deckhouse/deckhouse#22716") });
      expect(Object(world.metadata()["annotations"])).not.toHaveProperty([FORCE]);
      expect(err).toEqual([]);
    },
    end: { e1: "too old", e2: "too old", e3: "NOT_FORCED", e4: "FORCED", e5: "NOT_FORCED" },
    restarts: 2,
  },
  "deploy error, then not": {
    speed: 50,
    setup(trouble) {
      let failures = 0;
      return { fault: () => (trouble.broken && failures++ < 2 ? { at: "install", why: "no space left on device" } : null) };
    },
    async play({ push, ends }, trouble) {
      trouble.broken = true;
      await push();
      await ends("PICKED_UP");
    },
    end: "PICKED_UP",
    restarts: 2,
  },
  "image that is not valid": {
    setup: (trouble) => ({ fault: () => (trouble.broken ? { at: "validation", why: "no openapi" } : null) }),
    async play({ push, ends }, trouble, end) {
      trouble.broken = true;
      await push();
      await ends(end);
    },
    end: { ...everywhere("REFUSED"), e5: "PICKED_UP" }, // which no status of e5 tells
    restarts: 1,
  },
  "download error, then not": {
    setup: (trouble) => ({ mirror: (ask) => (trouble.broken ? Promise.reject(new Error("unexpected EOF")) : ask()) }),
    async play({ relay, push, ends }, trouble) {
      trouble.broken = true;
      await push();
      await until(relay.outcomes).toContain("RENUDGED");
      trouble.broken = false;
      await ends("PICKED_UP");
    },
    end: "PICKED_UP",
    restarts: 2,
  },
  "mirror that is late": {
    setup: (trouble) =>
      staleMirror(() => {
        const isStale = trouble.broken;
        trouble.broken = false;
        return isStale;
      }),
    looksMs: LATE_LOOKS_MS,
    async play({ relay, push, ends }, trouble) {
      trouble.broken = true;
      await push();
      await ends("PICKED_UP"); // by the repeated nudge: Deckhouse itself looks again after the scan interval
      expect(relay.outcomes()).toContain("RENUDGED");
    },
    end: "PICKED_UP",
    restarts: 2,
  },
  "mirror that stays late": {
    setup: (trouble) => staleMirror(() => trouble.broken),
    looksMs: LATE_LOOKS_MS,
    async play({ relay, push, ends }, trouble) {
      trouble.broken = true;
      await push();
      await ends("UNCONFIRMED"); // what a redrive heals
      expect(relay.alarms).toMatchObject([{ code: "UNCONFIRMED", why: expect.stringContaining("override echo") }]);
    },
    end: "UNCONFIRMED",
    restarts: 1,
  },
  disabled: {
    setup: () => ({ first: false, conditions: { EnabledByModuleConfig: "False" } }),
    play: pushAndEnd,
    end: { ...everywhere("PICKED_UP"), e3: "REFUSED", e4: "REFUSED" },
    restarts: 1,
  },
  embedded: {
    setup: () => ({
      first: false,
      module: { properties: { source: "Embedded" }, spec: { packageRepositoryName: "embedded" } },
    }),
    play: pushAndEnd,
    end: { ...everywhere("REFUSED"), e1: "PICKED_UP", e2: "PICKED_UP" },
    restarts: 1,
  },
  "no source": {
    setup: (_, era) => ({ first: false, ...(isOld(era) ? { source: false } : { module: { properties: {} } }) }),
    play: pushAndEnd,
    end: "REFUSED",
    restarts: 0,
  },
  "conflict during deploy": {
    async play({ world, push, ends }) {
      world.inNextDeploy(() => world.annotate({ "somebody/else": "x" }));
      await push();
      await ends("PICKED_UP");
      expect(world.deploys()).toBe(3);
    },
    end: "PICKED_UP",
    restarts: 3,
  },
};

async function play(scenario: Scenario, era: EraName) {
  const clock = fastClock(scenario.speed);
  const trouble = { broken: false };
  const setup = scenario.setup?.(trouble, era) ?? {};
  const world = await startWorld({ era, clock, deployMs: 2 * SECOND, restartMs: 2 * SECOND, ...setup });
  const relay = await startRelay(world, clock, scenario.looksMs ?? LOOKS);
  let said = 0;
  let others = 0;
  const idle = async () => {
    await until(world.isBack).toBe(true);
    await caughtUp(world, `other-${others++}`);
  };
  const stage: Stage = {
    world,
    relay,
    clock,
    async ends(outcome) {
      await until(() => relay.outcomes().slice(said)).toContain(outcome);
      said = relay.outcomes().length;
    },
    async push(options) {
      await idle(); // a nudge in the middle of a deploy that Deckhouse began by itself would restart it twice
      return relay.tell(await world.push("echo", "main", options), options?.index);
    },
  };
  try {
    if (setup.first === false) await until(() => world.status()["message"]).toBeDefined();
    const { end, restarts } = expectationOf(scenario, era);
    await scenario.play(stage, trouble, end);
    await until(world.restarts).toBe(restarts);
    await idle();
    expect(world.restarts()).toBe(restarts);
    expect(world.metadata()["labels"] ?? {}).not.toHaveProperty("renew");
    const installed = world.deckhouse.installed("echo");
    if (scenario === SCENARIOS["index push"]) expect(installed).toBe(world.status()["imageDigest"]);
    else expect(installed === world.registry.resolve("deckhouse/modules/echo", "main")).toBe(!["REFUSED", "UNCONFIRMED"].includes(end));
  } catch (error) {
    throw new Error(`${era}: ${error instanceof Error ? error.message : String(error)}; ${relay.outcomes().join(" ")}`, { cause: error });
  } finally {
    await relay.stop();
    await world.stop();
  }
}

/** Where nothing is picked up there are no more restarts than the one for the image that was there before. */
function expectationOf({ end: ends, restarts, setup }: Scenario, era: EraName) {
  const end = typeof ends === "string" ? ends : ends[era];
  const before = setup?.({ broken: false }, era).first === false ? 0 : 1;
  const isDeployed = end === "PICKED_UP" || end === "FORCED";
  return { end, restarts: eraOf(era).restarts ? (isDeployed ? restarts : before) : 0 };
}

describe("in every era", { timeout: HEAVY_MS }, () => {
  it.each(Object.entries(SCENARIOS))("%s", async (_, scenario) => {
    const cells = await Promise.allSettled(ERAS.map((era) => play(scenario, era)));
    expect(cells.flatMap((cell) => (cell.status === "rejected" ? [String(cell.reason)] : []))).toEqual([]);
  });
});
