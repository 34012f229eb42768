/** The adapter of the port {@link Channels}, over the same connection as that of the overrides. */
import * as z from "zod";
import { problems } from "../event.ts";
import { RelayError } from "../outcome.ts";
import type { Channels, ModuleRelease, ModuleSource } from "./channels.ts";
import type * as library from "./client-node.ts";
import type { Connection } from "./connection.ts";
import { isNotFound, toClusterError } from "./errors.ts";
import { managedFields, ownersOf } from "./managed.ts";
import { GROUP, MANAGER } from "./read.ts";

const VERSION = "v1alpha1";
const SOURCES = { group: GROUP, version: VERSION, plural: "modulesources" };
const RELEASES = { group: GROUP, version: VERSION, plural: "modulereleases" };
/** A label's value is no longer: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const LABEL_LENGTH = 63;
const MESSAGE_LENGTH = 500;

export class KubernetesChannels implements Channels {
  readonly #library: typeof library;
  readonly #connection: Connection;

  constructor(client: typeof library, connection: Connection) {
    this.#library = client;
    this.#connection = connection;
  }

  source(name: string): Promise<ModuleSource | null> {
    return this.#one(name, (api) => api.getClusterCustomObject({ ...SOURCES, name }));
  }

  respell({ name, resourceVersion }: ModuleSource, scanInterval: string): Promise<ModuleSource | null> {
    const { PatchStrategy, setHeaderOptions } = this.#library;
    const body = { metadata: { resourceVersion }, spec: { scanInterval } };
    const headers = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
    return this.#one(name, (api) => api.patchClusterCustomObject({ ...SOURCES, name, body, fieldManager: MANAGER }, headers));
  }

  async releases(module: string): Promise<ModuleRelease[]> {
    if (module.length > LABEL_LENGTH) return []; // Deckhouse could label none of it
    try {
      const answer: unknown = await this.#connection.call((api) =>
        api.listClusterCustomObject({ ...RELEASES, labelSelector: `module=${module}` }),
      );
      return check(releaseList, answer).items;
    } catch (thrown) {
      throw toClusterError(thrown);
    }
  }

  async #one(name: string, work: Parameters<Connection["call"]>[0]): Promise<ModuleSource | null> {
    try {
      return check(source, await this.#connection.call(work));
    } catch (thrown) {
      if (isNotFound(thrown, name, SOURCES.plural)) return null;
      throw toClusterError(thrown);
    }
  }
}

const text = z
  .string()
  .nullish()
  .transform((value) => value || null);
/** Names what is read, and so leaves out the rest: the registry and its credentials. */
const source = z
  .object({
    kind: z.literal("ModuleSource"),
    metadata: z.object({
      name: z.string().min(1),
      resourceVersion: z.string().min(1),
      managedFields,
    }),
    spec: z.object({ scanInterval: text }),
  })
  .transform(({ metadata: { name, resourceVersion, managedFields: entries }, spec: { scanInterval } }): ModuleSource => {
    const ours = ownersOf(entries, "f:scanInterval").find(({ manager }) => manager === MANAGER);
    return { name, resourceVersion, scanInterval, rescannedAt: ours?.time ?? null };
  });

const release = z
  .object({
    metadata: z.object({
      name: z.string(),
      creationTimestamp: z.string(),
      labels: z.record(z.string(), z.string()).nullish(),
    }),
    spec: z.object({ version: z.string(), applyAfter: text }),
    status: z.object({ phase: text, message: text }).nullish(),
  })
  .transform(({ metadata: { name, creationTimestamp: createdAt, labels }, spec, status }): ModuleRelease => {
    const policy = labels?.["modules.deckhouse.io/update-policy"] || null;
    const message = (status?.message ?? "").slice(0, MESSAGE_LENGTH);
    return { name, createdAt, policy, ...spec, phase: status?.phase ?? "", message };
  });
const releaseList = z.object({ items: z.array(release) });

function check<T>(schema: z.ZodType<T>, answer: unknown): T {
  const read = schema.safeParse(answer);
  if (read.success) return read.data;
  throw new RelayError("CLUSTER_ERROR", `the answer is none of what was asked for: ${problems(read.error)}`); // paths alone, and no value
}
