import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createCircuit } from "../src/circuit.ts";
import type { ModuleRelease } from "../src/cluster/channels.ts";
import { consume } from "../src/consume.ts";
import { decode, encode, type RenewRequest } from "../src/event.ts";
import { type ErrorCode, RelayError, toRelayError } from "../src/outcome.ts";
import type { NewDeadLetter, NewRecord } from "../src/queue/queue.ts";
import { redriveOf } from "../src/redrive.ts";
import { respell } from "../src/respell.ts";
import { fakeChannels } from "./support/channels.ts";
import { at, configOf, fakeCluster, fakeContext, fakeObserver, overrideOf, requestOf } from "./support/relay.ts";

const pushOf = (part: Partial<RenewRequest> = {}) =>
  requestOf({ kind: "rescan", tag: "alpha", image: "registry.example.com/deckhouse/modules/echo/release:alpha", ...part });

/** A consumer of one cluster; what it stores is due after its delay. */
function world({ prunes = false, override = false } = {}) {
  const base = fakeContext(fakeCluster(override ? overrideOf() : null));
  const source = fakeChannels(base.context.now, { prunes });
  const observed = fakeObserver();
  const waiting: (NewRecord & { due: number })[] = [];
  const buried: NewDeadLetter[] = [];
  const add = (records: readonly NewRecord[]) =>
    waiting.push(...records.map((each) => ({ ...each, due: base.context.now().getTime() + (each.delaySeconds ?? 0) * 1000 })));
  const queue = {
    acknowledge: async () => {},
    defer: async (moves: readonly { next: NewRecord }[]) => void add(moves.map(({ next }) => next)),
    bury: async (_record: unknown, letter: NewDeadLetter) => void buried.push(letter),
  };
  const circuit = createCircuit("dev", async () => {}, observed.observer, toRelayError);
  const send = async (records: readonly NewRecord[]) => void add(records);
  const context = { ...base.context, channels: source.channels, send, cluster: "dev", queue, circuit, observer: observed.observer };
  let receipts = 0;
  return {
    ...base,
    ...observed,
    source,
    buried,
    waiting,
    work: (...requests: readonly RenewRequest[]) =>
      consume(
        requests.map((request) => recordOf(encode(request), receipts++)),
        context,
      ),
    /** Time goes on, and whatever falls due is worked on. */
    async pass(seconds: number) {
      base.wait(seconds);
      const now = context.now().getTime();
      const due = waiting.filter((each) => each.due <= now);
      for (const each of due) waiting.splice(waiting.indexOf(each), 1);
      await consume(
        due.map(({ body }) => recordOf(body, receipts++)),
        context,
      );
    },
  };
}
const recordOf = (body: string, n: number) => ({ id: String(n), receipt: String(n), body, receiveCount: 1, sentAt: at(0) });

describe("respell", () => {
  it.each([
    ["3m", "3m0s"],
    ["1h", "1h0s"],
    ["1h30m", "1h30m0s"],
    ["180s", "0180s"],
    ["3m30s", "03m30s"],
    ["1h0m5s", "01h0m5s"],
    ["0s", "00s"],
  ])("%s and %s are each other's", (one, other) => {
    expect([respell(one), respell(other)]).toEqual([other, one]);
  });

  it.each(["", "3", "3m 0s", "1.5h", "5ms", "s"])("knows no second spelling of %j", (text) => {
    expect(respell(text)).toBeNull();
  });

  it("means the same, looks different, keeps to the CRD's pattern and comes back", () => {
    const part = (unit: string) =>
      fc.option(
        fc.nat(999).map((n) => `${n}${unit}`),
        { nil: "" },
      );
    const durations = fc
      .tuple(part("h"), part("m"), part("s"))
      .map((parts) => parts.join(""))
      .filter((text) => text !== "");
    fc.assert(
      fc.property(durations, (text) => {
        const other = respell(text) ?? expect.fail(text);
        expect(other).not.toBe(text);
        expect(other).toMatch(/^(\d+h)?(\d+m)?(\d+s)?$/);
        expect(secondsOf(other)).toBe(secondsOf(text));
        expect(respell(other)).not.toBe(other);
        expect(secondsOf(respell(other) ?? "")).toBe(secondsOf(text));
      }),
    );
  });
});

/** As Go's time.ParseDuration adds it up. */
function secondsOf(text: string): number {
  const units = { h: 3600, m: 60, s: 1 };
  return [...text.matchAll(/(\d+)([hms])/g)].reduce(
    (sum, [, n, unit]) => sum + Number(n) * (unit === "h" || unit === "m" ? units[unit] : 1),
    0,
  );
}

