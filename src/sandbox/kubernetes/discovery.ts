/** Discovery documents, by which kubectl and the relay learn what is served: https://kubernetes.io/docs/reference/using-api/api-concepts/#api-versioning */
import { apiVersionOf, type Resource, resources } from "./resources.ts";
import { GROUP } from "./status.ts";

type Served = (resource: Resource) => readonly string[];
const VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"];
const NAMESPACES = {
  name: "namespaces",
  singularName: "namespace",
  namespaced: false,
  kind: "Namespace",
  verbs: ["get"],
  shortNames: ["ns"],
};
const EVENTS = { name: "events", singularName: "event", namespaced: true, kind: "Event", verbs: ["create", "list"] };

/** The document at a path; null: no such document. `served` says which versions of a resource are served; `uid` names the cluster. */
export function discover(path: string, served: Served, uid: string): unknown {
  const versions = [...new Set(resources().flatMap(served))].sort().reverse();
  switch (path) {
    case "/version":
      return { major: "1", minor: "34", gitVersion: "v1.34.0+mpo-relay-sandbox", platform: "sandbox" };
    case "/api":
      return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
    case "/api/v1":
      return { kind: "APIResourceList", groupVersion: "v1", resources: [EVENTS, NAMESPACES] };
    case "/api/v1/namespaces/kube-system": // the only one: its UID is that of the cluster
      return { kind: "Namespace", apiVersion: "v1", metadata: { name: "kube-system", uid }, status: { phase: "Active" } };
    case "/apis":
      return { kind: "APIGroupList", apiVersion: "v1", groups: [group(versions)] };
    case `/apis/${GROUP}`:
      return { apiVersion: "v1", ...group(versions) };
    case "/openapi/v3":
      return {
        paths: Object.fromEntries(versions.map((version) => [`apis/${apiVersionOf(version)}`, { serverRelativeURL: schemaPath(version) }])),
      };
    default:
      return versionDocument(path, versions, served);
  }
}

const schemaPath = (version: string): string => `/openapi/v3/apis/${apiVersionOf(version)}`;

function versionDocument(path: string, versions: readonly string[], served: Served): unknown {
  const version = versions.find((one) => path === `/apis/${apiVersionOf(one)}` || path === schemaPath(one));
  if (version === undefined) return null;
  const inVersion = resources().filter((resource) => served(resource).includes(version));
  return path === schemaPath(version) ? openapi(version, inVersion) : resourceList(version, inVersion);
}

function group(versions: readonly string[]): Record<string, unknown> {
  const all = versions.map((version) => ({ groupVersion: apiVersionOf(version), version }));
  return { kind: "APIGroup", name: GROUP, versions: all, preferredVersion: all[0] };
}

function resourceList(version: string, inVersion: readonly Resource[]): unknown {
  const list = inVersion.flatMap(({ plural, singular, kind, shortNames }) => [
    { name: plural, singularName: singular, namespaced: false, kind, verbs: VERBS, ...(shortNames.length > 0 && { shortNames }) },
    { name: `${plural}/status`, singularName: "", namespaced: false, kind, verbs: ["get", "patch", "update"] },
  ]);
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(version), resources: list };
}

/** Just enough for `kubectl create` and `apply` to leave validation to the server: they look for this parameter. */
function openapi(version: string, inVersion: readonly Resource[]): unknown {
  const parameters = [{ name: "fieldValidation", in: "query", schema: { type: "string" } }];
  const paths: [string, unknown][] = inVersion.map(({ plural, kind }) => {
    const operation = { "x-kubernetes-group-version-kind": { group: GROUP, version, kind }, parameters, responses: {} };
    return [`/apis/${apiVersionOf(version)}/${plural}/{name}`, { patch: operation }];
  });
  return { openapi: "3.0.0", info: { title: "mpo-relay sandbox", version: "1" }, paths: Object.fromEntries(paths) };
}
