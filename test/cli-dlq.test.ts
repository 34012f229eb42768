import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { decode, encode, type RenewRequest } from "../src/event.ts";
import { type EmbeddedStore, openEmbedded } from "../src/queue/embedded.ts";
import { serveHub } from "../src/queue/hub.ts";
import type { NewDeadLetter } from "../src/queue/queue.ts";
import { unparsedLetter } from "../src/unparsed.ts";
import { mpoRelay, NOW } from "./support/cli.ts";
import { HEAVY_MS } from "./support/wait.ts";

let folder: string;
let config: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dlq-"));
  config = join(folder, "relay.json");
  await writeFile(
    config,
    JSON.stringify({
      webhooks: { ci: { provider: "generic", secret: "env:S" } },
      sources: [{ repo: "r.example.com/m", clusters: ["dev"] }],
      clusters: { dev: { queue: "embedded:" }, stage: { queue: "embedded:" } },
    }),
  );
});
afterEach(async () => rm(folder, { recursive: true }));

const request = (part: Partial<RenewRequest> = {}): RenewRequest => ({
  v: 1,
  kind: "renew",
  cluster: "dev",
  module: "echo",
  source: null,
  tag: "main",
  digest: null,
  index: false,
  key: "0123456789abcdef",
  nudge: 0,
  webhook: "ci",
  image: "r.example.com/m/echo:main",
  actor: null,
  pushedAt: null,
  receivedAt: "2026-06-01T09:00:00.000Z",
  attempt: 4,
  notBefore: null,
  refusedSince: null,
  retries: 0,
  rival: null,
  ...part,
});
const letter = (body: string, code: string, text = "why"): NewDeadLetter => ({
  body,
  code,
  text,
  attempts: 5,
  firstAt: "2026-06-01T09:00:00.000Z",
  lastAt: "2026-06-01T11:20:00.000Z",
});
const unread = (body: string) =>
  unparsedLetter({ webhook: "ci", headers: {}, body: Buffer.from(body) }, [], ["not JSON"], new Date("2026-06-01T09:00:00.000Z"));

