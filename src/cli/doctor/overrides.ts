/** The overrides of each cluster: does a source of the configuration serve them, is Deckhouse still polling, has a webhook fallen silent? */
import { adoptionOf } from "../../adoption.ts";
import type { Override } from "../../cluster/overrides.ts";
import { GROUP } from "../../cluster/read.ts";
import { intervalMs } from "../../interval.ts";
import { inLanes } from "../../lanes.ts";
import { ADVICE } from "../../outcome.ts";
import { isNoise } from "../../match.ts";
import { oddText } from "../../odd.ts";
import { activeSourceOf } from "../../own-sources.ts";
import { hearingsOf, isServed, sourcesOf } from "../../silence.ts";
import { nameOf } from "../../sweeper.ts";
import { counted } from "../terminal.ts";
import { type Check, failure, type Finding, listed, ok, warning } from "./finding.ts";
import type { Sight, Surroundings } from "./surroundings.ts";

const LANES = 8;
/** Of so many it is asked which source their module comes from: a request each. */
const ASKED = 500;
/** Deckhouse's own default is 15 s; whoever lengthens it does so by hours. */
const OFTEN_MS = 300_000;

export const overridesChecks = (around: Surroundings): Check[] =>
  [...around.sights].map(([name, sight]) => ({ name: `overrides in ${name}`, run: () => lookAtOverrides(name, sight, around) }));

async function lookAtOverrides(name: string, sight: Sight, around: Surroundings): Promise<Finding[]> {
  const all = await sight.overrides().catch(() => null);
  if (all === null) return []; // the cluster's check or the rights tell why
  const where = `clusters.${name}`;
  const overrides = all.filter(({ odd }) => odd === null);
  const { unserved, unsure } =
    around.config.sources.length === 0 ? { unserved: [], unsure: [] } : await unservedOf(name, overrides, sight, around);
  const served = overrides.length - unserved.reduce((sum, group) => sum + group.overrides.length, 0) - unsure.length;
  const bySource =
    unsure.length === 0
      ? ""
      : `; whether ${listed(unsure)} ${unsure.length === 1 ? "comes" : "come"} from one of them nobody says (a source has no \`name\`, or the Module tells none): their pushes count by name and tag`;
  const count = `${served} of ${counted(all.length, "override")} served by a source of the configuration${bySource}`;
  return [
    around.config.sources.length === 0
      ? ok(where, `${counted(all.length, "override")}; this file names no sources, so the edge's file says which are served`)
      : served === 0 && unsure.length > 0 && (await maySeeModules(sight))
        ? warning("OVERRIDE_UNSURE", where, count, UNSURE_TODO)
        : ok(where, count),
    ...unserved.map(({ why, todo, overrides: some }) =>
      warning("OVERRIDE_UNSERVED", where, `no push renews ${listed(some.map(taggedName).toSorted())}: ${why}`, todo),
    ),
    ...oddIn(where, all),
    ...leftAdopted(where, name, overrides, new Set(unserved.flatMap((group) => group.overrides)), around),
    ...polledIn(where, name, overrides, around),
    ...silentIn(name, overrides, around),
  ];
}

const UNSURE_TODO =
  "write the ModuleSource's `name` at each source (kubectl get modulesources); where they have one, kubectl get module NAME -o jsonpath={.properties.source} tells whether it is one of them";

/** Where we may not, the rights' check tells. */
const maySeeModules = (sight: Sight): Promise<boolean> =>
  sight.inspection().then(
    (inspection) => inspection.may({ verb: "get", group: GROUP, resource: "modules" }).catch(() => true),
    () => true,
  );

const taggedName = ({ name, imageTag }: Override) => `${name}:${imageTag}`;

const oddIn = (where: string, overrides: readonly Override[]): Finding[] =>
  overrides.flatMap((override) => {
    if (override.odd === null) return [];
    const todo = `kubectl edit mpo ${override.name}, as kubectl explain mpo.spec allows it; pushes that came meanwhile are dead letters INVALID: mpo-relay dlq redrive`;
    return [failure("OVERRIDE_UNREADABLE", where, `no push renews it: ${oddText(override)}`, todo)];
  });

