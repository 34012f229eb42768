/** The objects, one rising resourceVersion, and the history that watches replay. A write that changes nothing is no write. */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { managersAfter } from "./managers.ts";
import { mergePatch } from "./patch.ts";
import { apiVersionOf, isFields, problemsOf, type Resource, resourceOf, settle } from "./resources.ts";
import { alreadyExists, badRequest, conflict, expired, invalid, notFound } from "./status.ts";
import type { Fields, KubeObject, ManagedFields, NewObject, Plural, Store, StoreEvent } from "./types.ts";

/** A change with its place in the history. */
export interface Change extends StoreEvent {
  readonly plural: Plural;
  readonly version: number;
}
/** How a write changes the object as it is served; it gets and gives plain JSON. */
export type Edit = (current: KubeObject) => unknown;

const HISTORY = 1000;
const NAME = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;

export class ObjectStore implements Store {
  readonly #objects = new Map<Plural, Map<string, KubeObject>>();
  readonly #listeners = new Set<(change: Change) => void>();
  #history: Change[] = [];
  #version = 1000;
  #oldest = 1000;
  #served: readonly string[];

  /** Fields of `spec` that this cluster's definitions do not have yet. */
  #unknown: ReadonlySet<string> = new Set();

  constructor(served: readonly string[]) {
    this.#served = served;
  }

  /** The newest resourceVersion. */
  get version(): number {
    return this.#version;
  }

  /** The versions of ModulePullOverride that are served, newest first; the first is the stored one. */
  servedOf(resource: Resource): readonly string[] {
    return resource.plural === "modulepulloverrides" ? this.#served : resource.versions;
  }

  setServed(versions: readonly string[]): void {
    this.#served = versions;
  }

  setUnknown(plural: Plural, field: string, isUnknown: boolean): void {
    const key = `${plural}.${field}`;
    this.#unknown = new Set([...this.#unknown].filter((each) => each !== key).concat(isUnknown ? [key] : []));
  }

  get(plural: Plural, name: string): KubeObject | null {
    const object = this.#of(plural).get(name);
    return object === undefined ? null : { ...object, apiVersion: apiVersionOf(this.#storedVersion(plural)) };
  }

  list(plural: Plural): KubeObject[] {
    const names = [...this.#of(plural).keys()].sort();
    return names.flatMap((name) => this.get(plural, name) ?? []);
  }

  /** `manager`: who writes it, where that is to be seen. */
  create(plural: Plural, object: NewObject, version = this.#storedVersion(plural), manager: string | null = null): KubeObject {
    const resource = this.#resource(plural);
    const name = object.metadata.name;
    if (!NAME.test(name)) {
      const message = `Invalid value: ${JSON.stringify(name)}: a lowercase RFC 1123 subdomain is required`;
      throw invalid(resource.kind, name, [{ reason: "FieldValueInvalid", field: "metadata.name", message }]);
    }
    if (this.#of(plural).has(name)) throw alreadyExists(plural, name);
    this.#validate(resource, version, name, { ...object });
    const { properties } = object;
    const spec = object.spec && this.#settle(resource, object.spec);
    return this.#store(plural, "ADDED", null, {
      apiVersion: apiVersionOf(version),
      kind: resource.kind,
      metadata: {
        ...mapsOf(object.metadata),
        name,
        uid: randomUUID(),
        resourceVersion: "",
        generation: 1,
        creationTimestamp: now(),
        ...managers([], undefined, spec, manager, version),
      },
      ...(spec && { spec }),
      ...(properties && { properties }),
    });
  }

  patch(plural: Plural, name: string, patch: Fields, manager?: string): KubeObject {
    return this.update(plural, name, (current) => mergePatch(current, patch), { ...(manager !== undefined && { manager }) });
  }

  spoil(plural: Plural, name: string, spec: Fields): KubeObject {
    const current = this.get(plural, name);
    if (current === null) throw notFound(plural, name);
    return this.#store(plural, "MODIFIED", current, withField(current, "spec", mergePatch(current.spec ?? {}, spec)));
  }

  patchStatus(plural: Plural, name: string, status: Fields, options: { resourceVersion?: string } = {}): KubeObject {
    const metadata = options.resourceVersion === undefined ? {} : { resourceVersion: options.resourceVersion };
    return this.update(plural, name, (current) => mergePatch(current, { metadata, status }), { status: true });
  }

  /** Writes the main resource, or with `status` that subresource alone; `version` is the API version of the request. */
  update(plural: Plural, name: string, edit: Edit, options: { status?: boolean; version?: string; manager?: string } = {}): KubeObject {
    const resource = this.#resource(plural);
    const current = this.get(plural, name);
    if (current === null) throw notFound(plural, name);
    const version = options.version ?? this.#storedVersion(plural);
    const edited = edit({ ...current, apiVersion: apiVersionOf(version) });
    if (!isFields(edited) || !isFields(edited["metadata"])) throw badRequest("the object has no metadata");
    const { metadata } = edited;
    if (metadata["name"] !== name) throw badRequest("the name of the object does not match the name on the URL");
    if (metadata["resourceVersion"] !== current.metadata.resourceVersion) throw conflict(plural, name);
    if (options.status) return this.#store(plural, "MODIFIED", current, withField(current, "status", edited["status"]));
    this.#validate(resource, version, name, edited);
    const spec = isFields(edited["spec"]) ? this.#settle(resource, edited["spec"]) : undefined;
    const next = withField(withField(current, "spec", spec), "properties", edited["properties"]);
    const generation = current.metadata.generation + (isDeepStrictEqual(spec, current.spec) ? 0 : 1);
    const { labels: _labels, annotations: _annotations, finalizers: _finalizers, ...own } = current.metadata;
    const owners = managers(own.managedFields ?? [], current.spec, spec, options.manager ?? null, version);
    const written = { ...next, metadata: { ...own, ...mapsOf(metadata), generation, ...owners } };
    const isGone = own.deletionTimestamp !== undefined && written.metadata.finalizers === undefined;
    return this.#store(plural, isGone ? "DELETED" : "MODIFIED", current, written);
  }

  delete(plural: Plural, name: string): KubeObject {
    const current = this.get(plural, name);
    if (current === null) throw notFound(plural, name);
    const { finalizers, deletionTimestamp = now(), generation } = current.metadata;
    if (finalizers === undefined) return this.#store(plural, "DELETED", current, current);
    if (current.metadata.deletionTimestamp !== undefined) return current;
    return this.#store(plural, "MODIFIED", current, {
      ...current,
      metadata: { ...current.metadata, deletionTimestamp, generation: generation + 1 },
    });
  }

