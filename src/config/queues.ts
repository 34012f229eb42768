/** Rules between the queues of a configuration: each has one job, since whatever else lies in it would be taken for what it is not. */
import { isDeepStrictEqual } from "node:util";
import type { QueueForm } from "../config.ts";
import { readQueue } from "./forms.ts";
import { isGiven, Refusal, type Tell } from "./problem.ts";
import type { Sketch } from "./rules.ts";

export function queueRules({ webhooks, clusters, unparsed }: Sketch, problem: Tell): void {
  const names = Object.keys(clusters);
  const forms = new Map<string, string>();
  const later: { path: string[]; text: string; of: string | null }[] = [{ path: ["unparsed"], text: textOf(unparsed), of: null }];
  let needsUnparsed = Object.keys(webhooks).length > 0 && names.length > 0 && !isGiven(unparsed);
  for (const [name, { queue, deadLetters }] of Object.entries(clusters)) {
    later.push({ path: ["clusters", name, "deadLetters"], text: textOf(deadLetters), of: textOf(queue) });
    if (name === "unparsed")
      problem(["clusters", name], "this name is taken: the relay keeps unreadable deliveries under it", "choose another");
    const form = typeof queue === "string" ? readQueue(queue, ".") : null;
    if (form === null || form instanceof Refusal || form.kind === "embedded") needsUnparsed = false;
    if (form === null || form instanceof Refusal) continue;
    if (!isOfSqs(form)) continue; // in the others each cluster has its own queue
    const key = keyOf(form);
    const first = forms.get(key);
    if (first !== undefined)
      problem(["clusters", name, "queue"], `the same queue as ${first}`, "one queue per cluster: a dead cluster stalls nobody else");
    else forms.set(key, `clusters.${name}`);
  }
  for (const [name, { queue }] of Object.entries(webhooks)) {
    const form = readQueue(textOf(queue), ".");
    if (form instanceof Refusal || !isOfSqs(form)) continue;
    const first = forms.get(keyOf(form));
    if (first !== undefined)
      problem(["webhooks", name, "queue"], `the same queue as ${first}`, "a webhook's deliveries need a queue of their own");
    else forms.set(keyOf(form), `webhooks.${name}`);
  }
  for (const { path, text, of } of later) letterRules(path, text, of, forms, problem);
  if (needsUnparsed) {
    problem(
      ["unparsed"],
      "deliveries that cannot be read need a place",
      "write unparsed: with a queue of its own, in the same forms as a cluster's queue",
    );
  }
}

/** Where letters go, `of` the queue of that text: never a queue that is consumed, where they would go round and round; and of the queue's own kind. */
function letterRules(path: string[], text: string, of: string | null, queues: ReadonlyMap<string, string>, problem: Tell): void {
  const form = readQueue(text, ".");
  if (form instanceof Refusal) return;
  const taken = isOfSqs(form) ? queues.get(keyOf(form)) : undefined;
  if (taken !== undefined) problem(path, `the queue of ${taken}: letters there would be taken for records`, "write another queue");
  const own = of === null ? form : readQueue(of, ".");
  if (own instanceof Refusal || (isOfSqs(own) ? isOfSqs(form) : isDeepStrictEqual(own, form))) return;
  problem(
    path,
    "cannot hold the dead letters of this queue",
    isOfSqs(own) ? "write an SQS queue" : "leave it out: they lie beside the queue",
  );
}

const textOf = (value: unknown) => (typeof value === "string" ? value : "");
const isOfSqs = (form: QueueForm) => form.kind === "sqs" || form.kind === "env";
const keyOf = (form: QueueForm) => (form.kind === "sqs" ? form.url : form.kind === "env" ? `env:${form.name}` : JSON.stringify(form));
