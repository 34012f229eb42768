/** A webhook of the configuration, as `webhook` and `send` know it: its provider, its scheme, and the places that it tells of. */
import type { RelayConfig, SourceConfig, WebhookConfig } from "../config.ts";
import { providerOf } from "../admit.ts";
import { type AuthScheme, schemeOf } from "../providers/provider.ts";
import { setupOf, setups } from "./setup/index.ts";
import type { Place, RegistrySetup, Sample, SamplePush } from "./setup/setup.ts";
import { Failure } from "./terminal.ts";

export interface KnownHook {
  readonly name: string;
  readonly webhook: WebhookConfig;
  readonly scheme: AuthScheme;
  readonly title: string;
  readonly setup: RegistrySetup;
  /** Never empty. The first is the one that a sample tells of. */
  readonly places: readonly [Place, ...Place[]];
}

/** Throws a Failure: 2 where the name, or the configuration behind it, is wrong. `source`: a source's name, repo, or one of its aliases. */
export function hookOf(name: string, config: RelayConfig, source?: string): KnownHook {
  const webhook = Object.hasOwn(config.webhooks, name) ? config.webhooks[name] : undefined;
  if (!webhook) throw new Failure(2, `no webhook "${name}" in the configuration; known: ${Object.keys(config.webhooks).join(", ")}`);
  const provider = providerOf(webhook);
  const scheme = schemeOf(provider, webhook.auth);
  if (!scheme) throw new Failure(2, `the provider ${webhook.provider} has no such scheme`);
  const setup = setupOf(provider);
  const [first, ...others] = source === undefined ? placesOf(webhook, setup, config.sources) : placesNamed(source, config.sources);
  if (!first)
    throw new Failure(2, source === undefined ? `webhooks.${name} may nudge no source` : `no source has the name, repo or alias ${source}`);
  return { name, webhook, scheme, title: provider.title, setup, places: [first, ...others] };
}

/** The delivery as this registry would make it. Throws a Failure 2 where nobody wrote down how that looks. */
export function sampleOf({ setup, title }: KnownHook, push: SamplePush): Sample {
  if (!setup.sample) throw new Failure(2, `no delivery of ${title} can be made up`, "push an image there, or use its own test button");
  return setup.sample(push);
}

/** By the names that the sender uses: those at the webhook's own `host:`, or at the hosts that are the provider's. Where there are none: all but those of other providers. */
function placesOf({ sources: allowed, host }: WebhookConfig, { hosts }: RegistrySetup, sources: readonly SourceConfig[]): Place[] {
  const own = sources.filter(({ repo, name }) => allowed === null || allowed.includes(repo) || (name !== null && allowed.includes(name)));
  const all = own.flatMap((each) => [each.repo, ...each.aliases].map((repo) => placeOf(repo, each)));
  const ours = all.filter((place) => (host === null ? hosts?.test(place.host) : place.host === host));
  if (ours.length > 0) return ours;
  const repos = own.map((each) => placeOf(each.repo, each));
  const notOthers = repos.filter((place) => !Object.values(setups).some((row) => row.hosts?.test(place.host)));
  return notOthers.length > 0 ? notOthers : repos;
}

function placesNamed(source: string, sources: readonly SourceConfig[]): Place[] {
  const found = sources.find(({ repo, name, aliases }) => [repo, name, ...aliases].includes(source));
  return found ? [placeOf(found.aliases.includes(source) ? source : found.repo, found)] : [];
}

function placeOf(repo: string, { modules }: SourceConfig): Place {
  const [host = "", ...path] = repo.split("/");
  return { host, path: path.join("/"), modules };
}