/** Works on the queue's folder as its owner. */
async function asOwner<T>(work: (store: EmbeddedStore) => Promise<T>): Promise<T> {
  const store = openEmbedded(join(folder, "data"));
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
const put = (letters: Record<string, NewDeadLetter[]>) =>
  asOwner(async (store) => {
    await store.queue("dev").ready();
    for (const [name, each] of Object.entries(letters)) for (const one of each) await store.queue(name).deadLetters.put(one);
  });
/** What the queues hold at the end: waiting requests, and dead letters by code. */
const state = () =>
  asOwner(async (store) => {
    const requests: RenewRequest[] = [];
    const letters: string[] = [];
    for (const name of ["dev", "stage", "unparsed"]) {
      for (const record of await store.queue(name).receive({ max: 100, waitSeconds: 0, visibilitySeconds: 1 })) {
        const read = decode(record.body);
        if (read.kind === "request") requests.push(read.request);
      }
      letters.push(...(await store.queue(name).deadLetters.list(100)).letters.map((each) => `${name} ${each.code}`));
    }
    return { requests, letters };
  });

const dlq = (...args: string[]) => mpoRelay(["dlq", ...args, "--config", config]);
const json = z.looseObject({ letters: z.array(z.looseObject({ id: z.string() })) });
async function ids(...args: string[]): Promise<string[]> {
  return json.parse(JSON.parse((await dlq("list", "--json", ...args)).out)).letters.map((each) => each.id);
}

describe("list", () => {
  it("says so when there is nothing", async () => {
    await put({});
    expect(await dlq("list")).toEqual({ exitCode: 0, out: "no dead letters (looked at: dev, stage, unparsed)", err: "" });
  });

  it("groups by reason: count, oldest, an example, what to do, what to do next; and ends with 3", async () => {
    const young = { ...letter(encode(request({ module: "young" })), "FORBIDDEN"), lastAt: "2026-06-01T11:50:00.000Z" };
    await put({ dev: [young, letter(encode(request()), "FORBIDDEN", "no\nbinding")], unparsed: [unread("{")] });
    const { exitCode, out } = await dlq("list");
    expect(exitCode).toBe(3);
    expect(out).toMatch(/^REASON +COUNT +OLDEST +EXAMPLE +WHY$/m);
    expect(out).toMatch(/^FORBIDDEN +2 +40 min +dev\/2 +echo:main: no binding$/m);
    expect(out).toMatch(/^UNPARSED +1 +3 h +unparsed\/3 +webhook ci: not JSON$/m);
    expect(out).toMatch(/^ {2}FORBIDDEN: .*restore the binding/m);
    expect(out).toMatch(/^ {2}UNPARSED: .*update the relay/m);
    expect(out).toContain("3 dead letters");
    expect(out).toContain(`next: mpo-relay dlq show dev/2 --config ${config}`);
  });

  it("shows each letter with its id where it is asked to", async () => {
    await put({ dev: [letter(encode(request()), "FORBIDDEN", "no\nbinding")], unparsed: [unread("{")] });
    const { exitCode, out } = await dlq("list", "--each");
    expect(exitCode).toBe(3);
    expect(out).toMatch(/^ID +CODE +WHAT +AGE +WHY$/m);
    expect(out).toMatch(/^dev\/1 +FORBIDDEN +echo:main +40 min +no binding$/m);
    expect(out).toMatch(/^unparsed\/2 +UNPARSED +webhook ci +3 h +not JSON$/m);
  });

  it("tells of records that wait, which are no dead letters", async () => {
    await put({});
    await asOwner((store) => store.queue("stage").send([{ body: encode(request()) }, { body: encode(request()), delaySeconds: 600 }]));
    const { exitCode, out } = await dlq("list");
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^waiting, .*no trouble without an alarm .*: stage 2 records, the oldest stored \d+ s ago$/m);
    expect(JSON.parse((await dlq("list", "--json")).out)).toMatchObject({
      waiting: [
        { cluster: "dev", records: 0, oldestSeconds: null },
        { cluster: "stage", records: 2, oldestSeconds: expect.any(Number) },
      ],
    });
  });

  it("says what --limit leaves out", async () => {
    await put({ dev: [1, 2, 3].map(() => letter(encode(request()), "INVALID")) });
    expect((await dlq("list", "--limit", "2")).out).toContain("2 dead letters, and more in dev (--limit)");
    expect((await dlq("list", "--limit", "2", "--code", "INVALID")).out).toContain("2 dead letters, and more in dev (--limit)");
    expect((await dlq("list", "--limit", "3")).out).not.toContain("--limit)");
  });

  it("knows a reason that it does not know", async () => {
    await put({ dev: [letter(encode(request()), "OF_TOMORROW")] });
    expect((await dlq("list")).out).toContain("OF_TOMORROW: a reason that this version does not know");
  });

  it("narrows by cluster, code and module", async () => {
    await put({
      dev: [letter(encode(request()), "INVALID"), letter(encode(request({ module: "other" })), "FORBIDDEN")],
      stage: [letter(encode(request({ cluster: "stage" })), "INVALID")],
    });
    expect(await ids()).toEqual(["dev/1", "dev/2", "stage/3"]);
    expect(await ids("--cluster", "stage")).toEqual(["stage/3"]);
    expect(await ids("--code", "invalid")).toEqual(["dev/1", "stage/3"]);
    expect(await ids("--module", "other")).toEqual(["dev/2"]);
    expect((await dlq("list", "--code", "invallid", "--cluster", "dev")).out).toBe(
      "no dead letters with the code INVALLID (looked at: dev)",
    );
  });

  it("gives JSON to programs", async () => {
    await put({ dev: [letter(encode(request()), "INVALID", "why")] });
    const { out } = await dlq("list", "--json", "--cluster", "dev");
    expect(JSON.parse(out)).toEqual({
      reasons: [
        {
          code: "INVALID",
          count: 1,
          oldestAt: "2026-06-01T11:20:00.000Z",
          expiresAt: null,
          example: "dev/1",
          advice: expect.stringContaining("redrive"),
        },
      ],
      letters: [
        {
          cluster: "dev",
          id: "dev/1",
          code: "INVALID",
          text: "why",
          attempts: 5,
          firstAt: "2026-06-01T09:00:00.000Z",
          lastAt: "2026-06-01T11:20:00.000Z",
          expiresAt: null,
          module: "echo",
          tag: "main",
          image: "r.example.com/m/echo:main",
          key: "0123456789abcdef",
          webhook: "ci",
        },
      ],
      waiting: [{ cluster: "dev", records: 0, oldestSeconds: null }],
      total: 1,
      more: false,
      incomplete: [],
      failed: [],
    });
  });

  it("names a queue that cannot be opened, and shows the others", async () => {
    await put({ dev: [letter(encode(request()), "INVALID")] });
    await writeFile(config, JSON.stringify({ clusters: { broken: { queue: "env:NOT_SET" }, dev: { queue: "embedded:" } } }));
    const { exitCode, out, err } = await dlq("list");
    expect(exitCode).toBe(1);
    expect(out).toContain("dev/1");
    expect(err).toContain("error: broken: the queue's variable NOT_SET is not set");
    expect(err).toContain("could not look at broken");
    expect((await dlq("list", "--module", "other")).out).toBe("no dead letters with the module other (looked at: dev, unparsed)");
    expect((await dlq("list", "--cluster", "broken")).out).toBe("");
  });

  it("does not create a queue where there is none", async () => {
    expect(await dlq("list", "--cluster", "dev")).toMatchObject({ exitCode: 1, err: expect.stringContaining("there is no queue here") });
  });

  it("refuses an unknown cluster: 2", async () => {
    expect(await dlq("list", "--cluster", "nope")).toMatchObject({
      exitCode: 2,
      err: expect.stringContaining("known: dev, stage, unparsed"),
    });
  });
});

