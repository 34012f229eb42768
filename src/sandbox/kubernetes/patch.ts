/** The two kinds of patch that a custom resource takes: JSON merge patch (RFC 7396) and JSON patch (RFC 6902). */
import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import { isFields } from "./resources.ts";
import { ApiError, badRequest } from "./status.ts";

/** RFC 7396: null deletes, objects merge, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  const merged: Record<string, unknown> = isFields(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

const operations = z.array(
  z.discriminatedUnion("op", [
    z.object({ op: z.enum(["add", "replace", "test"]), path: z.string(), value: z.unknown() }),
    z.object({ op: z.literal("remove"), path: z.string() }),
    z.object({ op: z.enum(["move", "copy"]), path: z.string(), from: z.string() }),
  ]),
);

/** RFC 6902. Throws ApiError 400 for what is no patch, 422 where the patch does not fit. */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  const read = operations.safeParse(patch);
  if (!read.success) throw badRequest("error decoding patch: a JSON patch is a list of operations");
  return read.data.reduce<unknown>((document, operation) => {
    const path = pointer(operation.path);
    switch (operation.op) {
      case "add":
        return put(document, path, operation.value, true);
      case "replace":
        lookUp(document, path);
        return put(document, path, operation.value, false);
      case "remove":
        return remove(document, path);
      case "test":
        if (!isDeepStrictEqual(lookUp(document, path), operation.value)) throw misfit(`testing value ${operation.path} failed`);
        return document;
      default: {
        const value = lookUp(document, pointer(operation.from));
        return put(operation.op === "move" ? remove(document, pointer(operation.from)) : document, path, value, true);
      }
    }
  }, target);
}

const misfit = (why: string): ApiError =>
  new ApiError(422, "Invalid", `the server rejected our request due to an error in our request: ${why}`);
const pointer = (text: string): string[] =>
  text === ""
    ? []
    : text
        .split("/")
        .slice(1)
        .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));

function lookUp(document: unknown, path: readonly string[]): unknown {
  return path.reduce((at, key) => {
    const next: unknown = Array.isArray(at) ? at[Number(key)] : isFields(at) && Object.hasOwn(at, key) ? at[key] : undefined;
    if (next === undefined) throw misfit(`missing value at /${path.join("/")}`);
    return next;
  }, document);
}

/** A copy of `document` in which `change` was applied to the container that the path's last part lies in. */
function change(document: unknown, path: readonly string[], apply: (container: unknown, key: string) => unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) throw misfit("the whole document cannot be removed");
  if (rest.length === 0) return apply(document, key);
  const inner = change(lookUp(document, [key]), rest, apply);
  return Array.isArray(document) ? document.with(Number(key), inner) : { ...(isFields(document) ? document : {}), [key]: inner };
}

const isList = (value: unknown): value is unknown[] => Array.isArray(value);

function put(document: unknown, path: readonly string[], value: unknown, insert: boolean): unknown {
  if (path.length === 0) return value;
  return change(document, path, (container, key) => {
    if (isList(container)) {
      const index = key === "-" ? container.length : Number(key);
      return container.toSpliced(index, insert ? 0 : 1, value);
    }
    if (!isFields(container)) throw misfit(`no object at /${path.slice(0, -1).join("/")}`);
    return { ...container, [key]: value };
  });
}

function remove(document: unknown, path: readonly string[]): unknown {
  lookUp(document, path);
  return change(document, path, (container, key) => {
    if (isList(container)) return container.toSpliced(Number(key), 1);
    const { [key]: _gone, ...rest } = isFields(container) ? container : {};
    return rest;
  });
}
