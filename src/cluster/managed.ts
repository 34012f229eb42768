/** Who wrote which field of an object, as the API server keeps it: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management */
import * as z from "zod";

/** `spec` has names of fields, `f:imageTag`, and never their values. `time`: when that manager last changed something of what it owns. */
const entry = z
  .object({
    manager: z.string().default(""),
    time: z.string().nullish(),
    fieldsV1: z.object({ "f:spec": z.record(z.string(), z.unknown()).optional() }).optional(),
  })
  .transform(({ manager, time, fieldsV1 }) => ({ manager, time: time || null, spec: Object.keys(fieldsV1?.["f:spec"] ?? {}) }));
export type ManagedFields = readonly z.output<typeof entry>[];

/**
 * An entry that cannot be read is left out, and says nothing about its neighbours: a tool that is not seen sets its value back, and a scan
 * that is not seen is made once more.
 */
export const managedFields = z
  .array(entry.nullable().catch(null))
  .catch([])
  .transform((entries): ManagedFields => entries.filter((each) => each !== null));

/** Those that wrote the field of `spec`. */
export const ownersOf = (entries: ManagedFields, field: "f:imageTag" | "f:scanInterval") =>
  entries.filter(({ spec }) => spec.includes(field));

/** When the owner of a field of `spec` last changed something of what it owns; null: nobody owns it, or nobody knows when. */
export function writtenAt(entries: ManagedFields, field: "f:imageTag"): string | null {
  const times = ownersOf(entries, field).flatMap(({ time }) => (time === null || Number.isNaN(Date.parse(time)) ? [] : [time]));
  return times.toSorted((a, b) => Date.parse(b) - Date.parse(a))[0] ?? null;
}