describe("show", () => {
  it("tells everything about one", async () => {
    await put({ dev: [letter(encode(request()), "FORBIDDEN", "no binding")] });
    const { exitCode, out } = await dlq("show", "dev/1");
    expect(exitCode).toBe(0);
    for (const text of [
      "code      FORBIDDEN",
      "text      no binding",
      "attempts  5",
      "do        the API server refuses us (RBAC)",
      "error     FORBIDDEN at 2026-06-01T11:20:00.000Z, attempt 5: no binding",
      "override  cannot be looked at: the configuration here names no way into cluster dev",
      "module    echo",
      '"receivedAt":"2026-06-01T09:00:00.000Z"',
      "next: mpo-relay dlq redrive dev/1 --wait",
    ]) {
      expect(out).toContain(text);
    }
  });

  it("takes a bare number where the cluster is named", async () => {
    await put({ dev: [letter(encode(request()), "FORBIDDEN")] });
    expect(await dlq("show", "1", "--cluster", "dev")).toMatchObject({ exitCode: 0 });
    expect(await dlq("show", "1")).toMatchObject({ exitCode: 2, err: expect.stringContaining("CLUSTER/ID") });
  });

  it("says when there is none", async () => {
    await put({});
    expect(await dlq("show", "dev/7")).toMatchObject({ exitCode: 1, err: expect.stringContaining("no dead letter dev/7") });
  });
});

describe("redrive", () => {
  it("sends one again as the same push with one nudge more, and removes it", async () => {
    await put({ dev: [letter(encode(request()), "FORBIDDEN"), letter(encode(request({ module: "other" })), "FORBIDDEN")] });
    const { exitCode, out } = await dlq("redrive", "dev/1");
    expect(exitCode).toBe(0);
    expect(out).toContain("dev/1  echo:main to dev (nudge 1)\n1 dead letter sent again\nnext: ");
    expect(await state()).toEqual({ requests: [request({ nudge: 1, attempt: 0 })], letters: ["dev FORBIDDEN"] });
  });

  it("only says what it would do with --dry-run", async () => {
    await put({ dev: [letter(encode(request()), "FORBIDDEN")] });
    expect((await dlq("redrive", "--all", "--dry-run")).out).toContain("1 dead letter would be sent again");
    expect(await state()).toEqual({ requests: [], letters: ["dev FORBIDDEN"] });
  });

  it("keeps what cannot be sent again, says why, and ends with 1", async () => {
    await put({ dev: [letter("{", "MALFORMED"), letter(encode(request()), "INVALID")], unparsed: [unread("{")] });
    const { exitCode, out } = await dlq("redrive", "--all");
    expect(exitCode).toBe(1);
    expect(out).toContain("dev/1  kept: not a record that a relay wrote (not JSON): purge it");
    expect(out).toContain("unparsed/3  kept: this version cannot read it either");
    expect(out).toContain("1 dead letter sent again, 2 kept");
    expect((await state()).letters).toEqual(["dev MALFORMED", "unparsed UNPARSED"]);
  });

  it("parses a delivery again that can be read by now", async () => {
    await put({
      unparsed: [
        unread(JSON.stringify({ repository: "r.example.com/m/echo", tag: "main" })),
        unread(JSON.stringify({ repository: "r.example.com/other/x", tag: "main" })),
      ],
    });
    const { exitCode, out } = await dlq("redrive", "--all");
    expect(exitCode).toBe(0);
    expect(out).toContain("unparsed/1  echo:main to dev (nudge 0)");
    expect(out).toContain("unparsed/2  understood now, and not for us: nothing to send");
    const { requests, letters } = await state();
    expect(letters).toEqual([]);
    expect(requests).toMatchObject([{ module: "echo", receivedAt: "2026-06-01T09:00:00.000Z", nudge: 0 }]);
  });

  it("sends a record that lay in another cluster's queue to its own", async () => {
    await put({
      dev: [letter(encode(request({ cluster: "stage" })), "WRONG_CLUSTER"), letter(encode(request({ cluster: "gone" })), "WRONG_CLUSTER")],
    });
    const { exitCode, out } = await dlq("redrive", "--all");
    expect(exitCode).toBe(1);
    expect(out).toContain("dev/1  echo:main to stage (nudge 1)");
    expect(out).toContain('dev/2  kept: its cluster "gone" is not in the configuration');
    expect((await state()).requests).toMatchObject([{ cluster: "stage", nudge: 1 }]);
  });

  it("chooses by code and module", async () => {
    await put({
      dev: [
        letter(encode(request()), "INVALID"),
        letter(encode(request({ module: "other" })), "INVALID"),
        letter(encode(request()), "FORBIDDEN"),
      ],
    });
    expect((await dlq("redrive", "--code", "INVALID", "--module", "echo")).out).toContain("1 dead letter sent again");
    expect((await state()).letters).toEqual(["dev INVALID", "dev FORBIDDEN"]);
  });

  it("names an id that is not there", async () => {
    await put({});
    expect(await dlq("redrive", "dev/9")).toMatchObject({ exitCode: 1, err: expect.stringContaining("no dead letter dev/9") });
  });

  it("works beside a running owner of the folder", async () => {
    await put({ dev: [letter(encode(request()), "FORBIDDEN")] });
    await asOwner(async (store) => {
      const hub = await serveHub(store);
      expect(await dlq("redrive", "--all")).toMatchObject({ exitCode: 0, out: expect.stringContaining("1 dead letter sent again") });
      expect(await store.queue("dev").depth()).toMatchObject({ records: 1 });
      await hub.close();
    });
  });
});

