/**
 * A stand-in for a cluster's API server, for `npm start` and tests: TLS with its own CA, bearer tokens, and the
 * deckhouse.io resources with the behaviour that the relay and kubectl rely on. Not a Kubernetes: no pods, no namespaces but the name of kube-system.
 */
import { randomUUID } from "node:crypto";
import { makeCertificates } from "./kubernetes/certificates.ts";
import { ApiServer } from "./kubernetes/server.ts";
import { ObjectStore } from "./kubernetes/store.ts";
import type { KubernetesApi, OverrideVersion } from "./kubernetes/types.ts";
import { Users } from "./kubernetes/users.ts";

export type * from "./kubernetes/types.ts";

/** `port` 0 or none: a free one; a taken one rejects with EADDRINUSE. `served` defaults to both. Listens on loopback only. */
export async function startKubernetesApi(options: {
  port?: number;
  token: string;
  served?: readonly OverrideVersion[];
}): Promise<KubernetesApi> {
  const certificates = await makeCertificates();
  const store = new ObjectStore(newestFirst(options.served ?? ["v1alpha1", "v1alpha2"]));
  const systemToken = randomUUID();
  const users = new Users(options.token, systemToken);
  const server = new ApiServer(store, users, certificates);
  await server.start(options.port ?? 0);
  const { port } = server;
  const url = `https://127.0.0.1:${port}`;
  return {
    url,
    port,
    get uid() {
      return server.uid;
    },
    setUid: (uid) => void (server.uid = uid),
    ca: certificates.ca,
    token: options.token,
    systemToken,
    kubeconfig: (token = options.token) => kubeconfig(url, certificates.ca, token),
    store,
    faults: {
      next: server.faults.next,
      clear: () => {
        server.faults.clear();
        server.release();
      },
      cutWatches: () => server.cutWatches(),
      expireHistory: () => store.expireHistory(),
    },
    grant: (user, verbs) => users.grant(user, verbs),
    setScannable: (scannable) => store.setUnknown("modulesources", "scanInterval", !scannable),
    setServed: (versions) => {
      store.setServed(newestFirst(versions));
      server.endUnserved();
    },
    counters: () => ({ connections: server.connections, requests: server.requests }),
    stop: () => server.stop(),
    start: () => server.start(port),
    close: () => server.stop(),
  };
}

const newestFirst = (versions: readonly OverrideVersion[]): OverrideVersion[] => [...versions].sort().reverse();

function kubeconfig(url: string, ca: string, token: string): string {
  const name = "sandbox";
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster: { server: url, "certificate-authority-data": Buffer.from(ca).toString("base64") } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    "current-context": name,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
