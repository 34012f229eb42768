/** What a request to deckhouse.io asks for, and the answers to all but watches. Knows the store, not the network. */
import * as z from "zod";
import { jsonPatch, mergePatch } from "./patch.ts";
import { checkPolicies } from "./policies.ts";
import { apiVersionOf, isFields, type Resource, resourceOf } from "./resources.ts";
import { badRequest, GROUP, methodNotAllowed, notFound, unsupportedMediaType } from "./status.ts";
import type { ObjectStore } from "./store.ts";
import { renderList, renderOne, type Rendering } from "./tables.ts";
import type { KubeObject } from "./types.ts";

/** `/apis/deckhouse.io/<version>/<plural>[/<name>[/status]]`, served. */
export interface Target extends Rendering {
  readonly name: string | null;
  readonly status: boolean;
}
interface Selectors {
  readonly fieldSelector: string | null;
  readonly labelSelector: string | null;
}
export interface Answer {
  readonly code: number;
  readonly body: unknown;
}

const PATCHES = ["application/json-patch+json", "application/merge-patch+json"];
const PATH = new RegExp(`^/apis/${GROUP.replace(".", "\\.")}/([a-z0-9]+)/([a-z]+)(?:/([^/]+)(/status)?)?$`);

/** null: no such path, or a version that is not served. */
export function targetOf(store: ObjectStore, url: URL, accept: string): Target | null {
  const [, version, plural, name, status] = PATH.exec(url.pathname) ?? [];
  const resource = resourceOf(plural ?? "");
  if (version === undefined || resource === undefined || !store.servedOf(resource).includes(version)) return null;
  return {
    resource,
    version,
    table: accept.includes("as=Table"),
    name: name === undefined ? null : decodeURIComponent(name),
    status: status !== undefined,
  };
}

/** The verb as RBAC names it. */
export function verbOf(method: string, target: Target, watch: boolean): string {
  if (method === "GET") return target.name !== null ? "get" : watch ? "watch" : "list";
  return { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" }[method] ?? method.toLowerCase();
}

/** Does what was asked. Throws ApiError. For the system no admission policy holds. */
export function answer(
  store: ObjectStore,
  target: Target,
  isSystem: boolean,
  method: string,
  contentType: string,
  text: string,
  { manager, ...selectors }: Selectors & { readonly manager: string },
): Answer {
  const { plural } = target.resource;
  const { name } = target;
  const ok = (object: KubeObject, code = 200): Answer => ({ code, body: renderOne(target, object) });
  const admit: Admit = (before, after) => {
    if (!isSystem && !target.status) checkPolicies(target.resource, before, after);
  };
  if (name === null) {
    if (method === "GET") return { code: 200, body: listed(store, target, selectors) };
    if (method === "POST") return ok(create(store, target, parse(text), admit, manager), 201);
    throw methodNotAllowed();
  }
  switch (method) {
    case "GET":
      return ok(existing(store, target.resource, name));
    case "PUT":
      return ok(write(store, target, name, () => parse(text), admit, manager));
    case "PATCH":
      return ok(write(store, target, name, patchBy(contentType, text), admit, manager));
    case "DELETE": {
      admit(existing(store, target.resource, name), null);
      const deleted = store.delete(plural, name);
      const { uid, deletionTimestamp } = deleted.metadata;
      if (deletionTimestamp !== undefined) return ok(deleted);
      return {
        code: 200,
        body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details: { name, group: GROUP, kind: plural, uid } },
      };
    }
    default:
      throw methodNotAllowed();
  }
}

/** The name in `fieldSelector=metadata.name=…`; null for none. */
export function selectedName(fieldSelector: string | null): string | null {
  if (!fieldSelector) return null;
  const [, name] = /^metadata\.name==?([^,]+)$/.exec(fieldSelector) ?? [];
  if (name === undefined) throw badRequest(`field label not supported: ${fieldSelector}`);
  return name;
}

/** Of label selectors the equalities alone: `module=echo,source=test`. */
function selectedLabels(labelSelector: string | null): (readonly [string, string])[] {
  return (labelSelector ?? "")
    .split(",")
    .filter((part) => part !== "")
    .map((part) => {
      const [, key, value] = /^([^!=\s]+)==?([^!=\s]*)$/.exec(part) ?? [];
      if (key === undefined || value === undefined) throw badRequest(`the stand-in knows no such label selector: ${part}`);
      return [key, value] as const;
    });
}

function listed(store: ObjectStore, target: Target, { fieldSelector, labelSelector }: Selectors): unknown {
  const name = selectedName(fieldSelector);
  const labels = selectedLabels(labelSelector);
  const objects = store
    .list(target.resource.plural)
    .filter(
      ({ metadata }) => (name === null || metadata.name === name) && labels.every(([key, value]) => metadata.labels?.[key] === value),
    );
  return renderList(target, objects, { resourceVersion: String(store.version) });
}

function existing(store: ObjectStore, resource: Resource, name: string): KubeObject {
  const object = store.get(resource.plural, name);
  if (object === null) throw notFound(resource.plural, name);
  return object;
}

const newObject = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    finalizers: z.array(z.string()).optional(),
    labels: z.record(z.string(), z.string()).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.record(z.string(), z.unknown()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
});

type Admit = (before: KubeObject | null, after: unknown) => void;

function create(store: ObjectStore, { resource, version }: Target, body: unknown, admit: Admit, manager: string): KubeObject {
  const read = newObject.safeParse(body);
  if (!read.success) throw badRequest("the object provided is unrecognized (must be of type deckhouse.io with metadata.name)");
  const { apiVersion, kind, metadata, spec, properties } = read.data;
  if (apiVersion !== apiVersionOf(version) || kind !== resource.kind) {
    throw badRequest(
      `the API version in the data (${apiVersion}, ${kind}) does not match the expected (${apiVersionOf(version)}, ${resource.kind})`,
    );
  }
  admit(null, read.data);
  const { name, labels, annotations, finalizers } = metadata;
  const object = {
    metadata: { name, ...(labels && { labels }), ...(annotations && { annotations }), ...(finalizers && { finalizers }) },
    ...(spec && { spec }),
    ...(properties && { properties }),
  };
  return store.create(resource.plural, object, version, manager);
}

function write(
  store: ObjectStore,
  { resource, version, status }: Target,
  name: string,
  edit: (current: KubeObject) => unknown,
  admit: Admit,
  manager: string,
): KubeObject {
  return store.update(
    resource.plural,
    name,
    (current) => {
      const edited = edit(current);
      admit(current, edited);
      return edited;
    },
    { status, version, manager },
  );
}

function patchBy(contentType: string, text: string): (current: KubeObject) => unknown {
  if (!PATCHES.includes(contentType)) throw unsupportedMediaType(PATCHES);
  const patch = parse(text);
  if (contentType === "application/json-patch+json") return (current) => jsonPatch(current, patch);
  if (!isFields(patch)) throw badRequest("error decoding patch: a merge patch is an object");
  return (current) => mergePatch(current, patch);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw badRequest("the object provided is not JSON");
  }
}
