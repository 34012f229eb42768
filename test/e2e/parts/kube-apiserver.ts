/** The real kube-apiserver over an etcd of its own, both built from ./kube-apiserver into one program. */
import {
  CoreV1Api,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  PatchStrategy,
  type V1BoundObjectReference,
} from "@kubernetes/client-node";
import { createPrivateKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeJwt, decodeProtectedHeader, SignJWT } from "jose";
import type { Part } from "./cache.ts";
import { hashOf, install } from "./cache.ts";
import { freePort, run, serve, type Service, temporaryFolder } from "./child.ts";

const SOURCE = join(import.meta.dirname, "kube-apiserver");
const version = /\sk8s\.io\/kubernetes v(\d+\.(\d+)\.\d+)\n/.exec(readFileSync(join(SOURCE, "go.mod"), "utf8"));
const [, full = "", minor = ""] = version ?? [];
const stamp = Object.entries({ gitVersion: `v${full}`, gitMajor: "1", gitMinor: minor }).map(
  ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
);
// Without debugging symbols, which costs a tenth less: https://pkg.go.dev/cmd/compile
const FLAGS = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-gcflags=all=-dwarf=false", `-ldflags=-s -w ${stamp.join(" ")}`];

export const kubeApiserver: Part = {
  name: "kube-apiserver",
  version: `v${full}-${hashOf(...["go.mod", "go.sum", "main.go"].map((file) => readFileSync(join(SOURCE, file))), ...FLAGS)}`,
  cost: "about 6 CPU minutes, 4 GB of memory",
  build: async (folder) => {
    const env = { ...process.env, GOFLAGS: "-buildvcs=false", CGO_ENABLED: "0" };
    await run("go", ["build", ...FLAGS, "-o", join(folder, "kube-apiserver"), "."], { cwd: SOURCE, env });
  },
};

export interface KubeApiserver {
  /** `https://127.0.0.1:<port>`; it stays the same over `kill` and `start`. */
  readonly server: string;
  /** PEM of its certificate authority. */
  readonly ca: string;
  /** A token of system:masters: for setting things up, never for the relay. */
  readonly adminToken: string;
  /** Client settings for any token. */
  config(token: string): KubeConfig;
  /** Creates or updates the objects by server-side apply, in their order. */
  apply(objects: readonly KubernetesObject[]): Promise<void>;
  /** Waits until `<group>/<version>/<plural>` can be listed: a new resource definition takes a moment. */
  served(group: string, version: string, plural: string): Promise<void>;
  /** A token of the service account by the TokenRequest API, good for an hour: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/ */
  serviceAccountToken(namespace: string, name: string, boundObjectRef?: BoundObject): Promise<string>;
  /** Signs a token of its own anew, as if it had been given at another time: it gives none for less than ten minutes. */
  signed(token: string, life: { readonly iat: number; readonly exp: number }): Promise<string>;
  /** SIGKILL. The data stays. */
  kill(): Promise<void>;
  /** Starts it again over the same data at the same address. */
  start(): Promise<void>;
  /** What it keeps everything in, a process of its own. With a quota (bytes) that is used up it takes no more writes. */
  readonly etcd: { kill(): Promise<void>; start(quota?: number): Promise<void> };
  /** Ends it and removes everything. */
  stop(): Promise<void>;
}

/** The token ends with this object: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens */
type BoundObject = Pick<V1BoundObjectReference, "apiVersion" | "kind" | "name">;