describe("a rescan", () => {
  it("respells the scan interval, and says that it did", async () => {
    const { work, source, lines } = world();
    await work(pushOf());
    expect(source.written).toEqual(["3m0s"]);
    expect(lines).toMatchObject([{ outcome: "RESCANNED", kind: "rescan", source: "test", shared: false, scanInterval: "3m0s" }]);
  });

  it("of ten pushes that were there before it is one, and each of them is followed", async () => {
    const { work, wait, source, outcomes, waiting } = world();
    wait(5);
    const modules = Array.from({ length: 10 }, (_, n) => `echo${n}`);
    await work(...modules.map((module, n) => pushOf({ module, key: `key00000${n}`, receivedAt: at(n / 10) })));
    expect(source.written).toEqual(["3m0s"]);
    expect(outcomes()).toEqual(modules.map(() => "RESCANNED"));
    const looks = waiting
      .map(({ body }) => decode(body))
      .map((read) => (read.kind === "request" && read.request.look ? read.request.module : ""));
    expect(looks.toSorted()).toEqual(modules);
  });

  it("of pushes that come after it waits until its minute is over, and is then one for all of them", async () => {
    const { work, wait, pass, source, outcomes } = world();
    await work(pushOf());
    for (let n = 1; n <= 10; n++) {
      wait(3);
      await work(pushOf({ key: `key0000${n + 10}`, receivedAt: at(3 * n) }));
    }
    expect(source.written).toEqual(["3m0s"]);
    expect(outcomes()).toEqual(["RESCANNED", ...Array.from({ length: 10 }, () => "DEFERRED")]);
    await pass(31);
    expect(source.written).toEqual(["3m0s", "3m"]);
    await pass(600);
    expect(source.written).toEqual(["3m0s", "3m"]);
    expect(outcomes().filter((outcome) => outcome === "RESCANNED")).toHaveLength(11);
  });

  it("is not taken for one of this push where clocks could differ", async () => {
    const { work, source, wait, outcomes } = world();
    wait(3);
    source.set({ rescannedAt: at(1.9).replace(".900", "") });
    await work(pushOf({ receivedAt: at(0) }));
    expect([outcomes(), source.written]).toEqual([["DEFERRED"], []]);
  });

  it("goes on where the source was scanned by a clock that is days ahead, long ago, or at no known time", async () => {
    for (const rescannedAt of ["2026-11-28T00:00:00Z", "2026-11-20T00:00:00Z", "yesterday", null]) {
      const { work, source, outcomes } = world();
      source.set({ rescannedAt });
      await work(pushOf());
      expect([outcomes(), source.written]).toEqual([["RESCANNED"], ["3m0s"]]);
    }
  });

  it("is left to the override where there is one", async () => {
    const { work, source, lines } = world({ override: true });
    await work(pushOf());
    expect(source.written).toEqual([]);
    expect(lines).toMatchObject([{ outcome: "OVERRIDDEN", follows: "main", why: expect.stringContaining("ModulePullOverride") }]);
  });

  it("decides for each module of one source, overridden or not", async () => {
    const { work, source, outcomes, cluster } = world();
    const get = cluster.overrides.get.bind(cluster.overrides);
    cluster.overrides.get = async (module) => (module === "overridden" ? overrideOf() : get(module));
    await work(pushOf({ module: "overridden", receivedAt: at(1), pushedAt: at(1) }), pushOf({ module: "echo", key: "bbbbbbbbbbbb" }));
    expect(outcomes()).toEqual(["OVERRIDDEN", "RESCANNED"]);
    expect(source.written).toEqual(["3m0s"]);
  });

  it("is told as not supported where the platform does not keep the field, and nothing is left waiting", async () => {
    const { work, lines, waiting, codes } = world({ prunes: true });
    await work(pushOf());
    expect(lines).toMatchObject([{ outcome: "RESCAN_UNSUPPORTED", why: expect.stringContaining("every 3 minutes") }]);
    expect([waiting, codes()]).toEqual([[], []]);
  });

  it("is told as not supported where the interval has no second spelling", async () => {
    const { work, source, lines } = world();
    source.set({ scanInterval: "soon" });
    await work(pushOf());
    expect([source.written, lines]).toMatchObject([[], [{ outcome: "RESCAN_UNSUPPORTED", why: expect.stringContaining('"soon"') }]]);
  });

  it("ends where there is no such source", async () => {
    const { work, source, outcomes } = world();
    source.set(null);
    await work(pushOf());
    expect(outcomes()).toEqual(["NO_SOURCE"]);
  });

  it.each<ErrorCode>(["FORBIDDEN", "FORBIDDEN_BY_POLICY", "INVALID"])("ends with an alarm where it is refused: %s", async (code) => {
    const { work, source, outcomes, alarms, waiting, buried } = world();
    source.fail(new RelayError(code, "403 cannot get resource"));
    await work(pushOf());
    expect([outcomes(), waiting, buried]).toEqual([["RESCAN_REFUSED"], [], []]);
    expect(alarms).toMatchObject([
      { code: "RESCAN_REFUSED", what: expect.stringContaining("infra/cluster/rescan"), why: "403 cannot get resource" },
    ]);
  });

  it("reads and decides again after a conflict: another worker's rescan is then this push's too", async () => {
    const { work, source, wait, lines } = world();
    wait(10);
    const respellOnce = source.channels.respell;
    let isFirst = true;
    Object.assign(source.channels, {
      respell: async (...args: Parameters<typeof respellOnce>) => {
        if (!isFirst) return respellOnce(...args);
        isFirst = false;
        source.set({ rescannedAt: at(9).replace(".000", ""), resourceVersion: "7" });
        throw new RelayError("CONFLICT", "the object has been modified");
      },
    });
    await work(pushOf());
    expect([source.written, lines]).toMatchObject([[], [{ outcome: "RESCANNED", shared: true }]]);
  });

  it("waits while the API server does not answer", async () => {
    const { work, source, waiting, codes } = world();
    source.fail(new RelayError("CLUSTER_UNREACHABLE", "no answer in time"));
    await work(pushOf());
    expect([waiting.length, codes()]).toEqual([1, ["CLUSTER_UNREACHABLE"]]);
  });

  it("stays one when it is sent again from the dead letters", () => {
    const redriven = redriveOf({ body: encode(pushOf()), code: "LAST_RECEIVE" }, configOf());
    expect(redriven).toMatchObject({ kind: "send", requests: [{ kind: "rescan", source: "test", tag: "alpha" }] });
  });
});

