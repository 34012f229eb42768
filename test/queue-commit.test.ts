/** Which commits of the embedded queue wait for the disk: those that store something. */
import Database from "libsql";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GroupCommit } from "../src/queue/embedded/commit.ts";
import { EmbeddedQueue } from "../src/queue/embedded/queue.ts";
import { SCHEMA, Tables } from "../src/queue/embedded/tables.ts";

let db: Database.Database;
let queue: EmbeddedQueue;
/** SQLite's own word at each COMMIT: 2 is FULL (an fsync), 1 is NORMAL (none in WAL mode). */
let levels: unknown[];

beforeEach(() => {
  db = new Database(":memory:");
  db.exec(`PRAGMA synchronous = FULL; ${SCHEMA}`);
  levels = [];
  const watched = {
    get inTransaction() {
      return db.inTransaction;
    },
    exec(sql: string) {
      if (sql === "COMMIT") levels.push(db.prepare("PRAGMA synchronous").get());
      db.exec(sql);
    },
  };
  queue = new EmbeddedQueue("dev", new Tables(db), new GroupCommit(watched));
});
afterEach(() => db.close());

const take = () => queue.receive({ max: 10, waitSeconds: 0, visibilitySeconds: 60 });
const letter = {
  body: "b",
  code: "INVALID",
  text: "t",
  attempts: 1,
  firstAt: "2026-01-02T03:04:05.678Z",
  lastAt: "2026-01-02T03:04:05.678Z",
};
const [FULL, NORMAL] = [{ synchronous: 2 }, { synchronous: 1 }];

it("waits for the disk to store, defer and bury, not to take and delete", async () => {
  await queue.send([{ body: "1" }, { body: "2" }, { body: "3" }]);
  const [first, second, third] = await take();
  if (!first || !second || !third) throw new Error("three records were sent");
  await queue.acknowledge([first]);
  await queue.defer([{ record: second, next: { body: "2 again" } }]);
  await queue.bury(third, letter);
  await queue.deadLetters.put(letter);
  expect(levels).toMatchObject([FULL, NORMAL, NORMAL, FULL, FULL, FULL]);
});

it("waits for the disk where one of those who share a commit needs it", async () => {
  await queue.send([{ body: "1" }]);
  const [first] = await take();
  if (!first) throw new Error("a record was sent");
  await Promise.all([queue.acknowledge([first]), queue.send([{ body: "2" }])]);
  expect(levels).toMatchObject([FULL, NORMAL, FULL]);
});
