/** Whether RBAC lets the relay do in each cluster what its configuration asks for; each right that is missing by its name. */
import { PLURAL } from "../../cluster/errors.ts";
import type { Right } from "../../cluster/inspect.ts";
import { GROUP } from "../../cluster/read.ts";
import type { RelayConfig } from "../../config.ts";
import { toRelayError } from "../../outcome.ts";
import { counted } from "../terminal.ts";
import { type Check, failure, type Finding, ok, warning } from "./finding.ts";
import { inSight, type Sight, type Surroundings } from "./surroundings.ts";

interface Needed {
  readonly right: Right;
  readonly level: "warning" | "error";
  /** What does not work without it. */
  readonly without: string;
  readonly folder: "base" | "rescan";
}

export const rightsChecks = (around: Surroundings): Check[] =>
  [...around.sights].map(([name, sight]) => ({ name: `rights in ${name}`, run: () => lookAtRights(name, sight, around) }));

async function lookAtRights(name: string, sight: Sight, { config }: Surroundings): Promise<Finding[]> {
  const where = `clusters.${name}.kubernetes`;
  const needed = neededIn(name, config);
  try {
    const inspection = await inSight(sight.inspection());
    const asked = await inSight(Promise.all(needed.map(async (each) => ({ ...each, isGiven: await inspection.may(each.right) }))));
    const missing = asked.filter(({ isGiven }) => !isGiven);
    const given = asked.length - missing.length;
    const all = missing.length === 0 ? `all ${counted(given, "right")} given` : `${given} of ${counted(asked.length, "right")} given`;
    const who = missing.length === 0 ? null : await inSight(inspection.who());
    return [...(given > 0 ? [ok(where, all)] : []), ...missing.map((each) => told(where, each, who))];
  } catch (thrown) {
    const { code, message } = toRelayError(thrown);
    if (code !== "FORBIDDEN" || message.includes('"system:anonymous"')) return []; // the cluster's own check tells
    const todo = "restore the ClusterRoleBinding system:basic-user, by which every authenticated user may ask what it may do";
    return [warning("RIGHTS_UNKNOWN", where, `the API server does not let us ask for our rights: ${message}`, todo)];
  }
}

/** As infra/cluster and the module name it. */
const ACCOUNT = "system:serviceaccount:mpo-relay:mpo-relay";
/** Nobody but Deckhouse may change what is a module's; which of the two it is a service account of the relay may not see. */
const GIVEN_BY: Readonly<Record<Needed["folder"], string>> = {
  base: "kubectl apply -k infra/cluster/base; of the Deckhouse module (infra/module.md) they come with it: kubectl get module mpo-relay tells whether it could be applied",
  rescan:
    "kubectl apply -k infra/cluster/rescan, with the source's name in it (infra/release-channels.md); of the Deckhouse module: `rescan: true` at the source in the ModuleConfig mpo-relay",
};

/** `who`: as whom the API server knows us; null: it does not say. */
function told(where: string, { right, level, without, folder }: Needed, who: string | null): Finding {
  const isOther = who !== null && who !== ACCOUNT;
  const what = `the relay${isOther ? ` (${who})` : ""} may not ${textOf(right)}: ${without}`;
  const other = `take a token of ${ACCOUNT}, to whom infra/cluster and the Deckhouse module give the rights, or bind the ClusterRole mpo-relay to ${who}`;
  const todo = isOther ? other : GIVEN_BY[folder];
  return level === "error" ? failure("RIGHT_MISSING", where, what, todo) : warning("RIGHT_MISSING", where, what, todo);
}

/** `get modulesources.deckhouse.io my-modules`, `create events in the namespace default`. */
function textOf({ verb, group, resource, name, namespace }: Right): string {
  const what = `${verb} ${resource}${group === "" ? "" : `.${group}`}`;
  return `${what}${name === undefined ? "" : ` ${name}`}${namespace === undefined ? "" : ` in the namespace ${namespace}`}`;
}

/** As infra/cluster hands them out. */
function neededIn(cluster: string, { clusters, sources }: RelayConfig): Needed[] {
  const { uid = null, events = false } = clusters[cluster] ?? {};
  const need = (level: Needed["level"], right: Right, without: string, folder: Needed["folder"] = "base"): Needed => ({
    right,
    level,
    without,
    folder,
  });
  const overrides = (verb: string): Right => ({ verb, group: GROUP, resource: PLURAL });
  const scanned = sources.flatMap(({ rescan, name, clusters: own }) => (rescan && name !== null && own.includes(cluster) ? [name] : []));
  return [
    need("error", overrides("get"), "it can renew nothing, and records wait"),
    need("error", overrides("patch"), "it can renew nothing, and records wait"),
    need("warning", overrides("list"), "no sweep finds pushes that no webhook told of, and this command sees no overrides"),
    need("warning", { verb: "get", group: GROUP, resource: "modules" }, "whether a module came up (RUNNING, MODULE_ERROR) is not told"),
    ...(uid === null
      ? []
      : [
          need(
            "error",
            { verb: "get", group: "", resource: "namespaces", name: "kube-system" },
            "`uid` cannot be compared, so nothing is consumed",
          ),
        ]),
    ...(events
      ? [
          need(
            "warning",
            { verb: "create", group: "", resource: "events", namespace: "default" },
            "kubectl describe shows no outcomes; without them on purpose: `events: false` at the cluster",
          ),
        ]
      : []),
    ...scanned.flatMap((name) =>
      ["get", "patch"].map((verb) =>
        need("error", { verb, group: GROUP, resource: "modulesources", name }, "a push to a release channel makes nothing scan", "rescan"),
      ),
    ),
    ...(scanned.length === 0
      ? []
      : [
          need("warning", { verb: "list", group: GROUP, resource: "modulereleases" }, "which release came of a scan is not told", "rescan"),
        ]),
  ];
}
