/** The overrides of each cluster: does a source of the configuration serve them, is Deckhouse still polling, has a webhook fallen silent? */
import type { Override } from "../../cluster/overrides.ts";
import { intervalMs } from "../../interval.ts";
import { inLanes } from "../../lanes.ts";
import { ADVICE } from "../../outcome.ts";
import { isNoise } from "../../match.ts";
import { hearingsOf, sourcesOf } from "../../silence.ts";
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
  const overrides = await sight.overrides().catch(() => null);
  if (overrides === null) return []; // the cluster's check or the rights tell why
  const where = `clusters.${name}`;
  const unserved = around.config.sources.length === 0 ? [] : await unservedOf(name, overrides, sight, around);
  const count = unserved.reduce((sum, { modules }) => sum + modules.length, 0);
  const served = overrides.length - count;
  return [
    around.config.sources.length === 0
      ? ok(where, `${counted(overrides.length, "override")}; this file names no sources, so the edge's file says which are served`)
      : ok(where, `${served} of ${counted(overrides.length, "override")} served by a source of the configuration`),
    ...unserved.map(({ why, todo, modules }) => warning("OVERRIDE_UNSERVED", where, `no push renews ${listed(modules)}: ${why}`, todo)),
    ...polledIn(where, name, overrides, around),
    ...silentIn(name, overrides, around),
  ];
}

interface Unserved {
  readonly why: string;
  readonly todo: string;
  readonly modules: string[];
}

async function unservedOf(name: string, overrides: readonly Override[], sight: Sight, { config, same }: Surroundings): Promise<Unserved[]> {
  const groups = new Map<string, Unserved>();
  const add = ({ name: module, imageTag }: Override, why: string, todo: string) => {
    const group = groups.get(why) ?? { why, todo, modules: [] };
    group.modules.push(`${module}:${imageTag}`);
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
  // A source without a name may hold any module.
  const named = asked.filter(({ names }) => !names.includes(null)).slice(0, ASKED);
  await inLanes(LANES, named, async ({ override, names }) => {
    const active = (await sight.state(override.name).catch(() => null))?.source ?? null;
    if (active !== null && !names.includes(active)) fromOther(override, active);
  });
  return [...groups.values()].map(({ modules, ...rest }) => ({ ...rest, modules: modules.toSorted() }));
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
