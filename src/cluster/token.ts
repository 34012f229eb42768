/**
 * A fresh token of a service account, by the TokenRequest API: it ends, and needs no Secret that would hold it in the cluster.
 * https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
 */
import * as z from "zod";
import type { KubernetesConfig } from "../config.ts";
import { RelayError } from "../outcome.ts";
import { Connection, CORE } from "./connection.ts";
import { Credentials, type ReadSecret } from "./credentials.ts";
import { toClusterError } from "./errors.ts";

const TIMEOUT_MS = 15_000;

export interface FreshToken {
  readonly token: string;
  /** RFC 3339. The API server gives less than was asked for where its own limit is shorter. */
  readonly endsAt: string;
}

const answer = z.object({ status: z.object({ token: z.string().min(1), expirationTimestamp: z.iso.datetime({ offset: true }) }) });

/** Needs `create` on `serviceaccounts/token` of that account alone. `seconds`: at least 600. Throws RelayError. */
export async function requestToken(options: {
  kubernetes: KubernetesConfig;
  readSecret: ReadSecret;
  namespace: string;
  serviceAccount: string;
  seconds: number;
}): Promise<FreshToken> {
  const client = await import("./client-node.ts");
  const credentials = new Credentials(() => new client.KubeConfig(), options.kubernetes, options.readSecret);
  const connection = new Connection(client, credentials, TIMEOUT_MS);
  const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: options.seconds } };
  const plural = `serviceaccounts/${options.serviceAccount}/token`;
  try {
    const made: unknown = await connection.call((api) =>
      api.createNamespacedCustomObject({ group: CORE, version: "v1", namespace: options.namespace, plural, body }),
    );
    const read = answer.safeParse(made);
    if (!read.success) throw new RelayError("CLUSTER_ERROR", "the answer is no TokenRequest"); // and is not quoted: it may hold a token
    return { token: read.data.status.token, endsAt: read.data.status.expirationTimestamp };
  } catch (thrown) {
    throw toClusterError(thrown);
  } finally {
    connection.close();
  }
}
