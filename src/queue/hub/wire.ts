/** The queue port, and what a worker has of the journal, as JSON over HTTP: `POST /queues/<name>/<operation>`. Both ends read what they get by these schemas. */
import * as z from "zod";
import { entry, newEntry } from "../../journal/schema.ts";
import type { NewRecord } from "../queue.ts";

/** A long poll brings no more at once: an answer must get through a slow line before the caller's patience ends. */
export const MOST_RECORDS = 250;
/** Callers cut longer lists: below half of what is read, since JSON escapes each quote of a body. */
export const ASK_LIMITS = { entries: MOST_RECORDS, bytes: 512 * 1024 };
/** Bytes of one request; the largest entry is a deferral with two bodies of 200 KiB. */
export const MOST_BYTES = 2 * 1024 ** 2;

/** Of the journal one answer brings no more; whoever wants more asks for those before. */
export const MOST_ENTRIES = 1000;

/** SQS hides nothing for longer: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html */
const seconds = z.number().min(0).max(43_200);
const record = z.object({ id: z.string(), receipt: z.string(), body: z.string(), receiveCount: z.int(), sentAt: z.string() });
const newRecord = z
  .object({ body: z.string(), delaySeconds: seconds.optional() })
  .transform(({ body, delaySeconds }): NewRecord => (delaySeconds === undefined ? { body } : { body, delaySeconds }));
const newLetter = z.object({
  body: z.string(),
  code: z.string(),
  text: z.string(),
  attempts: z.int(),
  firstAt: z.string(),
  lastAt: z.string(),
});
const letterId = z.string().regex(/^\d+$/);

const askSchemas = {
  send: z.object({ records: z.array(newRecord) }),
  receive: z.object({ ticket: z.string(), max: z.int().min(1), waitSeconds: seconds, visibilitySeconds: seconds }),
  cancel: z.object({ ticket: z.string() }),
  acknowledge: z.object({ records: z.array(record) }),
  defer: z.object({ moves: z.array(z.object({ record, next: newRecord })) }),
  bury: z.object({ record, letter: newLetter }),
  extend: z.object({ record, seconds }),
  ready: z.object({}),
  depth: z.object({}),
  "letters.put": z.object({ letter: newLetter }),
  "letters.page": z.object({ after: letterId.nullable(), upTo: letterId.nullable(), limit: z.int().min(1) }),
  "letters.remove": z.object({ id: letterId }),
  "letters.count": z.object({}),
  "journal.append": z.object({ entries: z.array(newEntry).max(MOST_ENTRIES) }),
  "journal.read": z.object({
    key: z.string().optional(),
    module: z.string().optional(),
    since: z.string().optional(),
    until: z.string().optional(),
    limit: z.int().min(1).max(MOST_ENTRIES),
  }),
} as const;
export type Operation = keyof typeof askSchemas;
export type Ask<O extends Operation> = z.output<(typeof askSchemas)[O]>;
/** What each operation is asked. A `ticket` names a long poll, so that `cancel` can end it. */
export const asks: { readonly [O in Operation]: z.ZodType<Ask<O>> } = askSchemas;

const nothing = z.null();
const answerSchemas = {
  send: nothing,
  receive: z.array(record),
  cancel: nothing,
  acknowledge: nothing,
  defer: nothing,
  bury: nothing,
  extend: nothing,
  ready: nothing,
  depth: z.object({ records: z.int(), oldestSeconds: z.number().nullable() }),
  "letters.put": nothing,
  "letters.page": z.object({
    letters: z.array(newLetter.extend({ id: letterId, expiresAt: z.string().nullable().default(null) })),
    more: z.boolean(),
    newest: letterId.nullable(),
  }),
  "letters.remove": nothing,
  "letters.count": z.int(),
  "journal.append": nothing,
  "journal.read": z.array(entry),
} as const satisfies Record<Operation, z.ZodType>;

export type Answer<O extends Operation> = z.output<(typeof answerSchemas)[O]>;
/** What each operation answers when it went well. */
export const answers: { readonly [O in Operation]: z.ZodType<Answer<O>> } = answerSchemas;

/** A refusal's body; codes that a newer owner may add read as QUEUE_UNAVAILABLE. */
export const refusal = z.object({
  code: z.enum(["QUEUE_UNAVAILABLE", "TOO_LARGE", "INTERNAL", "NO_MEMORY", "JOURNAL_UNAVAILABLE"]).catch("QUEUE_UNAVAILABLE"),
  message: z.string(),
});

export function isOperation(text: string): text is Operation {
  return Object.hasOwn(asks, text);
}
