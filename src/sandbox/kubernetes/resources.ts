/** The resources of deckhouse.io as their CustomResourceDefinitions describe them: names, columns and the schema of `spec`. */
import { type Cause, GROUP } from "./status.ts";
import type { Fields, KubeObject, Plural } from "./types.ts";

interface Rule {
  readonly type: "string" | "boolean" | "object" | "array" | "integer";
  readonly required?: boolean;
  readonly pattern?: string;
  readonly default?: unknown;
}
export interface Column {
  readonly name: string;
  readonly type: "string" | "date" | "boolean" | "integer";
  /** Columns above 0 show with `-o wide` only. */
  readonly priority?: number;
  value(object: KubeObject): unknown;
}
export interface Resource {
  readonly plural: Plural;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  /** All versions it can have, newest first; the newest served one is the stored one. */
  readonly versions: readonly string[];
  readonly columns: readonly Column[];
  /** The rules of `spec` in a version; null: `spec` is kept as it is. Fields without a rule are pruned. */
  rules(version: string): Readonly<Record<string, Rule>> | null;
}

const INTERVAL = "^(\\d+h)?(\\d+m)?(\\d+s)?$";
const override = {
  imageTag: { type: "string", required: true },
  scanInterval: { type: "string", pattern: INTERVAL, default: "15s" },
} as const;
const rollback = { type: "boolean", default: false } as const;

const RESOURCES: readonly Resource[] = [
  {
    plural: "modulepulloverrides",
    singular: "modulepulloverride",
    kind: "ModulePullOverride",
    shortNames: ["mpo"],
    versions: ["v1alpha2", "v1alpha1"],
    columns: [
      { name: "Updated", type: "date", value: (object) => object.status?.["updatedAt"] },
      { name: "Message", type: "string", value: (object) => object.status?.["message"] },
      { name: "Rollback", type: "boolean", value: (object) => object.spec?.["rollback"] },
      { name: "Tag", type: "string", priority: 1, value: (object) => object.spec?.["imageTag"] },
      { name: "Digest", type: "string", priority: 1, value: (object) => object.status?.["imageDigest"] },
    ],
    rules: (version) => ({ ...override, rollback, ...(version === "v1alpha1" && { source: { type: "string", required: true } }) }),
  },
  {
    plural: "modulesources",
    singular: "modulesource",
    kind: "ModuleSource",
    shortNames: ["ms"],
    versions: ["v1alpha1"],
    columns: [
      { name: "Count", type: "integer", value: (object) => object.status?.["modulesCount"] },
      { name: "Sync", type: "date", value: (object) => object.status?.["syncTime"] },
      { name: "MSG", type: "string", value: (object) => object.status?.["message"] },
    ],
    rules: () => ({
      registry: { type: "object", required: true },
      releaseChannel: { type: "string" },
      scanInterval: { type: "string", pattern: INTERVAL },
    }),
  },
  {
    plural: "modulereleases",
    singular: "modulerelease",
    kind: "ModuleRelease",
    shortNames: ["mr"],
    versions: ["v1alpha1"],
    columns: [
      { name: "Phase", type: "string", value: (object) => object.status?.["phase"] },
      { name: "Update policy", type: "string", value: (object) => object.metadata.labels?.["modules.deckhouse.io/update-policy"] },
      { name: "Transition time", type: "date", value: (object) => object.status?.["transitionTime"] },
      { name: "Message", type: "string", value: (object) => object.status?.["message"] },
    ],
    rules: () => ({
      moduleName: { type: "string", required: true },
      version: { type: "string", required: true },
      weight: { type: "integer" },
      applyAfter: { type: "string" },
      changelog: { type: "object" },
    }),
  },
  {
    plural: "modules",
    singular: "module",
    kind: "Module",
    shortNames: [],
    versions: ["v1alpha1"],
    columns: [
      { name: "Weight", type: "integer", value: (object) => object.properties?.["weight"] },
      { name: "Source", type: "string", value: (object) => object.properties?.["source"] },
      { name: "Phase", type: "string", value: (object) => object.status?.["phase"] },
    ],
    rules: () => null,
  },
];
const BY_PLURAL = new Map<string, Resource>(RESOURCES.map((resource) => [resource.plural, resource]));

export const resources = (): readonly Resource[] => RESOURCES;
export const resourceOf = (plural: string): Resource | undefined => BY_PLURAL.get(plural);
export const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

/** `spec` as stored: fields without a rule pruned, defaults filled in. */
export function settle(resource: Resource, version: string, spec: Fields): Fields {
  const rules = resource.rules(version);
  if (rules === null) return spec;
  const entries = Object.entries(rules).map(([field, rule]): [string, unknown] => [field, spec[field] ?? rule.default]);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** What the schema says against the object; [] for a valid one. */
export function problemsOf(resource: Resource, version: string, object: Fields): Cause[] {
  const rules = resource.rules(version);
  const spec = object["spec"];
  const causes = metadataProblems(object["metadata"]);
  if (rules === null) return causes;
  if (spec === undefined) return [...causes, required("spec")];
  if (!isFields(spec)) return [...causes, wrongType("spec", spec, "object")];
  return [...causes, ...Object.entries(rules).flatMap(([field, rule]) => problem(`spec.${field}`, spec[field], rule))];
}

function problem(field: string, value: unknown, rule: Rule): Cause[] {
  if (value === undefined) return rule.required ? [required(field)] : [];
  if (typeOf(value) !== rule.type) return [wrongType(field, value, rule.type)];
  if (rule.pattern === undefined || typeof value !== "string" || new RegExp(rule.pattern).test(value)) return [];
  const message = `Invalid value: ${JSON.stringify(value)}: ${field} in body should match '${rule.pattern}'`;
  return [{ reason: "FieldValueInvalid", field, message }];
}

function metadataProblems(metadata: unknown): Cause[] {
  if (!isFields(metadata)) return [];
  return ["labels", "annotations"].flatMap((map) => {
    const entries = metadata[map];
    if (entries === undefined) return [];
    if (!isFields(entries)) return [wrongType(`metadata.${map}`, entries, "object")];
    return Object.entries(entries).flatMap(([key, value]) => {
      if (typeof value !== "string") return [wrongType(`metadata.${map}.${key}`, value, "string")];
      return entryProblem(map, key, value);
    });
  });
}

// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
const WORD = "[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?";
const KEY = new RegExp(`^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?${WORD}$`);
const LABEL = new RegExp(`^(?:${WORD})?$`);
function entryProblem(map: string, key: string, value: string): Cause[] {
  const field = `metadata.${map}`;
  const cause = (what: string, rule: string): Cause => ({
    reason: "FieldValueInvalid",
    field,
    message: `Invalid value: ${JSON.stringify(what)}: ${rule}`,
  });
  if (!KEY.test(key)) return [cause(key, "name part must consist of alphanumeric characters, '-', '_' or '.'")];
  return map === "annotations" || LABEL.test(value)
    ? []
    : [cause(value, "a valid label must be at most 63 alphanumeric characters, '-', '_' or '.'")];
}

const required = (field: string): Cause => ({ reason: "FieldValueRequired", field, message: "Required value" });
function wrongType(field: string, value: unknown, type: string): Cause {
  const is = typeOf(value);
  return { reason: "FieldValueTypeInvalid", field, message: `Invalid value: "${is}": ${field} in body must be of type ${type}: "${is}"` };
}
function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return Number.isInteger(value) ? "integer" : typeof value;
}

/** `deckhouse.io/<version>` */
export const apiVersionOf = (version: string): string => `${GROUP}/${version}`;
