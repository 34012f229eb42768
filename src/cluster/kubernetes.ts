/** The one adapter of the cluster port, over the Kubernetes client. */
import * as z from "zod";
import type { KubernetesConfig } from "../config.ts";
import { RelayError } from "../outcome.ts";
import type * as library from "./client-node.ts";
import { Connection, CORE } from "./connection.ts";
import { Credentials, type ReadSecret } from "./credentials.ts";
import type { ClusterPort } from "./channels.ts";
import { isMissing, isNotFound, PLURAL, toClusterError } from "./errors.ts";
import { KubernetesChannels } from "./kubernetes-channels.ts";
import type { ModuleState, Override, OverrideEvent } from "./overrides.ts";
import { GROUP, leftover, MANAGER, type Found, readFound, readList, readState, resourceList, VERSIONS } from "./read.ts";

type Version = (typeof VERSIONS)[number];
// An upgrade adds v1alpha2 while v1alpha1 is still served, which no 404 tells.
const DISCOVERY_MS = 600_000;
/** Where Events of objects without a namespace lie: https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/validation/events.go */
const EVENTS_NAMESPACE = "default";
const EVENT_LENGTH = 1024;

/**
 * The ModulePullOverrides and ModuleSources of the cluster that `kubernetes` names. `timeoutMs` holds for each request, and three times as long for a patch.
 * For one's own kubeconfig: `{ kind: "kubeconfig", kubeconfig: null, context }`.
 * Makes no request. Throws RelayError CLUSTER_UNAUTHORIZED where the kubeconfig, context or token cannot be read.
 */
export async function openKubernetes(options: {
  cluster: string;
  kubernetes: KubernetesConfig;
  readSecret: ReadSecret;
  timeoutMs?: number;
  onToken?: (token: string) => Promise<void>;
}): Promise<ClusterPort> {
  const client = await import("./client-node.ts");
  const credentials = new Credentials(() => new client.KubeConfig(), options.kubernetes, options.readSecret, options.onToken);
  await credentials.current();
  return new KubernetesOverrides(options.cluster, client, new Connection(client, credentials, options.timeoutMs ?? 5000));
}

class KubernetesOverrides implements ClusterPort {
  readonly cluster: string;
  readonly channels: ClusterPort["channels"];
  readonly #library: typeof library;
  readonly #connection: Connection;
  /** Of each override that was seen: Events are found by it. */
  readonly #uids = new Map<string, string>();
  /** We may not look at Modules; asked again now and then, since rights are given while we run. */
  #unseenUntil = 0;
  #discovered: { version: Promise<Version>; until: number } | null = null;

  constructor(cluster: string, client: typeof library, connection: Connection) {
    this.cluster = cluster;
    this.#library = client;
    this.#connection = connection;
    this.channels = new KubernetesChannels(client, connection);
  }

