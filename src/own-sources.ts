/** Which sources of the configuration an override's image comes from, by its Module's word where several may hold it. */
import type { Override, Overrides } from "./cluster/overrides.ts";
import type { SourceConfig } from "./config.ts";
import { sourcesOf } from "./silence.ts";

interface Place {
  readonly cluster: string;
  readonly sources: readonly SourceConfig[];
  readonly overrides: Pick<Overrides, "state">;
}

/** The ModuleSource that its Module names; null: nobody says. */
export const activeSourceOf = ({ name }: Override, { overrides }: Pick<Place, "overrides">): Promise<string | null> =>
  overrides.state(name).then(
    (state) => state?.source ?? null,
    () => null,
  );

/** Where several sources of the configuration may hold the module, the Module's own word decides; without it all of them are looked at. */
export async function ownSources(override: Override, context: Place): Promise<{ sources: SourceConfig[]; why: string }> {
  const { cluster, sources } = context;
  const found = sourcesOf(override, cluster, sources);
  if (found.length === 0) return { sources: [], why: "no source of the configuration holds this module and tag for this cluster" };
  if (found.length === 1) return { sources: found, why: "" };
  const active = await activeSourceOf(override, context);
  const own = active === null ? found : found.filter(({ name }) => name === null || name === active);
  return { sources: own, why: `its active source is ${active}, which the configuration does not name` };
}
