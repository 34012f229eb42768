/**
 * Who owns the fields of `spec`, as far as clients look for it: whoever changes a field last.
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
 */
import { isDeepStrictEqual } from "node:util";
import type { Fields, ManagedFields } from "./types.ts";

/** The entries after a write by `manager`; as they were where it changed nothing. */
export function managersAfter(
  entries: readonly ManagedFields[],
  before: Fields | undefined,
  after: Fields | undefined,
  { manager, apiVersion, time }: { readonly manager: string; readonly apiVersion: string; readonly time: string },
): readonly ManagedFields[] {
  const fields = Object.keys({ ...before, ...after });
  const changed = fields.filter((field) => !isDeepStrictEqual(before?.[field], after?.[field])).map((field) => `f:${field}`);
  if (changed.length === 0) return entries;
  const owned = new Map(entries.map((entry) => [entry.manager, Object.keys(entry.fieldsV1["f:spec"])]));
  const given = changed.filter((field) => field.slice(2) in (after ?? {}));
  const kept = [...owned].map(([name, theirs]): [string, string[]] => [name, theirs.filter((field) => !changed.includes(field))]);
  const all = new Map(kept).set(manager, [...(new Map(kept).get(manager) ?? []), ...given]);
  return [...all]
    .filter(([, theirs]) => theirs.length > 0)
    .map(([name, theirs]) => ({
      manager: name,
      operation: "Update",
      apiVersion,
      time: name === manager ? time : (entries.find((entry) => entry.manager === name)?.time ?? time),
      fieldsType: "FieldsV1",
      fieldsV1: { "f:spec": Object.fromEntries(theirs.map((field) => [field, {}])) },
    }));
}