  async get(module: string): Promise<Override | null> {
    const version = await this.#version();
    const found = await this.#one(version, module, (api) =>
      api.getClusterCustomObject({ group: GROUP, version, plural: PLURAL, name: module }),
    );
    if (found !== null) this.#uids.set(module, found.uid);
    // A crash between the two patches of a pulse left our label there; see #pulse.
    return found !== null && leftover(found) ? this.#dropLabel(found.override) : (found?.override ?? null);
  }

  async annotate(override: Override, annotations: Readonly<Record<string, string | null>>): Promise<Override | null> {
    const { resourceVersion } = override;
    if (override.apiVersion === "v1alpha1") return this.#pulse(override, annotations);
    return this.#patch(override, { resourceVersion, annotations });
  }

  async setScanInterval(
    override: Override,
    scanInterval: string | null,
    annotations: Readonly<Record<string, string | null>>,
  ): Promise<Override | null> {
    return this.#patch(override, { resourceVersion: override.resourceVersion, annotations }, { scanInterval });
  }

  async list(): Promise<Override[]> {
    const version = await this.#version();
    const list = await this.#run((api) => api.listClusterCustomObject({ group: GROUP, version, plural: PLURAL }));
    return readList(list, version);
  }

  async probe(): Promise<void> {
    this.#discovered = null;
    await this.#version();
  }

  async uid(): Promise<string> {
    const namespace = { group: CORE, version: "v1", plural: "namespaces", name: "kube-system" };
    const read = identified.safeParse(await this.#run((api) => api.getClusterCustomObject(namespace)));
    if (!read.success) throw new RelayError("CLUSTER_ERROR", "the answer is no namespace");
    return read.data.metadata.uid;
  }

  async tell(module: string, { type, reason, message, id }: OverrideEvent): Promise<void> {
    const version = await this.#version();
    if (!this.#uids.has(module)) await this.get(module);
    const uid = this.#uids.get(module);
    if (uid === undefined) return; // it is gone
    const at = new Date().toISOString();
    const body = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${module}.${id}`, namespace: EVENTS_NAMESPACE },
      involvedObject: { apiVersion: `${GROUP}/${version}`, kind: "ModulePullOverride", name: module, uid },
      type,
      reason,
      message: message.slice(0, EVENT_LENGTH),
      source: { component: MANAGER },
      firstTimestamp: at,
      lastTimestamp: at,
      count: 1,
    };
    const place = { group: CORE, version: "v1", plural: "events", namespace: EVENTS_NAMESPACE };
    try {
      await this.#connection.call((api) => api.createNamespacedCustomObject({ ...place, body, fieldManager: MANAGER }));
    } catch (thrown) {
      const error = toClusterError(thrown);
      if (error.code !== "CONFLICT") throw error; // told before
    }
  }

  async state(module: string): Promise<ModuleState | null> {
    if (Date.now() < this.#unseenUntil) return null;
    try {
      return readState(
        await this.#connection.call((api) =>
          api.getClusterCustomObject({ group: GROUP, version: "v1alpha1", plural: "modules", name: module }),
        ),
      );
    } catch (thrown) {
      const error = toClusterError(thrown);
      if (isMissing(thrown)) return null;
      if (error.code !== "FORBIDDEN") throw error;
      this.#unseenUntil = Date.now() + DISCOVERY_MS;
      return null;
    }
  }

  close(): void {
    this.#connection.close();
  }

  /**
   * Deckhouse v1.56–v1.59 looks at the label, not the annotation, and with the label there it comes back after each of its own status
   * writes: on a registry error that is a loop without a pause. So the label goes at once; what fails after it was set is thrown,
   * and the next `get` takes the label away.
   */
  async #pulse(override: Override, annotations: Readonly<Record<string, string | null>>): Promise<Override | null> {
    const { resourceVersion } = override;
    const renew = annotations["renew"] ?? null;
    if (renew === null) return this.#patch(override, { resourceVersion, annotations });
    const patched = await this.#patch(override, { resourceVersion, annotations, labels: { renew } });
    return patched === null ? null : this.#dropLabel(patched);
  }

  async #dropLabel(override: Override): Promise<Override | null> {
    const drop = (): Promise<Override | null> => this.#patch(override, { labels: { renew: null } });
    return drop().catch(drop);
  }

  async #patch(
    override: Override,
    metadata: Readonly<Record<string, unknown>>,
    spec?: { readonly scanInterval: string | null },
  ): Promise<Override | null> {
    const { name, apiVersion: version } = override;
    const { PatchStrategy, setHeaderOptions } = this.#library;
    const found = await this.#one(version, name, (api) =>
      api.patchClusterCustomObject(
        { group: GROUP, version, plural: PLURAL, name, body: { metadata, ...(spec && { spec }) }, fieldManager: MANAGER },
        setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
      ),
    );
    return found?.override ?? null;
  }

  /** A request about one override; null where it is not there. */
  async #one(version: Version, module: string, work: Parameters<Connection["call"]>[0]): Promise<Found | null> {
    try {
      return readFound(await this.#connection.call(work), version);
    } catch (thrown) {
      if (isNotFound(thrown, module)) return null;
      throw this.#failed(thrown);
    }
  }

  async #run(work: Parameters<Connection["call"]>[0]): Promise<unknown> {
    try {
      return await this.#connection.call(work);
    } catch (thrown) {
      throw this.#failed(thrown);
    }
  }

  /** A 404 for a version that was served means that it no longer is: the next request discovers anew. */
  #failed(thrown: unknown): RelayError {
    const error = toClusterError(thrown);
    if (error.code === "API_VERSION_GONE") this.#discovered = null;
    return error;
  }

  #version(): Promise<Version> {
    if (this.#discovered === null || Date.now() >= this.#discovered.until) {
      const version = this.#discover();
      version.catch(() => (this.#discovered = null));
      this.#discovered = { version, until: Date.now() + DISCOVERY_MS };
    }
    return this.#discovered.version;
  }

  /** By the resources of each version: that the group has a version says nothing, since other kinds use it. */
  async #discover(): Promise<Version> {
    for (const version of VERSIONS) {
      if (await this.#serves(version)) return version;
    }
    throw new RelayError("API_VERSION_GONE", `the API server serves no ${PLURAL}.${GROUP}: is this a Deckhouse cluster?`);
  }

  async #serves(version: Version): Promise<boolean> {
    try {
      const list = resourceList.safeParse(await this.#connection.call((api) => api.getAPIResources({ group: GROUP, version })));
      if (!list.success) throw new RelayError("CLUSTER_ERROR", "the answer is no list of resources");
      return list.data.resources.some(({ name }) => name === PLURAL);
    } catch (thrown) {
      if (isMissing(thrown)) return false;
      throw toClusterError(thrown);
    }
  }
}

const identified = z.looseObject({ kind: z.literal("Namespace"), metadata: z.looseObject({ uid: z.string().min(1) }) });
