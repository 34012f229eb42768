/** How objects look on the wire: in the asked version, as a list, or as the Table of which `kubectl get` prints the cells. */
import { apiVersionOf, type Resource, settle } from "./resources.ts";
import type { KubeObject } from "./types.ts";

/** Renders for one request; `table` where the client asked for `as=Table`. */
export interface Rendering {
  readonly resource: Resource;
  readonly version: string;
  readonly table: boolean;
}
export interface ListMeta {
  readonly resourceVersion: string;
}

/** One object, or a Table of one row. `head` false leaves the column definitions out, as in all but the first event of a watch. */
export function renderOne(rendering: Rendering, object: KubeObject, head = true): unknown {
  if (!rendering.table) return inVersion(rendering, object);
  return tableOf(rendering, [object], { resourceVersion: object.metadata.resourceVersion }, head);
}

export function renderList(rendering: Rendering, objects: readonly KubeObject[], metadata: ListMeta): unknown {
  if (rendering.table) return tableOf(rendering, objects, metadata, true);
  const items = objects.map((object) => inVersion(rendering, object));
  return { apiVersion: apiVersionOf(rendering.version), kind: `${rendering.resource.kind}List`, metadata, items };
}

/** There is no conversion: the version is written over. An object that was stored by v1alpha2 has no `spec.source` in v1alpha1 either. */
function inVersion({ resource, version }: Rendering, object: KubeObject): KubeObject {
  return { ...object, apiVersion: apiVersionOf(version), ...(object.spec && { spec: settle(resource, version, object.spec) }) };
}

function tableOf(rendering: Rendering, objects: readonly KubeObject[], metadata: ListMeta, head: boolean): unknown {
  const { columns } = rendering.resource;
  const definitions = [
    { name: "Name", type: "string", format: "name", description: "", priority: 0 },
    ...columns.map(({ name, type, priority = 0 }) => ({ name, type, format: "", description: "", priority })),
  ];
  const rows = objects.map((object) => ({
    cells: [object.metadata.name, ...columns.map((column) => cell(column.type, column.value(object)))],
    object: { apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadata", metadata: object.metadata },
  }));
  return { kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions: head ? definitions : null, rows };
}

function cell(type: string, value: unknown): unknown {
  if (value === undefined || value === null) return null;
  return type === "date" && typeof value === "string" ? age(value) : value;
}

/** Like kubectl's ages: the two largest units while they are small, `<invalid>` for a time to come. */
function age(time: string): string {
  const seconds = Math.floor((Date.now() - Date.parse(time)) / 1000);
  if (!(seconds >= -1)) return "<invalid>";
  if (seconds < 120) return `${Math.max(seconds, 0)}s`;
  if (seconds < 600) return `${Math.floor(seconds / 60)}m${seconds % 60 === 0 ? "" : `${seconds % 60}s`}`;
  if (seconds < 3 * 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
