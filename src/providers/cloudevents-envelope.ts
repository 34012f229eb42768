/** CloudEvents over HTTP in all three modes: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md */
import * as z from "zod";
import { problems } from "../event.ts";
import { anyList, anyObject, type DeliveryHeaders, type Push } from "./provider.ts";

/** What a body can be in any mode; the payload schema of every provider that reads CloudEvents. */
export const eventsBody = z.union([anyList, anyObject], { error: "neither a CloudEvent nor a list of them" });

/** One event. Senders leave required attributes out, so only `type` is asked for. A provider adds its extension attributes with `.extend`. */
export const cloudEvent = z.object({
  type: z.string(),
  id: z.string().optional(),
  source: z.string().optional(),
  subject: z.string().optional(),
  time: z.string().optional(),
  data: z.unknown().optional(),
  data_base64: z.string().optional(),
});
export type CloudEvent = z.infer<typeof cloudEvent>;

/** The events of a body, for `readEach` with {@link cloudEvent}. Some senders post the structured form as plain `application/json`. */
export function eventsIn(body: unknown, headers: DeliveryHeaders): readonly unknown[] {
  const structured = /^\s*application\/cloudevents/i.test(headers["content-type"] ?? "");
  if (!structured && headers["ce-type"] !== undefined) return [{ ...attributesOf(headers), data: body }];
  return Array.isArray(body) ? body : [body];
}

/** Reads an event's data, which may be JSON in base64. To be called once the type is known to be a push's: others hold other data. */
export function readData<T>(event: CloudEvent, schema: z.ZodType<T>, toPush: (data: T) => Push | null): Push | null {
  const read = schema.safeParse(dataOf(event));
  return read.success ? toPush(read.data) : { unreadable: `data: ${problems(read.error)}` };
}

/** Undefined where it is no JSON. */
export function dataOf({ data, data_base64: encoded }: CloudEvent): unknown {
  if (data !== undefined || encoded === undefined) return data;
  try {
    return JSON.parse(Buffer.from(encoded, "base64").toString("utf8"));
  } catch {
    return undefined;
  }
}

function attributesOf(headers: DeliveryHeaders): Record<string, string> {
  const named = Object.entries(headers).filter(([name]) => name.startsWith("ce-"));
  return Object.fromEntries(named.map(([name, value]) => [name.slice("ce-".length), percentDecoded(value)]));
}

/** Once: section 3.1.3.2 of the binding. */
export function percentDecoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // a bare % that nobody encoded
  }
}
