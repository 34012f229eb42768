/** What the command line names: a module source, and in it a module or one image. */
import { access, constants } from "node:fs/promises";
import { resolve } from "node:path";
import { isLoopback, readRepo } from "../../config/forms.ts";
import { Refusal, suggestion } from "../../config/problem.ts";
import type { RegistryAccess, RelayConfig, SourceConfig } from "../../config.ts";
import { isModule } from "../../match.ts";
import { placeOf } from "../../registries.ts";
import type { Place } from "../../registry/place.ts";
import { createSecretReader } from "../../secrets.ts";
import { configured } from "../configuration.ts";
import { Failure, type Terminal } from "../terminal.ts";

export interface SourceOptions {
  readonly config?: string;
  readonly dockerConfig?: string;
  readonly json?: true;
}
export interface NamedSource {
  readonly repo: string;
  /** null: a bare repository, which the configuration does not name. */
  readonly source: SourceConfig | null;
  readonly config: RelayConfig | null;
  /** Without a login. */
  readonly isAnonymous: boolean;
  /** The way in at `<repo>/<path>`; "" is the repository itself. Throws RelayError. */
  at(path: string): Promise<Place>;
}

/** By a source's name, repo or alias; any other repository is asked anonymously, or as the docker config says. Throws Failure. */
export async function sourceNamed(name: string, options: SourceOptions, terminal: Terminal): Promise<NamedSource> {
  const config = await configIfAny(options, terminal);
  const sources = config?.sources ?? [];
  const written = readRepo(name);
  const repo = written instanceof Refusal ? null : written;
  const source =
    sources.find((each) => each.name === name) ??
    sources.find((each) => repo !== null && [each.repo, ...each.aliases].includes(repo)) ??
    null;
  const where = source?.repo ?? repo;
  if (where === null) throw unknown(name, sources, config !== null);
  const wayIn = wayInto(where, source?.registry ?? null, options);
  const readSecret = createSecretReader({ env: terminal.env });
  return {
    repo: where,
    source,
    config,
    isAnonymous: wayIn.username === null && wayIn.dockerConfig === null,
    at: (path) => placeOf(path === "" ? where : `${where}/${path}`, wayIn, readSecret),
  };
}

/** A repository needs none. One that was named, or lies here, must be in order all the same. */
async function configIfAny({ config: file }: SourceOptions, terminal: Terminal): Promise<RelayConfig | null> {
  if (file === undefined && !terminal.env["MPO_RELAY_CONFIG"]?.trim()) {
    const isHere = await access("relay.yaml", constants.F_OK).then(
      () => true,
      () => false,
    );
    if (!isHere) return null;
  }
  return configured(file, terminal);
}

function unknown(name: string, sources: readonly SourceConfig[], hasConfig: boolean): Failure {
  const known = sources.flatMap((each) => each.name ?? each.repo);
  const hint = hasConfig ? suggestion(name, known) : "there is no relay.yaml here that could name it: say --config FILE";
  return new Failure(
    2,
    `no source has the name ${JSON.stringify(name)}`,
    hint,
    "or write a repository: registry.example.com/deckhouse/modules",
  );
}

/** Loopback speaks plain HTTP, as it does for crane and docker. */
function wayInto(repo: string, given: RegistryAccess | null, { dockerConfig }: SourceOptions): RegistryAccess {
  const host = (repo.split("/", 1)[0] ?? "").replace(/:\d+$/, "");
  const usual = { username: null, password: null, dockerConfig: null, ca: null, plainHttp: isLoopback(host) };
  if (dockerConfig === undefined) return given ?? usual;
  return { ...(given ?? usual), username: null, password: null, dockerConfig: { kind: "file", path: resolve(dockerConfig) } };
}

/** `echo`; `echo:main`, `echo@sha256:…`; `echo/release:stable`. */
export interface NamedImage {
  readonly module: string;
  /** Below the source: `echo` or `echo/release`. */
  readonly path: string;
  /** null: no image, but the module as a whole. */
  readonly reference: string | null;
}

export function imageNamed(text: string): NamedImage {
  const [, path = "", module = "", tag, digest] =
    /^(([^:@/]+)(?:\/release)?)(?::([A-Za-z0-9_][\w.-]{0,127})|@(sha256:[0-9a-f]{64}))?$/.exec(text) ?? [];
  const reference = tag ?? digest ?? null;
  if (isModule(module) && (reference !== null || path === module)) return { module, path, reference };
  throw new Failure(
    2,
    `${JSON.stringify(text)} names neither a module nor an image`,
    "write echo, echo:main, echo@sha256:… or echo/release:stable, as they lie below the source",
  );
}