describe("the release that comes of it", () => {
  const release = (part: Partial<ModuleRelease> = {}): ModuleRelease => ({
    name: "echo-v1.2.3",
    version: "v1.2.3",
    createdAt: at(4).replace(".000", ""),
    phase: "Pending",
    message: "",
    policy: "team",
    applyAfter: null,
    ...part,
  });
  const manual = 'Waiting for manual approval (annotation modules.deckhouse.io/approved="true" required)';
  const old = release({ name: "echo-v1.2.2", version: "v1.2.2", createdAt: "2026-11-01T00:00:00Z", phase: "Deployed" });
  async function rescanned() {
    const w = world();
    w.source.setReleases(old);
    await w.work(pushOf());
    w.lines.splice(0);
    return w;
  }

  it("is told once Deckhouse runs it", async () => {
    const { pass, source, lines, outcomes } = await rescanned();
    await pass(10);
    source.setReleases(old, release());
    await pass(20);
    source.setReleases({ ...old, phase: "Superseded" }, release({ phase: "Deployed" }));
    await pass(60);
    expect(outcomes()).toEqual(["DEFERRED", "DEFERRED", "RELEASE_DEPLOYED"]);
    expect(lines[2]).toMatchObject({ release: "echo-v1.2.3", version: "v1.2.3", phase: "Deployed", policy: "team" });
  });

  it("is told with what it waits for, and what a person can do", async () => {
    const { pass, source, lines, outcomes, waiting } = await rescanned();
    source.setReleases(old, release({ message: manual }));
    await pass(10);
    await pass(20);
    expect(outcomes()).toEqual(["DEFERRED", "RELEASE_PENDING"]);
    expect(lines[1]?.["why"]).toBe(
      `${manual}; by the update policy team: kubectl annotate modulerelease echo-v1.2.3 modules.deckhouse.io/approved=true`,
    );
    expect(waiting).toEqual([]);
  });

  it("waits for a window, or for its time, by the platform's settings", async () => {
    const { pass, source, lines } = await rescanned();
    source.setReleases(release({ message: "Release is waiting for the update window: 24 Nov 26 18:00 UTC", policy: null }));
    await pass(10);
    await pass(20);
    expect(lines.at(-1)?.["why"]).toBe("Release is waiting for the update window: 24 Nov 26 18:00 UTC; by the platform's update settings");
    const later = await rescanned();
    later.source.setReleases(release({ applyAfter: at(9000) }));
    for (const seconds of [10, 20, 60, 210]) await later.pass(seconds);
    expect(later.lines.at(-1)).toMatchObject({
      outcome: "RELEASE_PENDING",
      why: `it is Pending, not before ${at(9000)}; by the update policy team`,
    });
  });

  it("of several that one scan made is the last version", async () => {
    const { pass, source, lines } = await rescanned();
    const versions = ["v1.10.0", "v1.9.0", "v1.3.0"];
    source.setReleases(
      ...versions.map((version) => release({ name: `echo-${version}`, version, phase: version === "v1.10.0" ? "Deployed" : "Superseded" })),
    );
    await pass(10);
    expect(lines).toMatchObject([{ outcome: "RELEASE_DEPLOYED", version: "v1.10.0" }]);
  });

  it("is told as none where none came, with the newest there is", async () => {
    const { pass, lines, outcomes, waiting } = await rescanned();
    for (const seconds of [10, 20, 60, 210]) await pass(seconds);
    expect(outcomes()).toEqual(["DEFERRED", "DEFERRED", "DEFERRED", "NO_RELEASE"]);
    expect(lines.at(-1)).toMatchObject({ newest: "echo-v1.2.2" });
    expect(waiting).toEqual([]);
  });

  it("is looked for and never written: nothing of the cluster changes by it", async () => {
    const { pass, source, cluster } = await rescanned();
    source.setReleases(release({ message: manual }));
    for (const seconds of [10, 20, 60, 210]) await pass(seconds);
    expect([source.written, cluster.patches]).toEqual([["3m0s"], []]);
  });
});
