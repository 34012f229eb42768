/** What to paste, and what comes then. A row for each provider that has a file here; for others {@link plainSetup} is enough. */
import { acr } from "./acr.ts";
import { alibaba } from "./alibaba.ts";
import { artifactory } from "./artifactory.ts";
import { cdevents } from "./cdevents.ts";
import { cloudevents } from "./cloudevents.ts";
import { distribution } from "./distribution.ts";
import { dockerhub } from "./dockerhub.ts";
import { ecr } from "./ecr.ts";
import { eventgrid } from "./eventgrid.ts";
import { forgejo } from "./forgejo.ts";
import { gar } from "./gar.ts";
import { generic } from "./generic.ts";
import { ghcr } from "./ghcr.ts";
import { gitea } from "./gitea.ts";
import { gitlab } from "./gitlab.ts";
import { harbor } from "./harbor.ts";
import { nexus } from "./nexus.ts";
import { quay } from "./quay.ts";
import { yandex } from "./yandex.ts";
import { zot } from "./zot.ts";
import type { RegistryProvider } from "../../providers/provider.ts";
import { plainSetup } from "./plain.ts";
import type { RegistrySetup } from "./setup.ts";

export const setups: Readonly<Record<string, RegistrySetup>> = {
  distribution,
  gitlab,
  harbor,
  nexus,
  artifactory,
  ghcr,
  gitea,
  forgejo,
  quay,
  zot,
  acr,
  eventgrid,
  gar,
  ecr,
  yandex,
  alibaba,
  dockerhub,
  cdevents,
  cloudevents,
  generic,
};

export function setupOf(provider: RegistryProvider): RegistrySetup {
  return setups[provider.name] ?? plainSetup(provider);
}
