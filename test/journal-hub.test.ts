/** The journal over a hub: the port's contract by the tokens of two clusters, and what a token does not open. */
import { request } from "node:https";
import { describe, expect, it, onTestFinished } from "vitest";
import { entryOf, type Journal, type Stage } from "../src/journal/journal.ts";
import { openJournals } from "../src/journals.ts";
import { askHub } from "../src/queue/hub/transport.ts";
import { journalContract } from "./contracts/journal.ts";
import { startTestHub, testHub, type TestHub } from "./support/hub.ts";
import { at, clusterOf, configOf, fakeObserver, requestOf } from "./support/relay.ts";

journalContract("hub over TLS", async () => {
  const hub = await startTestHub();
  const journal = hub.openJournal(["dev", "stage"]);
  const cleanup = async () => {
    await journal.close();
    await hub.close();
  };
  return { journal, cleanup };
});

const entry = (cluster: string, stage: Stage = "NUDGED", seconds = 0, key = "aaaaaaaaaaaa") =>
  entryOf(requestOf({ cluster, key }), stage, at(seconds));

function opened(hub: TestHub, clusters?: readonly string[]): Journal {
  const journal = hub.openJournal(clusters);
  onTestFinished(() => journal.close());
  return journal;
}

describe("a cluster's token", () => {
  const ask = (hub: TestHub, entries: readonly ReturnType<typeof entry>[]) => {
    const { hostname: host, port } = new URL(hub.url);
    const headers = { authorization: `Bearer ${hub.secrets.get("DEV")}` };
    const options = { host, port, ca: hub.secrets.get("CA") };
    return askHub({ request, options, headers, who: "the hub", queue: "dev" }, "journal.append", { entries: [...entries] }, 10_000);
  };

  it("writes entries of its own cluster, and none of a list with another's in it", async () => {
    const hub = await testHub();
    const all = opened(hub, ["dev", "stage"]);
    await ask(hub, [entry("dev")]);
    await expect(ask(hub, [entry("dev", "PICKED_UP"), entry("stage")])).rejects.toMatchObject({
      code: "INTERNAL",
      message: "an entry of another cluster than dev, whose token this is",
    });
    expect((await all.read({ limit: 9 })).map(({ cluster, stage }) => `${cluster} ${stage}`)).toEqual(["dev NUDGED"]);
  });

  it("reads entries of its own cluster, whatever is asked for", async () => {
    const hub = await testHub();
    await opened(hub, ["dev", "stage"]).append([entry("dev"), entry("stage")]);
    const dev = opened(hub);
    expect((await dev.read({ key: "aaaaaaaaaaaa", limit: 9 })).map(({ cluster }) => cluster)).toEqual(["dev"]);
    await expect(dev.read({ cluster: "stage", limit: 9 })).rejects.toMatchObject({ code: "JOURNAL_UNAVAILABLE" });
  });

  it("that the hub does not know writes nothing, and says what to compare", async () => {
    const hub = await testHub();
    hub.secrets.set("NOBODY", "a-token-of-nobody-0123456789");
    const stranger = hub.openJournal(["dev"], "NOBODY");
    onTestFinished(() => stranger.close());
    await expect(stranger.append([entry("dev")])).rejects.toMatchObject({
      code: "JOURNAL_UNAVAILABLE",
      message: expect.stringContaining("clusters.dev.hubToken must name the same token here and there"),
    });
    expect(await opened(hub).read({ limit: 9 })).toEqual([]);
  });
});

it("more than one answer holds is read page by page, each entry once", async () => {
  const hub = await testHub();
  const journal = opened(hub);
  // two of each second, so that a page ends between two of one instant
  const entries = Array.from({ length: 2501 }, (_, index) => entry("dev", "QUEUED", Math.floor(index / 2), `key${10_000 + index}`));
  await journal.append(entries);
  const read = await journal.read({ limit: 5000 });
  expect(new Set(read.map(({ key }) => key)).size).toBe(2501);
  expect(read).toHaveLength(2501);
  expect(await journal.read({ limit: 1200 })).toEqual(read.slice(0, 1200));
  expect(await journal.read({ limit: 5000, until: at(100), since: at(90) })).toHaveLength(22);
});

describe("a hub", () => {
  const hubForm = (hub: TestHub) =>
    configOf({
      journal: { kind: "hub" },
      clusters: {
        dev: clusterOf(
          { kind: "hub", url: hub.url },
          { hub: { token: { kind: "env", name: "DEV" }, previousToken: null, previousTokenUntil: null, ca: { kind: "env", name: "CA" } } },
        ),
      },
    });
  const journalsOf = async (hub: TestHub, patienceMs: number) => {
    const observed = fakeObserver();
    const env = Object.fromEntries(hub.secrets);
    const journals = await openJournals(hubForm(hub), { observer: observed.observer, patienceMs, env });
    onTestFinished(() => journals.close());
    return { ...journals, codes: observed.codes, alarms: observed.alarms };
  };

  it("that is away holds up nothing and is told of once; when it is back, what follows is written", async () => {
    const hub = await testHub();
    const { note, codes } = await journalsOf(hub, 10_000);
    await note([entry("dev", "QUEUED")]);
    await hub.stop();
    await note([entry("dev", "NUDGED")]);
    await note([entry("dev", "DEFERRED")]);
    expect(codes()).toEqual(["JOURNAL_UNAVAILABLE"]);
    await hub.start();
    await note([entry("dev", "PICKED_UP")]);
    expect((await opened(hub).read({ limit: 9 })).map(({ stage }) => stage).toSorted()).toEqual(["PICKED_UP", "QUEUED"]);
  });

  it("that takes a request and never answers is waited for no longer than the patience", async () => {
    const hub = await testHub();
    await hub.stop();
    await hub.start({ keep: (journal) => ({ read: (wanted) => journal.read(wanted), append: () => new Promise(() => {}) }) });
    const { note, alarms } = await journalsOf(hub, 50);
    await note([entry("dev")]);
    expect(alarms).toMatchObject([{ code: "JOURNAL_UNAVAILABLE", why: "no answer within 50 ms" }]);
  });

  it("that keeps no journal says what to write where", async () => {
    const hub = await testHub();
    await hub.stop();
    await hub.start({ keep: () => null });
    await expect(opened(hub).append([entry("dev")])).rejects.toMatchObject({
      code: "JOURNAL_UNAVAILABLE",
      message: "the journal of dev: the hub keeps none: write `journal: off` here, or a journal there",
    });
  });
});
