/** Discovery documents, by which kubectl and the relay learn what is served: https://kubernetes.io/docs/reference/using-api/api-concepts/#api-versioning */
import { apiVersionOf, type Resource, resources } from "./resources.ts";
import { GROUP } from "./status.ts";

type Served = (resource: Resource) => readonly string[];
const VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"];

/** The document at a path; null: no such document. `served` says which versions of a resource are served. */
export function discover(path: string, served: Served): unknown {
  const versions = versionsOf(served);
  switch (path) {
    case "/version":
      return { major: "1", minor: "34", gitVersion: "v1.34.0+mpo-relay-sandbox", platform: "sandbox" };
    case "/api":
      return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
    case "/api/v1":
      return { kind: "APIResourceList", groupVersion: "v1", resources: [] };
    case "/apis":
      return { kind: "APIGroupList", apiVersion: "v1", groups: versions.length === 0 ? [] : [group(versions)] };
    case `/apis/${GROUP}`:
      return versions.length === 0 ? null : { apiVersion: "v1", ...group(versions) };
    default: {
      const version = versions.find((one) => path === `/apis/${apiVersionOf(one)}`);
      return version === undefined ? null : resourceList(version, served);
    }
  }
}

const versionsOf = (served: Served): string[] => [...new Set(resources().flatMap(served))].sort().reverse();

function group(versions: readonly string[]): Record<string, unknown> {
  const all = versions.map((version) => ({ groupVersion: apiVersionOf(version), version }));
  return { kind: "APIGroup", name: GROUP, versions: all, preferredVersion: all[0] };
}

function resourceList(version: string, served: Served): unknown {
  const list = resources()
    .filter((resource) => served(resource).includes(version))
    .flatMap(({ plural, singular, kind, shortNames }) => [
      { name: plural, singularName: singular, namespaced: false, kind, verbs: VERBS, ...(shortNames.length > 0 && { shortNames }) },
      { name: `${plural}/status`, singularName: "", namespaced: false, kind, verbs: ["get", "patch", "update"] },
    ]);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(version), resources: list };
}