/** An empty API server. `flags` are kube-apiserver's own. */
export async function startKubeApiserver(options: { flags?: readonly string[] } = {}): Promise<KubeApiserver> {
  const program = join(await install(kubeApiserver), "kube-apiserver");
  const folder = await temporaryFolder("kube-apiserver");
  const at = (name: string) => join(folder.path, name);
  const adminToken = randomBytes(24).toString("hex");
  const [port, etcdPort] = [await freePort(), await freePort()];
  const server = `https://127.0.0.1:${port}`;
  const signingKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "sec1", format: "pem" }); // it reads no PKCS #8
  await mkdir(at("etcd"), { mode: 0o700 });
  await writeFile(at("signing.key"), signingKey, { mode: 0o600 });
  await writeFile(at("tokens.csv"), `${adminToken},admin,admin,system:masters\n`, { mode: 0o600 });
  const flags = {
    "bind-address": "127.0.0.1",
    "secure-port": port,
    "cert-dir": at("certificates"), // it signs its own at the first start
    "token-auth-file": at("tokens.csv"),
    "authorization-mode": "RBAC",
    "service-account-issuer": "https://kubernetes.default.svc",
    "service-account-key-file": at("signing.key"),
    "service-account-signing-key-file": at("signing.key"),
    "service-cluster-ip-range": "10.0.0.0/24",
    "endpoint-reconciler-type": "none", // it would announce its loopback address as an endpoint, which is refused
    profiling: "false",
    "etcd-servers": `http://127.0.0.1:${etcdPort}`,
  };
  const args = [...Object.entries(flags).map(([name, value]) => `--${name}=${value}`), ...(options.flags ?? [])];
  const readCa = () => readFile(at("certificates/apiserver.crt"), "utf8");
  const launch = (): Promise<Service> =>
    serve({
      name: "kube-apiserver",
      command: program,
      args,
      log: at("log"),
      ready: async () => (await statusOf(`${server}/readyz`, await readCa(), adminToken)) === 200,
    });
  const launchEtcd = (...quota: readonly number[]) =>
    serve({
      name: "etcd",
      command: program,
      args: ["etcd", at("etcd"), String(etcdPort), ...quota.map(String)],
      log: at("etcd.log"),
      ready: async () => (await fetch(`http://127.0.0.1:${etcdPort}/health`)).ok,
    });
  let etcd = await launchEtcd();
  let service = await launch();
  const ca = await readCa();
  const config = (token: string) => kubeConfig(server, ca, token);
  const admin = config(adminToken);
  return {
    server,
    ca,
    adminToken,
    config,
    apply: async (objects) => {
      const api = KubernetesObjectApi.makeApiClient(admin); // a new one: it keeps what it discovered
      for (const object of objects) {
        await api.patch(object, undefined, undefined, "mpo-relay-e2e", true, PatchStrategy.ServerSideApply);
      }
    },
    served: async (group, version, plural) => {
      const url = `${server}/apis/${group}/${version}/${plural}`;
      const until = Date.now() + 30_000;
      for (;;) {
        const status = await statusOf(url, ca, adminToken);
        if (status === 200) return;
        if (Date.now() > until) throw new Error(`${url} answers ${status} after 30 s`);
        await sleep(50);
      }
    },
    serviceAccountToken: async (namespace, name, boundObjectRef) => {
      const spec = { audiences: [], expirationSeconds: 3600, ...(boundObjectRef && { boundObjectRef }) };
      const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec };
      const answer = await admin.makeApiClient(CoreV1Api).createNamespacedServiceAccountToken({ namespace, name, body });
      if (answer.status?.token === undefined) throw new Error(`no token for the service account ${namespace}/${name}`);
      return answer.status.token;
    },
    signed: (token, { iat, exp }) =>
      new SignJWT({ ...decodeJwt(token), iat, nbf: iat, exp })
        .setProtectedHeader({ ...decodeProtectedHeader(token), alg: "ES256" })
        .sign(createPrivateKey(signingKey)),
    kill: () => service.stop(),
    start: async () => void (service = await launch()),
    etcd: { kill: () => etcd.stop(), start: async (quota) => void (etcd = await launchEtcd(...(quota === undefined ? [] : [quota]))) },
    stop: async () => {
      await service.stop();
      await etcd.stop();
      await folder.remove();
    },
  };
}

function kubeConfig(server: string, ca: string, token: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: "e2e", server, caData: Buffer.from(ca).toString("base64"), skipTLSVerify: false }],
    users: [{ name: "e2e", token }],
    contexts: [{ name: "e2e", cluster: "e2e", user: "e2e" }],
    currentContext: "e2e",
  });
  return config;
}

function statusOf(url: string, ca: string, token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const settings = { ca, headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(5_000) };
    const call = request(url, settings, (answer) => {
      answer.resume();
      answer.once("end", () => resolve(answer.statusCode ?? 0));
    });
    call.once("error", reject);
    call.end();
  });
}
