/** Ways to spoil a JSON value, place by place. */

export type Path = readonly (string | number)[];
export interface Place {
  readonly path: Path;
  readonly value: unknown;
}

/** Every place in a JSON value, the root left out. */
export function placesIn(value: unknown, at: Path = []): Place[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [{ path: [...at, key], value: inner }, ...placesIn(inner, [...at, key])]);
}

/** A copy with another value at one place; `__proto__` is a key like any other, as it is in JSON. */
export function replaced(root: unknown, path: Path, by: unknown): unknown {
  const value = { value: by, enumerable: true, writable: true, configurable: true };
  return changed(root, path, (holder, key) => Object.defineProperty(holder, key, value));
}

/** A copy without one place: a field is gone, an item leaves its list shorter. */
export function without(root: unknown, path: Path): unknown {
  return changed(root, path, (holder, key) =>
    Array.isArray(holder) ? holder.splice(Number(key), 1) : Reflect.deleteProperty(holder, key),
  );
}

function changed(root: unknown, path: Path, change: (holder: object, key: string | number) => unknown): unknown {
  const copy: unknown = structuredClone(root);
  let holder: unknown = copy;
  for (const key of path.slice(0, -1)) holder = typeof holder === "object" && holder !== null ? Reflect.get(holder, key) : undefined;
  if (typeof holder === "object" && holder !== null) change(holder, path.at(-1) ?? "");
  return copy;
}

const kindOf = (value: unknown) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

/** One value of each other JSON type that tells something. */
export const wrongTypesFor = (value: unknown): unknown[] => [null, true, [], {}].filter((wrong) => kindOf(wrong) !== kindOf(value));

/** The empty value of its type; undefined where there is none. */
export function emptyOf(value: unknown): unknown {
  if (Array.isArray(value)) return [];
  if (typeof value === "string") return "";
  return typeof value === "object" && value !== null ? {} : undefined;
}
