/** The hub's serving end: a fetch handler over queues, and the journal of their clusters, whoever listens. It authenticates nobody: the socket's mode, or what stands before it, does. */
import * as z from "zod";
import { createBodies } from "../../bodies.ts";
import { parseJson } from "../../body.ts";
import { problems } from "../../event.ts";
import { toRelayError } from "../../outcome.ts";
import type { PagedDeadLetters } from "../paging.ts";
import type { Queue } from "../queue.ts";
import type { LentJournal } from "./journal.ts";
import { type Answer, type Ask, asks, isOperation, MOST_BYTES, type Operation } from "./wire.ts";

/** A queue that can be lent: its dead letters can be paged, so that the borrower decides on them. */
export type LendableQueue = Queue & { readonly deadLetters: PagedDeadLetters };

/** What is at a name: a cluster's queue, and the journal as far as it is that cluster's. */
export interface Lendable {
  readonly queue: LendableQueue;
  readonly journal: LentJournal;
}

export interface HubHandler {
  /** Answers `POST /queues/<name>/<operation>`: 200 with the result, 4xx or 503 with `{code, message}`. Never throws. */
  fetch(request: Request): Promise<Response>;
  /** Ends all long polls. */
  stop(): void;
}

type Operations = { [O in Operation]: (ask: Ask<O>, signal: AbortSignal) => Promise<Answer<O>> };

export function hubHandler(lookup: (name: string) => Lendable): HubHandler {
  const polls = new Map<string, AbortController>();
  const bodies = createBodies(BODIES_BYTES);
  return {
    async fetch(request) {
      try {
        const { name, operation } = targetOf(request);
        if (request.method !== "POST" || name === null || !isOperation(operation)) {
          return Response.json({ code: "INTERNAL", message: "no such operation of a queue" }, { status: 404 });
        }
        const operations = operationsOf(lookup(name), polls);
        const body = await bodies.read(request.body, MOST_BYTES, async (bytes) => parseJson(Buffer.from(bytes).toString("utf8")));
        return Response.json(await perform(operation, operations, body, request.signal));
      } catch (thrown) {
        return refuse(thrown);
      }
    },
    stop() {
      for (const poll of polls.values()) poll.abort();
    },
  };
}

/** Of all requests in hand, which come from those alone who may. */
const BODIES_BYTES = 64 * 1024 ** 2;

/** Which queue a request names; null: none. Throws URIError for a name that is not encoded well. */
export function targetOf(request: Request): { name: string | null; operation: string } {
  const [root, name, operation = "", ...rest] = new URL(request.url).pathname.slice(1).split("/");
  return { name: root === "queues" && name && rest.length === 0 ? decodeURIComponent(name) : null, operation };
}

/** Generic, so that the schema and the operation stay of one kind. */
async function perform<O extends Operation>(name: O, operations: Operations, body: unknown, signal: AbortSignal): Promise<Answer<O>> {
  return operations[name](asks[name].parse(body), signal);
}

function refuse(thrown: unknown): Response {
  if (thrown instanceof z.ZodError) return Response.json({ code: "INTERNAL", message: problems(thrown) }, { status: 400 });
  if (thrown instanceof SyntaxError) return Response.json({ code: "INTERNAL", message: "not JSON" }, { status: 400 });
  const { code, message } = toRelayError(thrown);
  return Response.json({ code, message }, { status: PASSING.has(code) ? 503 : 400 });
}

const PASSING = new Set(["QUEUE_UNAVAILABLE", "NO_MEMORY", "JOURNAL_UNAVAILABLE"]);

function operationsOf({ queue, journal }: Lendable, polls: Map<string, AbortController>): Operations {
  const letters = queue.deadLetters;
  return {
    send: async ({ records }) => done(queue.send(records)),
    receive: (ask, signal) => receive(queue, ask, signal, polls),
    cancel: async ({ ticket }) => {
      polls.get(ticket)?.abort();
      return null;
    },
    acknowledge: async ({ records }) => done(queue.acknowledge(records)),
    defer: async ({ moves }) => done(queue.defer(moves)),
    bury: async ({ record, letter }) => done(queue.bury(record, letter)),
    extend: async ({ record, seconds }) => done(queue.extend(record, seconds)),
    ready: async () => done(queue.ready()),
    depth: () => queue.depth(),
    "letters.put": async ({ letter }) => done(letters.put(letter)),
    "letters.page": async (range) => {
      const page = await letters.page(range);
      return { ...page, letters: [...page.letters] };
    },
    "letters.remove": async ({ id }) => done(letters.remove(id)),
    "letters.count": () => letters.count(),
    "journal.append": async ({ entries }) => done(journal.append(entries)),
    "journal.read": (wanted) => journal.read(wanted),
  };
}

async function done(work: Promise<void>): Promise<null> {
  await work;
  return null;
}

/** A caller who went away gets nothing: records claimed for it are given back, also while the answer is being written. */
async function receive(queue: LendableQueue, ask: Ask<"receive">, gone: AbortSignal, polls: Map<string, AbortController>) {
  const { ticket, ...options } = ask;
  const cancel = new AbortController();
  polls.set(ticket, cancel);
  try {
    const records = await queue.receive({ ...options, signal: AbortSignal.any([gone, cancel.signal]) });
    const giveBack = () => void Promise.allSettled(records.map((record) => queue.extend(record, 0)));
    if (gone.aborted) giveBack();
    else gone.addEventListener("abort", giveBack);
    return records;
  } finally {
    polls.delete(ticket);
  }
}