/** Deckhouse looks at them twice a day, and no push tells it more. A sweep puts them back; it does not run everywhere. */
function leftAdopted(
  where: string,
  cluster: string,
  overrides: readonly Override[],
  unserved: ReadonlySet<Override>,
  { config, same }: Surroundings,
): Finding[] {
  if (config.sources.length === 0) return [];
  const left = overrides.filter(
    (override) => adoptionOf(override)?.paused === null && (unserved.has(override) || !isServed(override, cluster, config.sources)),
  );
  if (left.length === 0) return [];
  const names = left.map(({ name }) => name).toSorted();
  const what = `the relay lengthened the scan interval of ${listed(left.map((each) => `${each.name} (${each.scanInterval})`).toSorted())}, and no source of the configuration serves ${left.length === 1 ? "it" : "them"} any more`;
  return [
    failure("ADOPTED_UNSERVED", where, what, `mpo-relay restore ${names.join(" ")} --cluster ${cluster}${same}, or name the source again`),
  ];
}

interface Unserved {
  readonly why: string;
  readonly todo: string;
  readonly overrides: Override[];
}

/** `unsure`: a source may hold them, and nobody says whether it does. */
async function unservedOf(
  name: string,
  overrides: readonly Override[],
  sight: Sight,
  { config, same }: Surroundings,
): Promise<{ unserved: Unserved[]; unsure: string[] }> {
  const groups = new Map<string, Unserved>();
  const add = (override: Override, why: string, todo: string) => {
    const group = groups.get(why) ?? { why, todo, overrides: [] };
    group.overrides.push(override);
    groups.set(why, group);
  };
  const fromOther = (override: Override, source: string) =>
    add(override, `the ModuleSource ${source} is none of \`sources\``, `add it there: repo (its spec.registry.repo) and name: ${source}`);
  const asked: { override: Override; names: readonly (string | null)[] }[] = [];
  for (const override of overrides) {
    const found = sourcesOf(override, name, config.sources);
    if (found.length > 0) asked.push({ override, names: found.map((source) => source.name) });
    else if (isNoise(override.imageTag) && sourcesOf({ ...override, imageTag: "main" }, name, config.sources).length > 0)
      add(override, "a tag of this form is werf's own bookkeeping as a rule, and left out", "write `noise: keep` at its source");
    else if (override.source !== null) fromOther(override, override.source);
    else
      add(
        override,
        "no source of the configuration takes this module for this cluster",
        `look at \`modules\` and \`clusters\` of the sources; mpo-relay sweep --dry-run${same} shows each override`,
      );
  }
  // A source without a name may hold any module. Where the override itself names its source, nobody needs to be asked.
  const isNamed = ({ names }: (typeof asked)[number]) => !names.includes(null);
  const named = asked.filter((each) => each.override.source === null && isNamed(each));
  const unsure = [...asked.filter((each) => !isNamed(each)), ...named.slice(ASKED)].map(({ override }) => override.name);
  await inLanes(LANES, named.slice(0, ASKED), async ({ override, names }) => {
    const active = await activeSourceOf(override, { overrides: sight });
    if (active === null) unsure.push(override.name);
    else if (!names.includes(active)) fromOther(override, active);
  });
  return { unserved: [...groups.values()], unsure: unsure.toSorted() };
}

function polledIn(where: string, name: string, overrides: readonly Override[], { same }: Surroundings): Finding[] {
  const ms = ({ scanInterval }: Override) => intervalMs(scanInterval) ?? OFTEN_MS;
  const polled = overrides.filter((override) => ms(override) > 0 && ms(override) < OFTEN_MS);
  const never = overrides.filter((override) => ms(override) === 0);
  const names = (some: readonly Override[]) => listed(some.map((each) => `${each.name} (${each.scanInterval ?? "15s"})`).toSorted());
  return [
    ...(polled.length === 0
      ? []
      : [
          warning(
            "POLLING",
            where,
            `Deckhouse still polls the registry every few seconds for ${names(polled)}`,
            `where pushes were seen to arrive: mpo-relay adopt --cluster ${name}${same} (infra/adopt.md)`,
          ),
        ]),
    ...(never.length === 0
      ? []
      : [
          warning(
            "POLLING_OFF",
            where,
            `with an interval of 0s some versions of Deckhouse never look by themselves: ${names(never)}`,
            "set spec.scanInterval to 24h: a safety net",
          ),
        ]),
  ];
}

function silentIn(name: string, overrides: readonly Override[], { config, now }: Surroundings): Finding[] {
  return hearingsOf(overrides, name, config.sources, now()).flatMap(({ source, missed }) => {
    if (missed.length === 0) return [];
    const names = listed(missed.map(({ override }) => override.name));
    const what = `in ${name} pushes of ${names} came to the registry, and no webhook told of them`;
    return [failure("WEBHOOK_SILENT", `sources ${nameOf(source)}`, what, ADVICE.WEBHOOK_SILENT ?? "")];
  });
}