describe("purge", () => {
  it("asks for --yes where nobody can be asked", async () => {
    await put({ dev: [letter(encode(request()), "INVALID")] });
    const { exitCode, out, err } = await dlq("purge", "--all");
    expect(exitCode).toBe(2);
    expect(out).toContain("dev/1  INVALID r.example.com/m/echo:main\n1 dead letter would be removed");
    expect(err).toContain("say --yes");
    expect(await dlq("purge", "--all", "--yes", "--dry-run")).toMatchObject({
      exitCode: 0,
      out: expect.stringContaining("would be removed"),
    });
    expect((await state()).letters).toEqual(["dev INVALID"]);
  });

  it("removes what was chosen", async () => {
    await put({ dev: [letter("{", "MALFORMED"), letter(encode(request()), "INVALID")], unparsed: [unread("{")] });
    expect(await dlq("purge", "--code", "MALFORMED", "--yes")).toMatchObject({
      exitCode: 0,
      out: expect.stringContaining("1 dead letter removed"),
    });
    expect(await dlq("purge", "unparsed/3", "--yes", "--json")).toMatchObject({ exitCode: 0 });
    expect(await state()).toEqual({ requests: [], letters: ["dev INVALID"] });
  });

  it.each([
    ["1", 0, []],
    ["yes", 2, ["dev INVALID"]],
    ["", 2, ["dev INVALID"]],
  ])("asks at a terminal how many: %j", async (answer, exitCode, letters) => {
    await put({ dev: [letter(encode(request()), "INVALID")] });
    const asked: string[] = [];
    const ask = async (question: string) => {
      asked.push(question);
      return answer;
    };
    expect(await mpoRelay(["dlq", "purge", "--all", "--config", config], {}, NOW, ask)).toMatchObject({ exitCode });
    expect(asked).toEqual(["Remove 1 dead letter for good? Type 1 to do it: "]);
    expect((await state()).letters).toEqual(letters);
  });

  it("removes after the question only what it had counted", async () => {
    await put({ dev: [letter(encode(request()), "INVALID")] });
    await asOwner(async (store) => {
      const hub = await serveHub(store);
      const ask = async () => {
        await store.queue("dev").deadLetters.put(letter(encode(request()), "FORBIDDEN"));
        return "1";
      };
      const { out } = await mpoRelay(["dlq", "purge", "--all", "--config", config], {}, NOW, ask);
      expect(out).toContain("1 dead letter removed");
      await hub.close();
    });
    expect((await state()).letters).toEqual(["dev FORBIDDEN"]);
  });
});

describe("many", { timeout: HEAVY_MS }, () => {
  it("are gone through page by page, with progress, and no more than --limit", async () => {
    await asOwner(async (store) => {
      await store.queue("dev").ready();
      const hub = await serveHub(store);
      await Promise.all(Array.from({ length: 1200 }, () => store.queue("dev").deadLetters.put(letter(encode(request()), "INVALID"))));
      const { out, err } = await dlq("list");
      expect(out).toMatch(/^INVALID +1200 /m);
      expect(err).toContain("dev: 1000 of about 1200 looked at");
      expect(await dlq("purge", "--all", "--yes", "--limit", "1150")).toMatchObject({ exitCode: 0 });
      expect(await store.queue("dev").deadLetters.count()).toBe(50);
      await hub.close();
    });
  });
});
