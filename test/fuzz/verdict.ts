/** What must hold of every answer, and of what the edge stored and logged for it, whatever came in. */
import { decode } from "../../src/event.ts";
import { checkSize } from "../../src/queue/body.ts";
import { storedDelivery } from "../../src/unparsed.ts";
import type { Answered, EveryRegistry, Left } from "../support/every-registry.ts";
import type { Mutated } from "./mutate.ts";

const ASCII = /^[\x20-\x7e]*$/;

/** Everything that is wrong, in words; [] where nothing is. */
export function wrongWith(
  mutation: Mutated,
  { status, text }: Answered,
  left: Left,
  { config, secrets }: Pick<EveryRegistry, "config" | "secrets">,
): string[] {
  const wrong: string[] = [];
  if (!expectedStatuses(mutation, config.limits.body).includes(status)) wrong.push(`answers ${status} ${text.slice(0, 200)}`);
  if (status >= 400 && left.records.length + left.letters.length > 0) wrong.push(`answers ${status}, and stores all the same`);
  if (status !== 413 && status >= 400 && text !== "") wrong.push(`tells a stranger: ${text.slice(0, 200)}`);
  for (const { body } of left.records) {
    const read = decode(body);
    if (read.kind !== "request") wrong.push(`stores a record that no worker reads: ${read.why}`);
    else if (/^[^/]*\/(?:[:@]|$)/.test(read.request.image)) wrong.push(`stores a push of no repository: ${read.request.image}`);
    if (!ASCII.test(body)) wrong.push("stores a record that is not ASCII");
  }
  for (const { body } of left.letters) {
    if (!ASCII.test(body) || storedDelivery(body) === null) wrong.push("keeps a letter that cannot be read again");
    try {
      checkSize(body);
    } catch (error) {
      wrong.push(`keeps a letter that no queue takes: ${String(error)}`);
    }
  }
  const said = [text, ...left.log, ...left.records.map(({ body }) => body), ...left.letters.map(({ body }) => body)].join("\n");
  if (secrets.some((secret) => said.includes(secret))) wrong.push("tells a secret");
  if (left.log.length === 0 && ![404, 405, 413].includes(status)) wrong.push("says nothing in its log");
  return wrong;
}

function expectedStatuses({ call, hook, proof }: Mutated, limit: number): readonly number[] {
  if (call.method === "OPTIONS") return [200, 401, 404, 405, 413];
  if (call.method !== "POST") return [404, 405];
  if (call.body.byteLength > limit) return [413];
  if (proof === "none") return [401, 404];
  // a form that is spoiled so that it holds no payload, or two, is no form that somebody signed
  const inForm = hook.scheme.kind === "hmac" && hook.scheme.over === "form:payload";
  return inForm ? [200, 202, 401] : [200, 202];
}