  watch(plural: Plural, listener: (event: StoreEvent) => void): () => void {
    let open = true;
    const tell = (event: StoreEvent): void => queueMicrotask(() => open && listener(event));
    for (const object of this.list(plural)) tell({ type: "ADDED", object, previous: null });
    const stop = this.subscribe((change) => change.plural === plural && tell(change));
    return () => {
      open = false;
      stop();
    };
  }

  /** Every change from now on, at once. Gives back `stop`. */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The changes after `version`. Throws ApiError 410 where they are no longer known. */
  since(version: number): Change[] {
    if (version < this.#oldest) throw expired(version, this.#oldest);
    return this.#history.filter((change) => change.version > version);
  }

  expireHistory(): void {
    this.#history = [];
    this.#version += 1;
    this.#oldest = this.#version;
  }

  #store(plural: Plural, type: StoreEvent["type"], previous: KubeObject | null, object: KubeObject): KubeObject {
    if (type === "MODIFIED" && isDeepStrictEqual({ ...object, apiVersion: "" }, { ...previous, apiVersion: "" })) return object;
    this.#version += 1;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    const { name } = stored.metadata;
    if (type === "DELETED") this.#of(plural).delete(name);
    else this.#of(plural).set(name, stored);
    const change: Change = { plural, version: this.#version, type, object: stored, previous };
    this.#history.push(change);
    if (this.#history.length > HISTORY) this.#oldest = this.#history.shift()?.version ?? this.#oldest;
    for (const listener of this.#listeners) listener(change);
    return stored;
  }

  #validate(resource: Resource, version: string, name: string, object: Fields): void {
    const causes = problemsOf(resource, version, object);
    if (causes.length > 0) throw invalid(resource.kind, name, causes);
  }

  #settle(resource: Resource, spec: Fields): Fields {
    const known = Object.entries(spec).filter(([field]) => !this.#unknown.has(`${resource.plural}.${field}`));
    return settle(resource, this.#storedVersion(resource.plural), Object.fromEntries(known));
  }

  #of(plural: Plural): Map<string, KubeObject> {
    const objects = this.#objects.get(plural) ?? new Map<string, KubeObject>();
    this.#objects.set(plural, objects);
    return objects;
  }

  #resource(plural: Plural): Resource {
    const resource = resourceOf(plural);
    if (resource === undefined) throw badRequest(`no resource ${plural}`);
    return resource;
  }

  #storedVersion(plural: Plural): string {
    const resource = this.#resource(plural);
    return this.servedOf(resource)[0] ?? resource.versions[0] ?? "v1";
  }
}

function managers(
  entries: readonly ManagedFields[],
  before: Fields | undefined,
  after: Fields | undefined,
  manager: string | null,
  version: string,
): Pick<KubeObject["metadata"], "managedFields"> {
  const managedFields =
    manager === null ? entries : managersAfter(entries, before, after, { manager, apiVersion: apiVersionOf(version), time: now() });
  return managedFields.length > 0 ? { managedFields } : {};
}

function withField(object: KubeObject, field: "spec" | "status" | "properties", value: unknown): KubeObject {
  const { [field]: _old, ...rest } = object;
  return isFields(value) ? { ...rest, [field]: value } : rest;
}

const now = () => new Date().toISOString().replace(/\.\d+Z$/, "Z");

/** Labels, annotations and finalizers alone: the rest of an object's metadata is the server's. They are valid by now. */
function mapsOf(metadata: Fields | NewObject["metadata"]): Pick<KubeObject["metadata"], "labels" | "annotations" | "finalizers"> {
  const { labels, annotations, finalizers } = metadata;
  const strings = (map: unknown): Record<string, string> | null => {
    const entries = isFields(map) ? Object.entries(map).filter((entry): entry is [string, string] => typeof entry[1] === "string") : [];
    return entries.length === 0 ? null : Object.fromEntries(entries);
  };
  const kept = { labels: strings(labels), annotations: strings(annotations) };
  const names = Array.isArray(finalizers) ? finalizers.filter((each) => typeof each === "string") : [];
  return {
    ...(kept.labels && { labels: kept.labels }),
    ...(kept.annotations && { annotations: kept.annotations }),
    ...(names.length > 0 && { finalizers: names }),
  };
}
