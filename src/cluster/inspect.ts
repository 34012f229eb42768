/**
 * What an API server lets us do and what it serves, for `mpo-relay doctor`. Changes nothing: an access review is a question, and nothing is stored of it.
 * https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/
 */
import { readFile } from "node:fs/promises";
import type { KubeConfig } from "@kubernetes/client-node";
import * as z from "zod";
import type { KubernetesConfig } from "../config.ts";
import { RelayError } from "../outcome.ts";
import { lifeOf, type TokenLife } from "../token-end.ts";
import { Connection } from "./connection.ts";
import { Credentials, type ReadSecret } from "./credentials.ts";
import { isMissing, toClusterError } from "./errors.ts";
import { GROUP, resourceList } from "./read.ts";

/** As a rule of a role names it. Without a namespace: in the whole cluster. */
export interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly name?: string;
  readonly namespace?: string;
}
/** The time that another machine's answer names, and when by our clock it was asked for and came: ms since 1970. */
export interface Heard {
  readonly date: string | null;
  readonly sentAt: number;
  readonly answeredAt: number;
}
export interface Inspection {
  readonly server: string;
  /** `endless`: a token that does not say when it ends. null: none of ours to renew (a pod's own, a plugin's, a certificate). */
  readonly token: TokenLife | "endless" | null;
  /** PEM. `client`: the one by which a kubeconfig's user logs in; its key is null where it cannot be read. `authorities`: whom we trust to be the API server. */
  readonly certificates: {
    readonly authorities: string | null;
    readonly client: { readonly certificate: string; readonly key: string | null } | null;
  };
  /** Resources of a version of deckhouse.io; null: it is not served. Throws RelayError. */
  resources(version: string): Promise<{ readonly names: readonly string[]; readonly heard: Heard } | null>;
  /** Throws RelayError; FORBIDDEN where not even this may be asked, which every authenticated user may as clusters come (system:basic-user). */
  may(right: Right): Promise<boolean>;
  /** `system:serviceaccount:mpo-relay:mpo-relay`, as the API server knows us; null: it does not say (before Kubernetes v1.28), or not to us. */
  who(): Promise<string | null>;
  close(): void;
}

// https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/self-subject-review-v1/
const self = z.looseObject({ status: z.looseObject({ userInfo: z.looseObject({ username: z.string() }) }) });
const review = z.looseObject({ status: z.looseObject({ allowed: z.boolean() }) });

/** Makes no request. Throws RelayError CLUSTER_UNAUTHORIZED where the kubeconfig, context or token cannot be read. `timeoutMs`: of each request. */
export async function openInspection(options: {
  kubernetes: KubernetesConfig;
  readSecret: ReadSecret;
  timeoutMs: number;
  now: () => Date;
}): Promise<Inspection> {
  const { now, timeoutMs } = options;
  const client = await import("./client-node.ts");
  let token: Inspection["token"] = null;
  const onToken = async (text: string) => void (token = (await lifeOf(text.trim())) ?? "endless");
  const credentials = new Credentials(() => new client.KubeConfig(), options.kubernetes, options.readSecret, onToken);
  const config = await credentials.current();
  const certificates = await certificatesIn(config);
  const connection = new Connection(client, credentials, timeoutMs);
  return {
    server: config.getCurrentCluster()?.server ?? "",
    get token() {
      return token;
    },
    certificates,
    async resources(version) {
      const sentAt = now().getTime();
      try {
        const { data, headers } = await connection.call((api) => api.getAPIResourcesWithHttpInfo({ group: GROUP, version }));
        const read = resourceList.safeParse(data);
        if (!read.success) throw new RelayError("CLUSTER_ERROR", "the answer is no list of resources");
        const heard = { date: headers["date"] ?? null, sentAt, answeredAt: now().getTime() };
        return { names: read.data.resources.map(({ name }) => name), heard };
      } catch (thrown) {
        if (isMissing(thrown)) return null;
        throw toClusterError(thrown);
      }
    },
    async may(right) {
      const resourceAttributes = right;
      const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
      const place = { group: "authorization.k8s.io", version: "v1", plural: "selfsubjectaccessreviews" };
      try {
        const read = review.safeParse(await connection.call((api) => api.createClusterCustomObject({ ...place, body })));
        if (!read.success) throw new RelayError("CLUSTER_ERROR", "the answer is no access review");
        return read.data.status.allowed;
      } catch (thrown) {
        throw toClusterError(thrown);
      }
    },
    async who() {
      const place = { group: "authentication.k8s.io", version: "v1", plural: "selfsubjectreviews" };
      const body = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
      const answer: unknown = await connection.call((api) => api.createClusterCustomObject({ ...place, body })).catch(() => null);
      return self.safeParse(answer).data?.status.userInfo.username ?? null;
    },
    close: () => connection.close(),
  };
}

async function certificatesIn(config: KubeConfig): Promise<Inspection["certificates"]> {
  const [cluster, user] = [config.getCurrentCluster(), config.getCurrentUser()];
  const [authorities, certificate, key] = await Promise.all([
    textOf(cluster?.caData, cluster?.caFile),
    textOf(user?.certData, user?.certFile),
    textOf(user?.keyData, user?.keyFile),
  ]);
  return { authorities, client: certificate === null ? null : { certificate, key } };
}

/** Data in base64 counts before a file, as for the client. null: neither, or it cannot be read. */
async function textOf(data: string | undefined, file: string | undefined): Promise<string | null> {
  if (data) return Buffer.from(data, "base64").toString("utf8");
  return file ? readFile(file, "utf8").catch(() => null) : null;
}
