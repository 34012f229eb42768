/**
 * The admission policies by which Deckhouse guards objects against everybody but the system. They hold for objects, not for their status.
 * https://github.com/deckhouse/deckhouse/blob/main/modules/002-deckhouse/templates/validation.yaml
 */
import { isDeepStrictEqual } from "node:util";
import { isFields, type Resource } from "./resources.ts";
import { type ApiError, deniedByPolicy } from "./status.ts";
import type { Fields, KubeObject, Plural } from "./types.ts";

/** For objects of managed services and of applications; the words of the second policy are the first one's here. */
const PREFIXES = [
  { prefix: "d8ms-", policy: "d8ms-prefix.deckhouse.io", what: "an managed services prefix" },
  { prefix: "d8a-", policy: "d8a-prefix.deckhouse.io", what: "an applications prefix" },
] as const;
/** Whoever bears it is left alone by Deckhouse, and so free for others. */
const MAINTENANCE = "maintenance.deckhouse.io/no-resource-reconciliation";

/** `before` is null where an object is created, `after` where it is deleted. Throws ApiError. */
export function checkPolicies({ plural, kind }: Resource, before: KubeObject | null, after: unknown): void {
  const next: Fields = isFields(after) ? after : {};
  const name = String(before?.metadata.name ?? metadataOf(next)["name"]);
  for (const { prefix, policy, what } of PREFIXES) {
    if (!name.startsWith(prefix)) continue;
    throw deniedByPolicy(plural, name, policy, policy, `Creating, updating and deleting objects with ${what} is forbidden`);
  }
  if (isGuarded(next) && !isGuarded(before ?? {})) {
    const policy = "deny-set-heritage-label.deckhouse.io";
    throw deniedByPolicy(plural, name, policy, policy, "Setting the `heritage` label is forbidden for non-system users");
  }
  const isScanInterval = kind === "ModuleSource" && before !== null && changesScanInterval(specOf(before), specOf(next));
  if (isGuarded(before ?? {}) && !isScanInterval) throw deniedByHeritage(plural, name);
}

export function deniedByHeritage(plural: Plural, name: string): ApiError {
  const why = "Creating, updating and deleting an objects with the `heritage: deckhouse` label is forbidden";
  return deniedByPolicy(plural, name, "label-objects.deckhouse.io", "heritage-label-objects.deckhouse.io", why);
}

function isGuarded(object: Fields | KubeObject): boolean {
  const { labels } = metadataOf(object);
  if (!isFields(labels) || labels["heritage"] !== "deckhouse") return false;
  return labels[MAINTENANCE] !== "" && labels[MAINTENANCE] !== "true";
}

/** As text: `3m` and `3m0s` differ. https://github.com/deckhouse/deckhouse/pull/19277 */
const changesScanInterval = (before: Fields, after: Fields) =>
  before["scanInterval"] !== after["scanInterval"] && isDeepStrictEqual(before["registry"], after["registry"]);

const metadataOf = (object: Fields | KubeObject): Fields => fieldsOf(object.metadata);
const specOf = (object: Fields | KubeObject): Fields => fieldsOf(object.spec);
const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});
