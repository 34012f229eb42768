/**
 * The journal in a DynamoDB table, one item for each push, cluster and stage. The only import of the DynamoDB SDK.
 * `key` and `sort` (cluster and stage) name an item, so what became of a push is one Query. The index `by-time` has a partition for
 * each day (UTC), ordered by `last`; whoever asks for a module asks there too. Nothing scans. `expires` is the table's TTL.
 */
import { ConditionalCheckFailedException, DynamoDBClient, QueryCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import * as z from "zod";
import { RelayError } from "../outcome.ts";
import { cutIntoBatches } from "../queue/batches.ts";
import type { QueueRecord, RunCounts } from "../queue/queue.ts";
import { type Entry, type Journal, KEPT_DAYS, type NewEntry, type Wanted } from "./journal.ts";
import { detailText, entry } from "./schema.ts";

const INDEX = "by-time";
/** Every call ends; who writes beside a sender's delivery waits less. */
const PATIENCE_MS = 5_000;
const DAY_MS = 86_400_000;
/** The longest that SQS keeps a record. */
const RETENTION_SECONDS = 14 * 86_400;
/** The clocks of those who write may be ahead of ours. */
const AHEAD_MS = 300_000;
/** An item each, so that the patience of one does not pass in a queue of our own. */
const AT_ONCE = 25;

export interface DynamoOptions {
  readonly now?: () => Date;
  /** Of one call, with its second try. */
  readonly patienceMs?: number;
}

/**
 * Opens no connection yet. Region, endpoint (AWS_ENDPOINT_URL_DYNAMODB) and credentials by the SDK's usual chain.
 * What is read by key is what was written; by time or module it may be a moment behind, as an index is.
 */
export function openDynamoJournal(table: string, options: DynamoOptions = {}): Journal {
  return new DynamoJournal(table, new DynamoDBClient({ maxAttempts: 2 }), options);
}

class DynamoJournal implements Journal {
  readonly name: string;
  readonly #table: string;
  readonly #client: DynamoDBClient;
  readonly #now: () => Date;
  readonly #patienceMs: number;

  constructor(table: string, client: DynamoDBClient, { now = () => new Date(), patienceMs = PATIENCE_MS }: DynamoOptions) {
    this.name = `the DynamoDB table ${table}`;
    this.#table = table;
    this.#client = client;
    this.#now = now;
    this.#patienceMs = patienceMs;
  }

  async append(entries: readonly NewEntry[]): Promise<void> {
    for (const some of cutIntoBatches(entries, { entries: AT_ONCE, bytes: Infinity }, () => 0))
      await Promise.all(some.map((each) => this.#count(each)));
  }

  async read({ key, since = "0", until = "9", limit, ...filter }: Wanted): Promise<Entry[]> {
    if (since > until) return [];
    if (key !== undefined) {
      const all = await this.#query({ where: { key }, filter: { ...filter, since, until }, limit: Infinity });
      return all.toSorted((a, b) => b.last.localeCompare(a.last)).slice(0, limit);
    }
    const found: Entry[] = [];
    for (const day of daysOf(since, until, this.#now().getTime())) {
      if (found.length >= limit) break;
      found.push(...(await this.#query({ where: { day, since, until }, filter, limit: limit - found.length })));
    }
    return found;
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  /** Where another process wrote the stage with a later time meanwhile, that stays its last. */
  async #count(told: NewEntry): Promise<void> {
    try {
      await this.#update(told, { isLast: true });
    } catch (thrown) {
      if (!(thrown instanceof RelayError && thrown.cause instanceof ConditionalCheckFailedException)) throw thrown;
      await this.#update(told, { isLast: false });
    }
  }

  async #update({ key, cluster, stage, detail, ...told }: NewEntry, { isLast }: { isLast: boolean }): Promise<void> {
    const once = Object.entries({ cluster, stage, ...told }).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]));
    const expires = Math.floor(Date.parse(told.at) / 1000) + KEPT_DAYS * 86_400;
    const each = { detail: JSON.stringify(detail), ...(isLast && { last: told.at, day: told.at.slice(0, 10), expires }) };
    const sets = [
      ...once.map(([name]) => `#${name} = if_not_exists(#${name}, :${name})`),
      ...Object.keys(each).map((name) => `#${name} = :${name}`),
    ];
    const { names, values } = placeholders({ ...Object.fromEntries(once), ...each, times: 1 });
    const command = new UpdateItemCommand({
      TableName: this.#table,
      Key: { key: { S: key }, sort: { S: `${cluster} ${stage}` } },
      UpdateExpression: `SET ${sets.join(", ")} ADD #times :times`,
      ...(isLast && { ConditionExpression: "attribute_not_exists(#last) OR #last <= :last" }),
      ExpressionAttributeNames: names,
      ExpressionAttributeValues: values,
    });
    await this.#named("UpdateItem", (options) => this.#client.send(command, options));
  }

  /** The latest first where `where` names a day. */
  async #query({ where, filter, limit }: { where: Conditions; filter: Conditions; limit: number }): Promise<Entry[]> {
    const isByTime = where.day !== undefined;
    const { names, values } = placeholders({ ...where, ...filter });
    const FilterExpression = expressionOf(filter);
    const found: Entry[] = [];
    let from: { ExclusiveStartKey?: Record<string, { S: string }> } = {};
    for (;;) {
      const command = new QueryCommand({
        TableName: this.#table,
        ...(isByTime ? { IndexName: INDEX, ScanIndexForward: false } : { ConsistentRead: true }),
        KeyConditionExpression: expressionOf(where),
        ...(FilterExpression === "" ? { Limit: limit } : { FilterExpression }), // what a filter leaves out counts to a limit: then a page is 1 MB
        ExpressionAttributeNames: names,
        ExpressionAttributeValues: values,
        ...from,
      });
      const { Items, LastEvaluatedKey } = await this.#named("Query", async (options) =>
        page.parse(await this.#client.send(command, options)),
      );
      found.push(...Items);
      if (LastEvaluatedKey === undefined || found.length >= limit) return found.slice(0, limit);
      from = { ExclusiveStartKey: LastEvaluatedKey };
    }
  }

  #named<T>(what: string, call: Call<T>): Promise<T> {
    return named(`the journal: ${this.name}, ${what}`, this.#patienceMs, call);
  }
}

/**
 * Counts runs in the same table, an item for each record, under keys that no push has; the index, of what has a day, does not hold them.
 * They stay as long as a queue keeps the record. Opens no connection yet.
 */
export function openDynamoRuns(table: string, { now = () => new Date(), patienceMs = PATIENCE_MS }: DynamoOptions = {}): RunCounts {
  const client = new DynamoDBClient({ maxAttempts: 2 });
  const update = async ({ id }: Pick<QueueRecord, "id">, UpdateExpression: string, values: Readonly<Record<string, number>>) => {
    const expires = Math.floor(now().getTime() / 1000) + RETENTION_SECONDS;
    const command = new UpdateItemCommand({
      TableName: table,
      Key: { key: { S: `record/${id}` }, sort: { S: "runs" } },
      UpdateExpression,
      ExpressionAttributeNames: { "#runs": "runs", "#expires": "expires" },
      ExpressionAttributeValues: Object.fromEntries(
        Object.entries({ ...values, ":expires": expires }).map(([name, value]) => [name, { N: String(value) }]),
      ),
      ReturnValues: "UPDATED_NEW",
    });
    return named(`the runs of a record: the DynamoDB table ${table}, UpdateItem`, patienceMs, async (options) =>
      counted.parse((await client.send(command, options)).Attributes),
    );
  };
  return {
    begin: async (record) => (await update(record, "SET #expires = :expires ADD #runs :one", { ":one": 1 })).runs,
    forget: async (record) => void (await update(record, "SET #expires = :expires, #runs = :none", { ":none": 0 })),
  };
}

type Call<T> = (options: { abortSignal: AbortSignal }) => Promise<T>;

/** An error of the SDK by its name alone: its text may hold what was sent. A plain Error is about the configuration: no region, say. */
async function named<T>(what: string, patienceMs: number, call: Call<T>): Promise<T> {
  try {
    return await call({ abortSignal: AbortSignal.timeout(patienceMs) });
  } catch (thrown) {
    const why = !(thrown instanceof Error) ? "error" : thrown.name === "Error" ? thrown.message.slice(0, 100) : thrown.name;
    throw new RelayError("JOURNAL_UNAVAILABLE", `${what}: ${why}`, { cause: thrown });
  }
}

type Conditions = Omit<Wanted, "limit"> & { readonly day?: string };

/** Where everything that is given holds. */
function expressionOf({ since, until, ...equal }: Conditions): string {
  const given = Object.entries(equal).filter(([, value]) => value !== undefined);
  const range = since === undefined || until === undefined ? [] : ["#last BETWEEN :since AND :until"];
  return [...given.map(([name]) => `#${name} = :${name}`), ...range].join(" AND ");
}

/** Many a name is a reserved word: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html */
function placeholders(given: Readonly<Record<string, string | number | undefined>>) {
  const held = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  const attributeOf = (name: string) => (name === "since" || name === "until" ? "last" : name);
  return {
    names: Object.fromEntries(held.map(([name]) => [`#${attributeOf(name)}`, attributeOf(name)])),
    values: Object.fromEntries(held.map(([name, value]) => [`:${name}`, typeof value === "number" ? { N: String(value) } : { S: value }])),
  };
}

/** The latest first; none of which everything has expired. */
function daysOf(since: string, until: string, now: number): string[] {
  const days = Array.from({ length: KEPT_DAYS + 2 }, (_, back) => new Date(now + AHEAD_MS - back * DAY_MS).toISOString().slice(0, 10));
  return days.filter((day) => since.slice(0, 10) <= day && day <= until);
}

const attribute = z.union([
  z.object({ S: z.string() }).transform(({ S }) => S),
  z.object({ N: z.string() }).transform(({ N }) => Number(N)),
]);
/** An absent attribute is null. */
const item = z
  .record(z.string(), attribute)
  .transform(({ digest = null, actor = null, pushedAt = null, ...held }): unknown => ({ ...held, digest, actor, pushedAt }))
  .pipe(entry.extend({ detail: detailText }));
const counted = z.object({ runs: attribute.pipe(z.int()) });
const page = z.object({ Items: z.array(item).default([]), LastEvaluatedKey: z.record(z.string(), z.object({ S: z.string() })).optional() });
