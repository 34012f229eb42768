/** The registries of a configuration's sources, each asked as the configuration says, and no other. */
import * as z from "zod";
import type { RegistryAccess, SourceConfig } from "./config.ts";
import { jsonOf } from "./json.ts";
import { RelayError } from "./outcome.ts";
import { type Http, http } from "./registry/http.ts";
import { OciRegistry } from "./registry/oci.ts";
import type { Credential, Place } from "./registry/place.ts";
import type { Registry } from "./registry/registry.ts";
import type { SecretReader } from "./secrets.ts";

/** Asks nothing yet. Secrets are read with each question. `ask`: another way to send a request. */
export function createRegistry(sources: readonly SourceConfig[], readSecret: SecretReader, ask: Http = http): Registry {
  const registry = new OciRegistry(ask);
  return {
    async resolve({ image, module, tag }) {
      const source = sources.find(({ repo, aliases }) => [repo, ...aliases].some((place) => image === `${place}/${module}:${tag}`));
      if (!source?.registry) return null;
      return registry.resolve(await placeOf(`${source.repo}/${module}`, source.registry, readSecret), tag);
    },
  };
}

/** How to get in at a repository. Throws RelayError REGISTRY_UNAVAILABLE for a docker config that is none, INTERNAL for a reference that cannot be read. */
export async function placeOf(repository: string, access: RegistryAccess, readSecret: SecretReader): Promise<Place> {
  const { plainHttp, ca, username, password, dockerConfig } = access;
  const credential = username !== null && password ? { username, password: await readSecret(password) } : null;
  const fromConfig = dockerConfig ? credentialIn(await readSecret(dockerConfig), repository) : null;
  return { repository, plainHttp, ca: ca && (await readSecret(ca)), credential: credential ?? fromConfig };
}

/** https://github.com/docker/cli/blob/master/cli/config/types/authconfig.go; `auth` is base64 of user:password. */
const dockerConfigFile = z.object({
  auths: z.record(z.string(), z.object({ auth: z.string().optional(), username: z.string().optional(), password: z.string().optional() })),
});

/** By the longest entry that the repository lies below; the names there may have a scheme and a path. null: anonymously. */
function credentialIn(text: string, repository: string): Credential | null {
  const read = dockerConfigFile.safeParse(jsonOf(text));
  if (!read.success)
    throw new RelayError("REGISTRY_UNAVAILABLE", `${repository}: the docker config cannot be read; it must hold {"auths": {…}}`);
  const entries = Object.entries(read.data.auths)
    .map(([name, entry]) => ({ name: plainName(name), entry }))
    .filter(({ name }) => repository === name || repository.startsWith(`${name}/`))
    .sort((a, b) => b.name.length - a.name.length);
  const entry = entries[0]?.entry;
  if (!entry) return null;
  if (entry.username !== undefined && entry.password !== undefined) return { username: entry.username, password: entry.password };
  const [username = "", ...password] = Buffer.from(entry.auth ?? "", "base64")
    .toString("utf8")
    .split(":");
  return username === "" ? null : { username, password: password.join(":") };
}

/** Docker Hub has an address of its own in these files. */
const plainName = (name: string) =>
  name
    .toLowerCase()
    .replace(/^https?:\/\//, "")
    .replace(/\/(?:v[12]\/?)?$/, "")
    .replace(/^index\.docker\.io(?=$|\/)/, "docker.io");
